"""A shard that takes over says what one that was never stopped says, though the one before it died
between saying something and committing it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from tachograph.detectors.language.ruleset import RuleSet, load
from tachograph.detectors.partition import Found
from tachograph.pipeline.detect.judges import ActionJudge
from tachograph.pipeline.detect.shard import Shard
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import Normalized, RawRecord
from tachograph.schemas import batch, codec
from tachograph.schemas.alert import Signal, SignalGroup
from tachograph.schemas.contracts import RECORD_HEADER
from tests.e2e.load import Volume, posts

PLACE = ("agent.actions", 0)
START = datetime(2026, 11, 23, 9, 52, tzinfo=UTC)
CAREFUL = 64


class Record:
    """As much of a Kafka message as a shard looks at."""

    def __init__(self, offset: int, kind: bytes, value: bytes) -> None:
        self._offset, self.kind, self._value = offset, kind, value

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return [(RECORD_HEADER, self.kind)]

    def topic(self) -> str:
        return PLACE[0]

    def partition(self) -> int:
        return PLACE[1]


@pytest.fixture(scope="module")
def rules() -> RuleSet:
    return load([], builtin=True)


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Spans of traces whose conversation a later span tells: what was found has to move."""
    core = Normalizer(b"k" * 32, "default")
    start_us = int(START.timestamp()) * 1_000_000
    found: list[Record] = []
    told = posts(5, START, Volume(agents=2, ordinary=0, stories=36))
    for number, post in enumerate(p for p in told if p.topic == "otlp_spans"):
        at_us = start_us + int(post.at_s * 1_000_000)
        raw = RawRecord(post.topic, post.partition, number, post.value, {}, at_us)
        for kind, value in _parts(core.normalize([raw])):
            found.append(Record(len(found), kind, value))
    return found


def _parts(made: Normalized) -> Iterator[tuple[bytes, bytes]]:
    for link in made.links:
        yield b"session_link", codec.encode(link)
    if made.frame.height:
        yield b"action_batch", batch.encode(made.frame)


class Standing:
    """What stands for those who read: the newest revision of every signal and group."""

    def __init__(self) -> None:
        self._signals: dict[str, Signal] = {}
        self._groups: dict[str, SignalGroup] = {}

    def take(self, shard: Shard, records: Sequence[Record]) -> None:
        """What the shard says of the records, judged as it would judge one reading."""
        found: list[Found] = shard.process(records)  # type: ignore[arg-type]
        for signal in (signal for one in found for signal in one.signals):
            known = self._signals.get(signal.signal_id)
            if known is None or known.revision <= signal.revision:
                self._signals[signal.signal_id] = signal
        for group in (group for one in found for group in one.groups):
            said = self._groups.get(group.group_id)
            if said is None or said.revision <= group.revision:
                self._groups[group.group_id] = group

    def signals(self) -> dict[str, tuple[object, ...]]:
        return {
            key: (s.rule_id, s.event_time, s.event_ids, s.session_id, s.entity)
            for key, s in self._signals.items()
            if s.change != "retracted"
        }

    def groups(self) -> set[str]:
        return {key for key, group in self._groups.items() if group.count}


def _signals_after_a_death(
    rules: RuleSet, records: Sequence[Record], died: int, careful: int
) -> tuple[Standing, set[str]]:
    """One owner commits, says more up to `died` and goes; the next reads on in one piece. What
    stands then, and what the first one said.
    """
    committed = max(0, died - careful)
    found = Standing()
    before = Shard(PLACE, ActionJudge(rules), start=0, muted_until=0)
    found.take(before, records[:committed])
    found.take(before, records[committed:died])
    said = set(found.signals())
    end = committed + careful
    after = Shard(PLACE, ActionJudge(rules), start=0, muted_until=committed, careful_until=end)
    found.take(after, records)
    return found, said


def test_what_was_said_and_not_committed_is_said_again_or_taken_back(
    rules: RuleSet, records: list[Record]
) -> None:
    expected = Standing()
    expected.take(Shard(PLACE, ActionJudge(rules), start=0, muted_until=0), records)
    links = [at for at, record in enumerate(records) if record.kind == b"session_link"]
    undone: set[str] = set()
    for died in links:
        found, said = _signals_after_a_death(rules, records, died, CAREFUL)
        assert found.signals() == expected.signals()
        assert found.groups() == expected.groups()
        undone |= said - expected.signals().keys()
    assert undone, "nothing that was said had to be taken back: this shows nothing"
