"""Reading a stretch of a partition once more, a few records at a time, beside everything else."""

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from tachograph.detectors.partition import Found
from tachograph.pipeline.detect.catch_up import CatchUp
from tachograph.pipeline.detect.shard import JUDGE_ROWS, Shard, decoded
from tachograph.pipeline.kafka.reader import SILENT, mapped
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings

log = get("detect.rereading")

READ_RECORDS = 256
READ_WAIT_S = 0.1


class Rereading:
    """The catching up of one shard, which judges nothing new meanwhile. Used by one thread."""

    def __init__(self, settings: Settings, shard: Shard, *, earliest: int, index: int) -> None:
        """`earliest`: first offset that is kept. `index`: tells what is said in the end from what
        the last record caused: the number of changes there have been.
        """
        self.shard = shard
        self._catch_up = CatchUp(shard.judge, shard.judged_by)
        self._revision = shard.revision(max(0, shard.next_offset - 1), index)
        known = shard.judge.milestones.before(self._catch_up.start_us)
        # Milestones are told as revisions are, by offsets above the base.
        self._next = max(earliest, (known or 0) - shard.base)
        self._until = shard.next_offset if self._catch_up.needed else 0
        self._consumer: Consumer | None = None
        if self._next < self._until:
            self._consumer = _consumer(settings, shard, self._next)
            log.info("reading again", place=list(shard.place), start=self._next, until=self._until)

    @property
    def done(self) -> bool:
        """The stretch is read."""
        return self._next >= self._until

    def step(self) -> list[Found]:
        """Read some; what is to be sent. Raises RetryLater, Refused."""
        if self._consumer is None:
            return []
        try:
            messages = self._consumer.consume(READ_RECORDS, READ_WAIT_S)
        except KafkaException as error:
            raise mapped(error.args[0], f"read {self.shard.place} again") from error
        found: list[Found] = []
        rows = 0
        for message in messages:
            if message.error() is not None or (message.offset() or 0) >= self._until:
                continue
            rows += decoded(message, self._catch_up.take)
            if rows >= JUDGE_ROWS:
                found += self._judge(message)
                rows = 0
        if messages:
            found += self._judge(messages[-1])
            self._next = (messages[-1].offset() or 0) + 1
        return found

    def _judge(self, message: Message) -> list[Found]:
        return self._catch_up.judge(self.shard.revision(message.offset() or 0))

    def finish(self) -> list[Found]:
        """What is to be said; the shard goes on after it."""
        found = self._catch_up.finish(self._revision)
        self.shard.caught_up()
        self.close()
        return found

    def close(self) -> None:
        """Let the broker go."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None


def _consumer(settings: Settings, shard: Shard, start: int) -> Consumer:
    """`group.id` is a name for the broker's rights; nothing is committed."""
    consumer = Consumer(
        {
            **settings.kafka.client_config(),
            "group.id": "tacho.detect.again",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "logger": SILENT,
        }
    )
    consumer.assign([TopicPartition(*shard.place, start)])
    return consumer
