"""Several processes of `detect` with one place each learn of a change at different times, die and
start again: what stands of rules whose groups lie in several partitions is what was in force when
each event was observed.
"""

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.in_force import Change, Period, Timeline
from tachograph.detectors.partition import Found
from tachograph.detectors.plan import Plan
from tachograph.pipeline.detect.judges import RAW_TOPICS, MatchJudge
from tachograph.pipeline.detect.matches import TICK_EVERY_S, Matches
from tachograph.schemas import batch, codec
from tachograph.schemas.alert import Signal
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Tick
from tests.detectors.made import SECOND_US, at, frame
from tests.detectors.test_plan import compiled, counted, of_all_kinds, told
from tests.pipeline.detect.records import Record
from tests.pipeline.detect.test_catch_up import Process, expected, log_of

SOURCES = 2
KINDS = of_all_kinds(least=2, learning_s=0, level="low").replace("session.id", "principal.id")
SETS = {
    "none": compiled(counted(9, "principal.id")),
    "two": compiled(counted(2, "principal.id")),
    "three": compiled(counted(3, "principal.id", level="high")),
    "kinds": compiled(KINDS),
    "alike": compiled(KINDS.replace("level: low", "level: high")),
}


def plan_of(changes: list[Change], first: str) -> Plan:
    timeline = Timeline.of(changes, Period(0, first, ""))
    return Plan(timeline, {period: SETS[period.rules] for period in timeline.periods})


class Wire:
    """The log of matches, as a writer."""

    def __init__(self) -> None:
        self.log: list[Record] = []

    def send(
        self, _topic: str, value: bytes, *, partition: int, headers: Mapping[str, bytes]
    ) -> None:
        assert partition == 0
        self.log.append(Record(len(self.log), headers[RECORD_HEADER], value))


class Source(Process):
    """A process with a partition of actions."""

    def __init__(
        self, number: int, wire: Wire, log: list[Record], plans: list[Plan], chance: random.Random
    ) -> None:
        self.place = ("agent.actions", number)
        self._wire, self._s = wire, 0.0
        self._matches = self._made()
        super().__init__(log, plans, chance)

    def _made(self) -> Matches:
        return Matches(self._wire, 1, now_s=lambda: self._s)  # type: ignore[arg-type]

    def note(self, found: list[Found]) -> None:
        for rows in (rows for one in found for rows in one.matches):
            self._matches.send(rows)

    def die(self) -> None:
        super().die()
        self._matches = self._made()

    def round(self) -> None:
        super().round()
        if self.chance.random() < 0.7:
            self.tick()

    def tick(self) -> None:
        self._s += TICK_EVERY_S
        self._matches.tick([self.shard], {"agent.actions": SOURCES}, self.known - 1)


class Meeting(Process):
    """The process with the place where the matches meet."""

    place = ("agent.matches", 0)
    judge_by = MatchJudge


class Fleet:
    """All of them, until everything is read and known."""

    def __init__(
        self, rows: list[dict[str, Any]], plans: list[Plan], chance: random.Random
    ) -> None:
        self.chance, wire = chance, Wire()
        of = [[row for row in rows if row["partition_key"] == f"p{n}"] for n in range(SOURCES)]
        self.sources = [
            Source(n, wire, log_of(of[n], chance), plans, chance) for n in range(SOURCES)
        ]
        self.meeting = Meeting(wire.log, plans, chance)

    @property
    def places(self) -> list[Process]:
        return [*self.sources, self.meeting]

    def run(self) -> None:
        while any(one.left for one in self.places):
            one = self.chance.choice(self.places)
            if self.chance.random() < 0.1:
                one.learn()
            if self.chance.random() < 0.1:
                one.die()
            one.round()
        for source in self.sources:
            source.tick()
        self.meeting.finish()


@st.composite
def streams(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Actions of two principals by agents in two partitions, in the order of observation."""
    found = []
    for number in range(draw(st.integers(1, 30))):
        observed = draw(st.sampled_from([100, 800])) + draw(st.integers(0, 15))
        found.append(
            {
                "event_id": plain_id(str(number)),
                "event_time": observed - draw(st.sampled_from([0, 1, 3, 50])),
                "observed_time": at(observed),
                "kind": "tool_call",
                "tool_name": draw(st.sampled_from(["a", "a", "b"])),
                "principal_id": draw(st.sampled_from(["P", "Q"])),
                "partition_key": f"p{draw(st.integers(0, SOURCES - 1))}",
            }
        )
    return sorted(found, key=lambda row: (row["observed_time"] - at(0)) // timedelta(seconds=1))


@settings(max_examples=15, deadline=None)
@given(
    streams(),
    st.lists(
        st.tuples(st.sampled_from([100, 105, 110, 700, 805]), st.sampled_from(sorted(SETS))),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from(sorted(SETS)),
    st.integers(0, 2**32),
)
def test_what_stands_across_partitions_is_what_was_in_force_whoever_learned_of_it_when(
    rows: list[dict[str, Any]], changes: list[tuple[int, str]], first: str, seed: int
) -> None:
    said = [Change(s * SECOND_US, n, "rules", name) for n, (s, name) in enumerate(sorted(changes))]
    plans = [plan_of(said[:count], first) for count in range(len(said) + 1)]
    fleet = Fleet(rows, plans, random.Random(seed))
    fleet.run()
    assert standing(fleet.meeting) == expected(plans[-1], rows)


def standing(meeting: Process) -> dict[str, Signal]:
    newest = meeting.said.newest.items()
    return {key: told(signal) for key, signal in newest if signal.change != "retracted"}


def ticks(reached_s: int, begin: int) -> list[Record]:
    return [
        Record(begin + number, b"tick", codec.encode(raw_tick(topic, reached_s)))
        for number, topic in enumerate(RAW_TOPICS)
    ]


def raw_tick(topic: str, reached_s: int) -> Tick:
    return Tick(raw_topic=topic, raw_partition=0, raw_partitions=1, observed_time=at(reached_s))


def test_no_window_is_closed_before_everybody_has_sent_what_a_new_rule_has_to_see() -> None:
    """Time has gone past its first window when one process learns of the rule, and goes on before
    another does. What that one sends makes the window true before the rule was in force.
    """
    plans = [plan_of([], "none"), plan_of([Change(100 * SECOND_US, 0, "rules", "three")], "none")]
    times = {0: [(95, 95), (96, 96), (99, 101)], 1: [(94, 94)]}
    rows = {
        number: [
            {
                "event_id": plain_id(f"{number}/{event_s}"), "event_time": event_s,
                "observed_time": at(observed_s), "kind": "tool_call", "tool_name": "a",
                "principal_id": "P", "partition_key": f"p{number}",
            }
            for event_s, observed_s in own
        ]
        for number, own in times.items()
    }  # fmt: skip
    wire, chance = Wire(), random.Random(7)
    logs = {n: [Record(0, b"action_batch", batch.encode(frame(rows[n])))] for n in rows}
    early, late = (Source(n, wire, logs[n], plans, chance) for n in rows)
    meeting = Meeting(wire.log, plans, chance)

    def go_on(reached_s: int) -> None:
        for source in (early, late):
            source.log += ticks(reached_s, len(source.log))
            source.finish()
            source.tick()
        meeting.finish()

    go_on(200)
    for one in (meeting, early):
        one.learn()
        one.finish()
    meeting.finish()
    assert [signal.event_time for signal in standing(meeting).values()] == [at(99)]
    go_on(300)
    late.learn()
    late.finish()
    meeting.finish()
    assert standing(meeting) == expected(plans[-1], rows[0] + rows[1]) == {}
    go_on(400)
    judge = meeting.shard.judge
    assert isinstance(judge, MatchJudge)
    assert not judge.openness.held(judge.config_offset, -1), "once everybody has, time goes on"
