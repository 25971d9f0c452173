"""How many partitions the topics have whose records have a fixed place, as announced on
agent.config.

Where an agent's records lie follows from the number of partitions. Were it changed under way, they
would lie in two places, and nobody would see all of them. So the first stage that meets a topic
announces the number it finds, and whoever finds another one than was announced stops.
"""

import time
from collections.abc import Callable, Iterable

from tachograph.pipeline.clock import system_us, to_datetime
from tachograph.pipeline.config_log import CONFIG_TOPIC, EVERY_TENANT, ConfigLog, publish
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Activation

log = get("kafka.generations")

CHECK_EVERY_S = 60.0


class Generations:
    """Guards the topics of one stage. Used by one thread; may block while it asks the broker."""

    def __init__(
        self,
        settings: Settings,
        stage: str,
        writer: Writer,
        topics: Iterable[str],
        *,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Compares at once, and announces what nobody has. Raises Refused for another number than
        the one announced, RetryLater.
        """
        self._writer, self._now_s = writer, now_s
        announced = _announced(settings, stage, writer)
        self.counts = {topic: writer.partitions(topic) for topic in topics}
        fresh = {t: count for t, count in self.counts.items() if t not in announced}
        for topic, count in fresh.items():
            announce(writer, topic, count)
        if fresh:
            writer.flush()
            log.info("partitions announced", **fresh)
        self._announced = announced | fresh
        self._compare()
        self._checked_s = now_s()

    def check(self) -> None:
        """Compare again, at most once a minute. Raises Refused, RetryLater."""
        if self._now_s() - self._checked_s < CHECK_EVERY_S:
            return
        self._checked_s = self._now_s()
        self.counts = {topic: self._writer.partitions(topic) for topic in self.counts}
        self._compare()

    def _compare(self) -> None:
        wrong = [
            f"{topic} had {self._announced[topic]} partitions and now has {count}"
            for topic, count in self.counts.items()
            if count != self._announced[topic]
        ]
        if wrong:
            raise Refused(
                f"{'; '.join(wrong)}: the records of an agent would lie in two places. Nobody"
                " announced the change: make the topic anew with the old number, or start a new"
                " generation of it"
            )


def announce(writer: Writer, topic: str, count: int) -> None:
    """Say how many partitions a topic has from now on; it counts once the writer is flushed."""
    activation = Activation(
        subject="partitions",
        name=topic,
        tenant=EVERY_TENANT,
        content_hash=plain_id(topic, str(count)),
        effective_from=to_datetime(system_us()),
        content=str(count),
    )
    publish(writer, activation)


def _announced(settings: Settings, stage: str, writer: Writer) -> dict[str, int]:
    """Partitions by topic, as announced last."""
    writer.partitions(CONFIG_TOPIC)  # where topics appear at first use it is there now
    with ConfigLog(settings, stage) as config:
        said = [one.activation for one in config.whole()]
    return {
        one.name: int(one.content)
        for one in said
        if one.subject == "partitions" and one.content and one.content.isdecimal()
    }
