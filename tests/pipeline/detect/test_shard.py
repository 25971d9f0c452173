"""A shard that takes over says what one that was never stopped says, though the one before it died
between saying something and committing it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from tachograph.detectors.language.ruleset import RuleSet, load
from tachograph.detectors.plan import Plan
from tachograph.pipeline.detect.judges import ActionJudge
from tachograph.pipeline.detect.shard import Shard
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import Normalized, RawRecord
from tachograph.schemas import batch, codec
from tests.e2e.load import Volume, posts
from tests.pipeline.detect.records import PLACE, Record, Standing

START = datetime(2026, 11, 23, 9, 52, tzinfo=UTC)
CAREFUL = 64


@pytest.fixture(scope="module")
def rules(records: list[Record]) -> RuleSet:
    """Those of the shipped rules that say anything of these records, taken back or not."""
    every = load([], builtin=True)
    judge = ActionJudge(Plan.of(every))
    told = Standing()
    told.take(Shard(PLACE, judge, start=0, muted_until=0, careful_until=len(records)), records)
    spoke = {signal.rule_id for signal in told.newest.values()}
    assert spoke
    return every.only([r for r in every.rules if r.meta.rule_id in spoke]).beside_sessions()


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


def _signals_after_a_death(
    rules: RuleSet, records: Sequence[Record], died: int, careful: int
) -> tuple[Standing, set[str]]:
    """One owner commits, says more up to `died` and goes; the next reads on in one piece. What
    stands then, and what the first one said.
    """
    committed = max(0, died - careful)
    found = Standing()
    before = Shard(PLACE, ActionJudge(Plan.of(rules)), start=0, muted_until=0)
    found.take(before, records[:committed])
    found.take(before, records[committed:died])
    said = set(found.signals())
    end = committed + careful
    after = Shard(
        PLACE, ActionJudge(Plan.of(rules)), start=0, muted_until=committed, careful_until=end
    )
    found.take(after, records)
    return found, said


def test_what_was_said_and_not_committed_is_said_again_or_taken_back(
    rules: RuleSet, records: list[Record]
) -> None:
    expected = Standing()
    expected.take(Shard(PLACE, ActionJudge(Plan.of(rules)), start=0, muted_until=0), records)
    links = [at for at, record in enumerate(records) if record.kind == b"session_link"]
    undone: set[str] = set()
    for died in links:
        found, said = _signals_after_a_death(rules, records, died, CAREFUL)
        assert found.signals() == expected.signals()
        assert found.groups() == expected.groups()
        undone |= said - expected.signals().keys()
    assert undone, "nothing that was said had to be taken back: this shows nothing"
