"""A shard that takes over says what one that was never stopped says, though the one before it died
between saying something and committing it.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import pytest

from tachograph.detectors.language.ruleset import RuleSet, load
from tachograph.detectors.plan import Plan
from tachograph.pipeline.detect.judges import REVISION_SHIFT, ActionJudge
from tachograph.pipeline.detect.shard import Shard
from tachograph.pipeline.detect.stretches import Stretches
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import Normalized, RawRecord
from tachograph.schemas import batch, codec
from tests.e2e.load import Volume, posts
from tests.pipeline.detect.records import PLACE, Record, Standing

START = datetime(2026, 11, 23, 9, 52, tzinfo=UTC)
READING = 50
# So many by themselves, as each costs a round.
FEW = 60


@pytest.fixture(scope="module")
def rules(records: list[Record]) -> RuleSet:
    """Those of the shipped rules that say anything of these records, taken back or not."""
    every = load([], builtin=True)
    told, shard = Standing(), Shard(PLACE, ActionJudge(Plan.of(every)), start=0, muted_until=0)
    for record in records:
        told.take(shard, [record])
    spoke = {signal.rule_id for signal in told.newest.values()}
    assert spoke
    return every.only([r for r in every.rules if r.meta.rule_id in spoke]).beside_sessions()


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Spans of traces whose conversation a later span tells: what was found has to move."""
    core = Normalizer(b"k" * 32, "default")
    start_us = int(START.timestamp()) * 1_000_000
    found: list[Record] = []
    told = posts(5, START, Volume(agents=2, ordinary=0, stories=24))
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


def _signals_after_deaths(
    rules: RuleSet, records: Sequence[Record], died: Sequence[int]
) -> tuple[Standing, set[str]]:
    """Nobody commits: one owner after the other notes how far it is going to judge, speaks and
    goes; the last reads on in pieces of its own. What stands then, and what the others said.
    """
    found, note = Standing(), ""
    said: set[str] = set()
    for end in died:
        owner = _owner(rules, note, len(records))
        if (begun := owner.begin(records[:end])) is not None:  # type: ignore[arg-type]
            note = begun[1]
        found.take(owner, records[:end])
        said |= set(found.signals())
    after = _owner(rules, note, len(records))
    for start in range(0, len(records), READING):
        found.take(after, records[start : start + READING])
    assert after.next_offset == len(records)
    return found, said


def _owner(rules: RuleSet, note: str, end: int, base: int = 0) -> Shard:
    stretches = Stretches.noted(note, start=0, end=end)
    judge = ActionJudge(Plan.of(rules))
    return Shard(PLACE, judge, start=0, muted_until=0, stretches=stretches, base=base)


def test_revisions_of_a_later_generation_are_above_all_of_the_one_before(
    rules: RuleSet, records: list[Record]
) -> None:
    base, some = len(records), records[:FEW]
    before, after = (_revisions(_owner(rules, "", 0, at), some) for at in (0, base))
    assert after == [revision + (base << REVISION_SHIFT) for revision in before]
    assert max(before) < min(after)


def _revisions(shard: Shard, records: Sequence[Record]) -> list[int]:
    found = [one for record in records for one in shard.process([record])]  # type: ignore[list-item]
    return [signal.revision for one in found for signal in one.signals]


def test_what_was_said_and_not_committed_is_said_again_or_taken_back(
    rules: RuleSet, records: list[Record]
) -> None:
    expected = Standing()
    expected.take(_owner(rules, "", 0), records)
    links = [at for at, record in enumerate(records) if record.kind == b"session_link"]
    undone: set[str] = set()
    # Every third: a death costs as many readings of it all.
    for number, died in enumerate(links[::3]):
        later = links[(number * 7) % len(links)]
        found, said = _signals_after_deaths(rules, records, [died, later][: 1 + number % 2])
        assert found.signals() == expected.signals()
        assert found.groups() == expected.groups()
        undone |= said - expected.signals().keys()
    assert undone, "nothing that was said had to be taken back: this shows nothing"


def test_records_of_a_stretch_that_was_spoken_of_wait_for_its_end(
    rules: RuleSet, records: list[Record]
) -> None:
    shard = _owner(rules, "5", len(records))
    reached, found = [], Standing()
    for record in records[:7]:
        found.take(shard, [record])
        reached.append(shard.next_offset)
    assert reached == [0, 0, 0, 0, 5, 6, 7]
    assert shard.judge.actions == sum(
        batch.decode(record.value()).height
        for record in records[:7]
        if record.kind == b"action_batch"
    )
