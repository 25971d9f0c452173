"""Topics of which nothing decodes: when that is said, and when it stops the stage.

Kafka does not tell who produced a record: all that the door did not sign counts as one source, for
whoever may write to a topic can look like many. One source is never a reason to stop; else a
single producer could stop the pipeline by sending rubbish to a quiet topic. When nothing was usable
since the start although several principals wrote it, the topic itself is set up wrongly, and going
on would empty it into dead letters.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from tachograph.pipeline import dead_letters
from tachograph.pipeline.errors import Refused

RECORDS: Final = 5_000
SOURCES: Final = 3
# Topic, and the principal that the door named (None: it named none).
Source = tuple[str, str | None]


class Hopeless:
    """Counts of what could not be used, for the topics that never gave anything since the start.

    Bounded: topics are those the stage reads, and of their sources so many are kept as it takes to
    stop.
    """

    def __init__(self, records: int = RECORDS, sources: int = SOURCES) -> None:
        self._records, self._sources = records, sources
        self._usable: set[str] = set()
        self._refused: Counter[str] = Counter()
        self._seen: dict[str, set[str | None]] = {}

    def see(self, usable: Iterable[str], refused: Mapping[Source, int]) -> None:
        """Take in a batch: topics with a usable record, and records without one. Raises Refused."""
        for topic in usable:
            self._usable.add(topic)
            self._refused.pop(topic, None)
            self._seen.pop(topic, None)
        for (topic, principal), count in refused.items():
            if topic not in self._usable:
                self._refused[topic] += count
                seen = self._seen.setdefault(topic, set())
                if len(seen) < self._sources:
                    seen.add(principal)
        for topic in self._topics():
            if len(self._seen[topic]) >= self._sources:
                raise Refused(
                    f"{topic}: {self._told(topic)}, whoever sent them; see {dead_letters.TOPIC}"
                    " for the reason, mend the encoding, and start again"
                )

    def troubles(self) -> list[str]:
        """Topics that a person should look at, a sentence each."""
        return [f"{topic}: {self._told(topic)}" for topic in self._topics()]

    def _topics(self) -> list[str]:
        return [topic for topic, count in self._refused.items() if count >= self._records]

    def _told(self, topic: str) -> str:
        return f"none of {self._refused[topic]} records since the start could be decoded"
