"""The loop that ends capture requests: what it read and did not commit is read again."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from confluent_kafka import Consumer, TopicPartition

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.control.answers import CONTROL, GROUPS, STATE, Answers
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas.codec import decode, encode
from tachograph.schemas.records import CaptureAnswer
from tests.pipeline.control.test_captures import asked, told
from tests.waiting import eventually

NOW = datetime.now(UTC)


def answers_of(settings: Settings, count: int) -> list[CaptureAnswer]:
    """Answers in the log so far; at least `count`."""
    consumer = Consumer(
        {**settings.kafka.client_config(), "group.id": "test", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(GROUPS, part, 0) for part in range(2)])
    found: list[CaptureAnswer] = []

    def read() -> bool:
        messages = consumer.consume(100, 0.1)
        found.extend(decode(CaptureAnswer, one.value() or b"") for one in messages)
        return len(found) >= count

    eventually(read, f"{count} answers")
    consumer.close()
    return found


def test_a_loop_that_dies_before_it_commits_leaves_each_request_to_the_next(
    settings_for: Callable[..., Settings],
) -> None:
    with MockBroker(partitions=2, topics=(CONTROL, STATE, GROUPS)) as broker:
        settings = settings_for(broker.bootstrap_servers)
        writer = Writer(settings)
        fresh = {"issued_at": NOW, "expires_at": NOW + timedelta(minutes=1)}
        for name in ("heard", "unheard"):
            directive = encode(asked(name, **fresh))
            headers = {"tacho-record": b"directive"}
            writer.send(CONTROL, directive, key=b"acme/a", headers=headers)
        headers = {"tacho-record": b"state_snapshot"}
        writer.send(STATE, encode(told("heard", goals=["x"])), key=b"acme/a", headers=headers)
        writer.flush()

        dying = Answers(settings)
        ended: list[CaptureAnswer] = []

        def told_one() -> bool:
            messages = dying._reader.read(100, 0.1)
            found = [one for message in messages for one in dying._taken(message)]
            dying._tell(found)
            ended.extend(one.answer for one in found)
            return bool(ended)

        eventually(told_one, "the answer to what was heard")
        dying.close()  # without a commit
        assert [one.directive_id for one in ended] == ["heard"]

        later = to_us(NOW + timedelta(minutes=5))
        loop = Answers(settings, clock=lambda: later)

        def both_are_behind_it() -> bool:
            # Not what is open: a snapshot that is read first leaves nothing open either.
            loop.round()
            return any(topic == CONTROL and at == 2 for (topic, _), at in loop._committed.items())

        eventually(both_are_behind_it, "both requests have ended")
        loop.close()
        said = answers_of(settings, 3)
        # The same words again, and the time-out of what nobody answered.
        assert said[0] == said[1]
        by_name = {one.directive_id: one.answered for one in said}
        assert by_name == {"heard": True, "unheard": False}
