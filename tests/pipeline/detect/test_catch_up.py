"""Whenever a process learns of a change, and however often it starts again: what stands in the end
is what was in force when each event was observed.
"""

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.in_force import Change, Period, Timeline
from tachograph.detectors.partition import Found, PartitionDetector
from tachograph.detectors.plan import Plan
from tachograph.pipeline.detect.catch_up import CatchUp
from tachograph.pipeline.detect.judges import RAW_TOPICS, ActionJudge, Judge, MatchJudge
from tachograph.pipeline.detect.shard import Shard, State
from tachograph.pipeline.detect.stretches import Stretches
from tachograph.pipeline.kafka.reader import Commitment
from tachograph.schemas import batch, codec
from tachograph.schemas.alert import Signal
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Tick
from tests.detectors.made import SECOND_US, at, frame
from tests.detectors.test_plan import compiled, counted, of_all_kinds, single, told
from tests.pipeline.detect.records import PLACE, Record, Standing, catch_up

CLOSING_S = 3 * 3600
# Records that a process has in hand at most when it dies.
READING = 5
SETS = {
    "one": compiled(single("was so", "a"), counted(3, "session.id")),
    "two": compiled(single("is so", "a", "high"), counted(2, "session.id")),
    "three": compiled(single("is so", "b"), counted(3, "session.id", level="critical")),
    "none": compiled(single("other", "z")),
    "kinds": compiled(of_all_kinds(least=2, learning_s=0, level="low")),
    "changed": compiled(of_all_kinds(least=3, learning_s=5, level="high")),
}
ACROSS = compiled(counted(3, "principal.id"))


def plan_of(changes: list[Change], first: str) -> Plan:
    timeline = Timeline.of(changes, Period(0, first, ""))
    sets = {**SETS, "across": ACROSS}
    return Plan(timeline, {period: sets[period.rules] for period in timeline.periods})


# What happens, happens around a few moments, and so do changes: windows are cut by them.
MOMENTS = st.builds(
    lambda moment, after: moment + after, st.sampled_from([100, 800]), st.integers(0, 15)
)


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Actions in the order in which they were observed, nearly; few sessions, so that windows
    fill.
    """
    found = []
    for number in range(draw(st.integers(1, 40))):
        observed = draw(MOMENTS)
        found.append(
            {
                "event_id": plain_id(str(number)),
                "event_time": observed - draw(st.sampled_from([0, 1, 3, 50])),
                "observed_time": at(observed),
                "kind": "tool_call",
                "tool_name": draw(st.sampled_from(["a", "a", "b"])),
                "session_id": draw(st.sampled_from(["s1", "s2"])),
                "agent_id": "agent",
                "partition_key": "agent",
            }
        )
    # Raw partitions are read side by side: one may be a little ahead.
    return sorted(found, key=lambda row: (row["observed_time"] - at(0)).seconds // 5)


def log_of(rows: list[dict[str, Any]], chance: random.Random) -> list[Record]:
    """Batches, and ticks that say no more than is true; the last ones close everything."""
    log: list[Record] = []

    def add(kind: bytes, value: bytes) -> None:
        log.append(Record(len(log), kind, value))

    def tick(reached: datetime) -> None:
        for topic in RAW_TOPICS:
            said = Tick(raw_topic=topic, raw_partition=0, raw_partitions=1, observed_time=reached)
            add(b"tick", codec.encode(said))

    left = list(rows)
    while left:
        size = chance.randint(1, 4)
        add(b"action_batch", batch.encode(frame(left[:size])))
        left = left[size:]
        if left and chance.random() < 0.5:
            tick(min(row["observed_time"] for row in left))
    tick(at(CLOSING_S))
    return log


def expected(plan: Plan, rows: list[dict[str, Any]]) -> dict[str, Signal]:
    """Each set judges everything by itself; of that holds what was observed in its time."""
    found: dict[str, Signal] = {}
    for period, rules in zip(plan.timeline.periods, plan.sets, strict=True):
        detector = WholeDetector(rules)
        said = [detector.process(frame(rows), [], 0), detector.close(1)]
        for signal in (signal for found_ in said for signal in found_.signals):
            assert signal.observed_time is not None
            if plan.timeline.at(int(signal.observed_time.timestamp()) * SECOND_US) == period:
                found[signal.signal_id] = told(signal)
    return found


class Process:
    """A process of `detect` with one partition, that dies and starts again, and what it said."""

    place = PLACE
    judge_by: Callable[[Plan], Judge] = ActionJudge

    def __init__(self, log: list[Record], plans: list[Plan], chance: random.Random) -> None:
        self.log, self.plans, self.chance = log, plans, chance
        self.known = 0
        self.said = Standing()
        self.checkpoint: tuple[int, bytes] | None = None
        # The offset and the note beside it.
        self.committed = Commitment(0, "")
        self.shard = self._started()
        self._read = self.shard.next_offset

    def _started(self) -> Shard:
        """From the checkpoint, by what it knows now."""
        judge = type(self).judge_by(self.plans[self.known])
        if self.checkpoint is None:
            shard = Shard(self.place, judge, start=0, muted_until=0)
            # From the first record on it is known by what it was judged.
            self.checkpoint = 0, shard.dump(self.known)
            return shard
        offset, packed = self.checkpoint
        at, note = self.committed
        stretches = Stretches.noted(note, start=at, end=len(self.log))
        shard = Shard(self.place, judge, start=offset, muted_until=at, stretches=stretches)
        state = msgspec.msgpack.decode(packed, type=State)
        shard.load(state, self.plans[state.changes : self.known])
        return shard

    def die(self) -> None:
        """It starts again, and learns what there is to know."""
        self.known = self.chance.randint(self.known, len(self.plans) - 1)
        self.shard = self._started()
        self._read = self.shard.next_offset

    def learn(self) -> None:
        """It hears of the next change."""
        if self.known + 1 < len(self.plans):
            self.known += 1
            self.shard.adopt(self.plans[self.known])

    def note(self, found: list[Found]) -> None:
        """What was said, and sent to others."""
        self.said.note(found)

    @property
    def left(self) -> bool:
        """There is something to read or to learn."""
        unread = self.shard.next_offset < len(self.log)
        return self.shard.behind or unread or self.known + 1 < len(self.plans)

    def finish(self) -> None:
        """Read what there is."""
        while self.shard.behind or self.shard.next_offset < len(self.log):
            self.round()

    def round(self) -> None:
        """Some records, as the stage reads them; what was said is acknowledged, then committed."""
        if self.shard.behind:
            self.note(catch_up(self.shard, self.log, self.known))
            self._read = self.shard.next_offset
        begin = self._read
        end = min(len(self.log), begin + self.chance.randint(1, READING))
        records: list[Any] = list(self.log[begin:end])
        if records and (begun := self.shard.begin(records)) is not None:
            self.committed = begun
        self.note(self.shard.process(records))
        self._read = self.shard.next_offset if self.shard.behind else end
        if self.chance.random() < 0.9 and not self.shard.muted:
            self.shard.committed = self.shard.next_offset
            self.committed = Commitment(self.shard.committed, self.shard.note)
        if self.chance.random() < 0.4 and self.shard.settled:
            self.checkpoint = self.shard.next_offset, self.shard.dump(self.known)


def run_over(
    rows: list[dict[str, Any]], changes: list[tuple[int, str]], first: str, seed: int
) -> tuple[Process, dict[str, Signal]]:
    """A process that restarts and learns of changes at random; and what is wanted of it."""
    chance = random.Random(seed)
    said = [Change(s * SECOND_US, n, "rules", name) for n, (s, name) in enumerate(changes)]
    plans = [plan_of(said[:count], first) for count in range(len(said) + 1)]
    log = log_of(rows, chance)
    process = Process(log, plans, chance)
    while process.left:
        if chance.random() < 0.15:
            process.learn()
        if chance.random() < 0.15:
            process.die()
        process.round()
    return process, expected(plans[-1], rows)


def standing(process: Process) -> dict[str, Signal]:
    """What it said and did not take back."""
    newest = process.said.newest.items()
    return {key: told(signal) for key, signal in newest if signal.change != "retracted"}


@settings(max_examples=40, deadline=None)
@given(
    streams(),
    st.lists(st.tuples(MOMENTS, st.sampled_from(sorted(SETS))), min_size=1, max_size=3),
    st.sampled_from(sorted(SETS)),
    st.integers(0, 2**32),
)
def test_what_stands_is_what_was_in_force_whenever_it_was_learned(
    rows: list[dict[str, Any]], changes: list[tuple[int, str]], first: str, seed: int
) -> None:
    process, wanted = run_over(rows, changes, first, seed)
    found = standing(process)
    # Signals are long: a comparison of pytest's own would take longer than the test.
    differing = [k for k in found.keys() | wanted.keys() if found.get(k) != wanted.get(k)]
    assert not differing
    counts = Counter(signal.rule_id for signal in found.values())
    assert process.said.grouped() == dict(counts)


def acted(observed_s: int, number: int) -> dict[str, Any]:
    """An action of one session."""
    return {
        "event_id": plain_id(str(number)),
        "event_time": observed_s,
        "observed_time": at(observed_s),
        "kind": "tool_call",
        "tool_name": "a",
        "session_id": "s",
        "agent_id": "agent",
        "partition_key": "agent",
    }


@pytest.mark.parametrize("committed", [2, 3, 4])
def test_nothing_is_said_of_a_rule_that_has_not_seen_what_was_before_it(committed: int) -> None:
    """A process starts amid a change, and reads at once what was said before and what was not."""
    plans = [plan_of([], "none"), plan_of([Change(103 * SECOND_US, 1, "rules", "kinds")], "none")]
    rows = [acted(100 + 2 * n, n) for n in range(4)]
    log = [Record(n, b"action_batch", batch.encode(frame([row]))) for n, row in enumerate(rows)]
    for topic in RAW_TOPICS:
        said = Tick(raw_topic=topic, raw_partition=0, raw_partitions=1, observed_time=at(CLOSING_S))
        log.append(Record(len(log), b"tick", codec.encode(said)))
    before, standing = Shard(PLACE, ActionJudge(plans[0]), start=0, muted_until=0), Standing()
    standing.take(before, log[:2])
    shard = Shard(PLACE, ActionJudge(plans[1]), start=2, muted_until=committed)
    shard.load(msgspec.msgpack.decode(before.dump(), type=State), plans[:1])
    standing.take(shard, log[2:])
    assert shard.next_offset == committed
    standing.note(catch_up(shard, log, 1))
    standing.take(shard, log[committed:])
    sittings = [one for one in standing.newest.values() if one.rule_id == "sitting"]
    assert [one.event_count for one in sittings] == [4]


@pytest.mark.parametrize("learned_at", [0, 1, 2])
def test_a_rule_that_is_new_fires_on_what_began_before_it(learned_at: int) -> None:
    """Two of three actions come before the change."""
    rows = [
        {
            "event_id": plain_id(str(n)), "event_time": second, "observed_time": at(second),
            "kind": "tool_call", "tool_name": "a", "session_id": "s", "partition_key": "agent",
        }
        for n, second in enumerate((100, 104, 108))
    ]  # fmt: skip
    log = [Record(n, b"action_batch", batch.encode(frame([row]))) for n, row in enumerate(rows)]
    shard = Shard(PLACE, ActionJudge(plan_of([], "none")), start=0, muted_until=0)
    said = Standing()
    for number, record in enumerate(log):
        if number == learned_at:
            shard.adopt(plan_of([Change(106 * SECOND_US, 1, "rules", "one")], "none"))
            said.note(catch_up(shard, log, 1))
        said.take(shard, [record])
    assert [s.event_count for s in said.newest.values() if s.kind == "window"] == [3]
    assert [s.title for s in said.newest.values() if s.kind == "stateless"] == ["was so"]


@pytest.mark.parametrize("learned_at", [0, 1, 2])
def test_what_was_sent_before_a_place_of_matches_knew_the_rule_counts(learned_at: int) -> None:
    """Who owns the actions has learned of it before; two of three come before it holds."""
    plan = plan_of([Change(106 * SECOND_US, 1, "rules", "across")], "none")
    source = PartitionDetector(plan)
    log = []
    for number, second in enumerate((100, 104, 108)):
        row = {
            "event_id": plain_id(str(number)), "event_time": second, "observed_time": at(second),
            "kind": "tool_call", "tool_name": "a", "principal_id": "P", "partition_key": "agent",
        }  # fmt: skip
        [rows] = source.process(frame([row]), [], number << 20).matches
        log.append(Record(number, b"match_batch", batch.encode(rows)))
    shard = Shard(("agent.matches", 0), MatchJudge(plan_of([], "none")), start=0, muted_until=0)
    said = Standing()
    for number, record in enumerate(log):
        if number == learned_at:
            shard.adopt(plan)
            said.note(catch_up(shard, log, 1))
        said.take(shard, [record])
    assert [signal.event_count for signal in said.newest.values()] == [3]


def test_nothing_is_read_again_where_no_rule_is_new_and_nothing_was_judged_too_early() -> None:
    judge = ActionJudge(plan_of([], "one"))
    shard = Shard(PLACE, judge, start=0, muted_until=0)
    row = {"event_id": plain_id("1"), "event_time": 5, "observed_time": at(5), "tool_name": "a"}
    shard.process([Record(0, b"action_batch", batch.encode(frame([row])))])  # type: ignore[list-item]
    shard.adopt(plan_of([Change(6 * SECOND_US, 1, "rules", "three")], "one"))
    assert shard.behind
    assert not CatchUp(judge, shard.judged_by).needed
    assert not shard.settled, "no checkpoint in between"
    shard.caught_up()
    assert not shard.behind


def test_what_an_owner_before_may_have_said_by_a_plan_between_is_looked_at_again() -> None:
    """It had learned of a change, spoke, and died before it wrote that down; the next one learns of
    another change before it has caught up.
    """
    names = ("one", "two", "kinds")
    plans = [plan_of([Change(100 * SECOND_US, 1, "rules", name)], "none") for name in names]
    rows = [acted(100 + n, n) for n in range(2)]
    log = [Record(n, b"action_batch", batch.encode(frame([row]))) for n, row in enumerate(rows)]
    first = Shard(PLACE, ActionJudge(plans[0]), start=0, muted_until=0)
    state = msgspec.msgpack.decode(first.dump(), type=State)
    before, said = Shard(PLACE, ActionJudge(plans[1]), start=0, muted_until=0), Standing()
    before.load(state, plans[:1])
    said.note(catch_up(before, log, 1))
    said.take(before, log)
    assert {signal.title for signal in said.newest.values()} == {"is so", "many by session.id"}
    shard = Shard(PLACE, ActionJudge(plans[1]), start=0, muted_until=2)
    shard.load(state, plans[:1])
    shard.adopt(plans[2])
    assert shard.judged_by == plans[:2]
    said.take(shard, log)
    said.note(catch_up(shard, log, 2))
    assert {s.title for s in said.newest.values() if s.change != "retracted"} == {"another tool"}


def test_what_was_said_and_never_committed_is_taken_back_where_another_rule_was_in_force() -> None:
    """The owner before died between the two, and had not heard of the change."""
    plans = [plan_of([], "two"), plan_of([Change(101 * SECOND_US, 1, "rules", "one")], "two")]
    log = [Record(n, b"action_batch", batch.encode(frame([acted(100 + n, n)]))) for n in range(3)]
    before, said = Shard(PLACE, ActionJudge(plans[0]), start=0, muted_until=0), Standing()
    said.take(before, log[:1])
    state = msgspec.msgpack.decode(before.dump(), type=State)
    said.take(before, log[1:])
    shard = Shard(PLACE, ActionJudge(plans[1]), start=1, muted_until=1, stretches=Stretches([3]))
    shard.load(state, plans[:1])
    while shard.behind or shard.next_offset < len(log):
        if shard.behind:
            said.note(catch_up(shard, log, 1))
        assert not shard.settled, "no checkpoint before all is looked at"
        said.take(shard, log[shard.next_offset :])
    assert shard.next_offset == 3
    titles = Counter(one.title for one in said.newest.values() if one.change != "retracted")
    assert titles == {"is so": 1, "was so": 2, "many by session.id": 1}
    assert said.grouped() == {"single": 3, "many-session.id": 1}
