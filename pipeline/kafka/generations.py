"""How many partitions the topics have whose records have a fixed place, as announced on
agent.config.

Where an agent's records lie follows from the number of partitions. Were it changed under way, they
would lie in two places, and nobody would see all of them. So the first stage that meets a topic
announces the number it finds, and whoever finds another one than was announced stops.

`tacho repartition` makes a topic anew with another number: its next generation. Offsets begin at 0
there, and what orders by offset (revisions of signals, the first word in links) must not go back.
So a generation has a base that is added to them, above all offsets there were before. While that
is under way the topic is announced as having no partitions: who starts meanwhile would write into
what is thrown away, and stops.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

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


class Generation(NamedTuple):
    """A topic as it was announced: how many partitions, and what is added to its offsets."""

    partitions: int
    base: int = 0


# Of a topic that is being made anew.
UNDER_WAY = Generation(0)


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
        said = announced(settings, stage, writer)
        topics = list(topics)
        # First: to ask for a topic that was just deleted makes it, where the broker does so.
        for topic in topics:
            if said.get(topic) == UNDER_WAY:
                raise Refused(
                    f"{topic} is being made anew: let `tacho repartition` end, or run it again with"
                    " the number that it was given"
                )
        self.counts = {topic: writer.partitions(topic) for topic in topics}
        fresh = {t: Generation(count) for t, count in self.counts.items() if t not in said}
        for topic, generation in fresh.items():
            announce(writer, topic, *generation)
        if fresh:
            writer.flush()
            log.info("partitions announced", **{t: one.partitions for t, one in fresh.items()})
        self._announced: Mapping[str, Generation] = said | fresh
        self._compare()
        self._checked_s = now_s()

    def of(self, topic: str) -> Generation:
        """A topic of this stage, as it is announced."""
        return self._announced[topic]

    def check(self) -> None:
        """Compare again, at most once a minute. Raises Refused, RetryLater."""
        if self._now_s() - self._checked_s < CHECK_EVERY_S:
            return
        self._checked_s = self._now_s()
        self.counts = {topic: self._writer.partitions(topic) for topic in self.counts}
        self._compare()

    def _compare(self) -> None:
        wrong = [
            f"{topic} had {self._announced[topic].partitions} partitions and now has {count}"
            for topic, count in self.counts.items()
            if count != self._announced[topic].partitions
        ]
        if wrong:
            raise Refused(
                f"{'; '.join(wrong)}: the records of an agent would lie in two places. Nobody"
                " announced the change: make the topic anew with the old number, and for more of"
                " agent.actions run `tacho repartition`"
            )


def announce(writer: Writer, topic: str, count: int, base: int = 0) -> None:
    """Say how many partitions a topic has from now on, and the base of its offsets; it counts once
    the writer is flushed.
    """
    content = f"{count}+{base}" if base else str(count)
    activation = Activation(
        subject="partitions",
        name=topic,
        tenant=EVERY_TENANT,
        content_hash=plain_id(topic, content),
        effective_from=to_datetime(system_us()),
        content=content,
    )
    publish(writer, activation)


def announced(settings: Settings, stage: str, writer: Writer) -> dict[str, Generation]:
    """Generations by topic, as announced last. Raises RetryLater, Refused."""
    writer.partitions(CONFIG_TOPIC)  # where topics appear at first use it is there now
    with ConfigLog(settings, stage) as config:
        said = [one.activation for one in config.whole()]
    found = {
        one.name: _generation(one.content or "") for one in said if one.subject == "partitions"
    }
    return {topic: generation for topic, generation in found.items() if generation is not None}


def _generation(content: str) -> Generation | None:
    """What `announce` wrote; None: it is none of ours."""
    numbers = content.split("+")
    if len(numbers) > len(Generation._fields) or not all(map(str.isdecimal, numbers)):
        return None
    return Generation(*map(int, numbers))
