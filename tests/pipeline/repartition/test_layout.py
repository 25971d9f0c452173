"""Records laid anew: each agent's in one partition and in order, and no tick before what it speaks
of.
"""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.normalize.batches import place_key
from tachograph.pipeline.repartition.layout import Kept, Laid, known, laid
from tachograph.schemas import batch, codec
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.identity import partition_of
from tachograph.schemas.records import SessionLink, Tick

START = datetime(2026, 11, 1, tzinfo=UTC)
AGENTS = [f"agent-{n}" for n in range(9)]

Acted = tuple[list[str], int]  # agents that act in one flush, milliseconds it takes
Ticked = tuple[int, int, int]  # raw partition, seconds it comes on, old partitions that get it
ACTED = st.tuples(st.lists(st.sampled_from(AGENTS), min_size=1, max_size=6), st.integers(0, 900))
TICKED = st.tuples(st.integers(0, 1), st.integers(0, 3), st.integers(0, 4))


def _kept(kind: bytes, value: bytes, at_ms: int) -> Kept:
    return Kept(value, {RECORD_HEADER: kind}, at_ms)


def _tick(raw_partition: int, at_s: int) -> bytes:
    tick = Tick(
        raw_topic="agent.raw",
        raw_partition=raw_partition,
        raw_partitions=2,
        observed_time=START + timedelta(seconds=at_s),
    )
    return codec.encode(tick)


def _actions(numbered: list[tuple[int, str]]) -> bytes:
    frame = pl.DataFrame(
        {
            "event_id": [str(number) for number, _ in numbered],
            "tenant": ["t"] * len(numbered),
            "partition_key": [agent for _, agent in numbered],
        }
    )
    return batch.encode(frame)


class _Log:
    """An old generation as `normalize` writes it, and what it knew when it ticked."""

    def __init__(self, steps: list[Acted | Ticked], partitions: int) -> None:
        self.olds: list[list[Kept]] = [[] for _ in range(partitions)]
        self.acted: list[str] = []  # the agent of each action, by number
        self.before: dict[tuple[int, int], int] = {}  # actions before a tick (partition, seconds)
        self.last: dict[tuple[int, int], int] = {}  # (raw, old partition) → seconds
        at_ms, reached_s = 0, {0: 0, 1: 0}
        for step in steps:
            if isinstance(step[0], list):
                at_ms += step[1]
                self._act(step[0], at_ms)
            else:
                raw, on_s, told = step
                reached_s[raw] += on_s
                self._tick(raw, reached_s[raw], min(told, partitions) or partitions, at_ms)

    def _act(self, agents: list[str], at_ms: int) -> None:
        parts: dict[int, list[tuple[int, str]]] = {}
        for agent in agents:
            at = partition_of(place_key("t", agent), len(self.olds))
            parts.setdefault(at, []).append((len(self.acted), agent))
            self.acted.append(agent)
        for at, numbered in parts.items():
            self.olds[at].append(_kept(b"action_batch", _actions(numbered), at_ms))

    def _tick(self, raw: int, at_s: int, told: int, at_ms: int) -> None:
        """A process that is killed may have told some partitions and not others."""
        self.before.setdefault((raw, at_s), len(self.acted))
        for number in range(told):
            self.olds[number].append(_kept(b"tick", _tick(raw, at_s), at_ms))
            self.last[raw, number] = at_s

    def reached_s(self, raw: int) -> int | None:
        """What every old partition has been told of a raw one."""
        told = [self.last.get((raw, number)) for number in range(len(self.olds))]
        known = [at_s for at_s in told if at_s is not None]
        return min(known) if len(known) == len(told) else None


def _numbers(record: Laid) -> list[int]:
    return [int(one) for one in batch.decode(record.value)["event_id"].to_list()]


@given(
    steps=st.lists(ACTED | TICKED, max_size=30),
    before=st.integers(1, 4),
    after=st.integers(1, 7),
)
def test_an_agent_is_in_one_place_and_in_order_and_a_tick_comes_after_what_it_speaks_of(
    steps: list[Acted | Ticked], before: int, after: int
) -> None:
    log = _Log(steps, before)
    seen: list[list[int]] = [[] for _ in range(after)]
    ticks: list[dict[int, int]] = [{} for _ in range(after)]
    for record in laid(log.olds, after):
        if record.headers[RECORD_HEADER] == b"action_batch":
            seen[record.partition] += _numbers(record)
            continue
        tick = codec.decode(Tick, record.value)
        at_s = round((tick.observed_time - START).total_seconds())
        assert at_s > ticks[record.partition].get(tick.raw_partition, -1), "it never goes back"
        ticks[record.partition][tick.raw_partition] = at_s
        spoken_of = set(range(log.before[tick.raw_partition, at_s]))
        here = {n for n in spoken_of if _place(log.acted[n], after) == record.partition}
        assert here <= set(seen[record.partition])
    for partition, numbers in enumerate(seen):
        expected = [n for n, agent in enumerate(log.acted) if _place(agent, after) == partition]
        for agent in AGENTS:
            own = [n for n in expected if log.acted[n] == agent]
            assert [n for n in numbers if log.acted[n] == agent] == own
        assert sorted(numbers) == expected
    for told in ticks:
        known = {raw: log.reached_s(raw) for raw in (0, 1)}
        assert told == {raw: at_s for raw, at_s in known.items() if at_s is not None}


def _place(agent: str, partitions: int) -> int:
    return partition_of(place_key("t", agent), partitions)


def test_what_goes_with_an_agents_actions_moves_with_them() -> None:
    link = SessionLink(
        tenant="t", partition_key="agent-3", trace_id="a", session_id="s", observed_time=START
    )
    snapshot = StateSnapshot(
        snapshot_id="1", tenant="t", agent_id="agent-3", taken_at=START, source="agent"
    )
    old = [
        _kept(b"session_link", codec.encode(link), 1),
        _kept(b"state_snapshot", codec.encode(snapshot), 2),
    ]
    found = list(laid([old], 50))
    assert {record.partition for record in found} == {_place("agent-3", 50)}
    assert [record.value for record in found] == [record.value for record in old]
    assert [record.at_ms for record in found] == [1, 2]


def test_a_kind_of_a_newer_version_is_not_lost_but_refused() -> None:
    with pytest.raises(Refused, match=r"kind 'novelty'.* a newer one has to move it"):
        known(_kept(b"novelty", b"{}", 1))


def test_a_record_that_nobody_can_read_stops_nothing() -> None:
    broken = [(b"action_batch", b"no arrow"), (b"tick", b"{}"), (b"session_link", b"\xff")]
    old = [_kept(kind, value, 1) for kind, value in broken]
    sound = _kept(b"action_batch", _actions([(0, AGENTS[0])]), 2)
    assert [_numbers(record) for record in laid([[*old, sound]], 2)] == [[0]]
