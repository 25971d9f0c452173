"""Everything that is held has a limit; what a limit costs is counted and told."""

from datetime import UTC, datetime

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.dedup import Seen
from tachograph.detectors.engine import Engine
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Links
from tachograph.detectors.recent import MAX_TEXT_CHARS, Recent
from tachograph.detectors.signals import MAX_EVIDENCE
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import SessionLink
from tests.detectors.made import SECOND_US, at, frame, rules

THREE = rules("""
title: base
name: base
logsource: {category: any}
detection: {s: {tool.name: a}, condition: s}
---
title: three
correlation:
  type: event_count
  rules: [base]
  group-by: [session.id]
  timespan: 10s
  condition: {gte: 3}
""")
(RULE,) = THREE.rules


def actions(times: list[int], session: str = "s", first: int = 0) -> pl.DataFrame:
    return frame([
        {
            "event_id": f"{first + place:032x}",
            "event_time": time,
            "tool_name": "a",
            "session_id": session,
        }
        for place, time in enumerate(times)
    ])  # fmt: skip


def test_a_group_that_holds_too_much_forgets_its_oldest_events_and_stands_by_what_it_said() -> None:
    engine = Engine(THREE, limits=Limits(events_per_group=5))
    (said,) = engine.judge(actions([1, 2, 3]), 1).signals
    assert engine.judge(actions([4, 5, 6, 7, 8], first=10), 2).signals == []
    assert engine.stats[RULE.meta.rule_id].evicted_events == 3
    (later,) = engine.judge(actions([11, 12, 13], first=20), 3).signals
    assert later.signal_id != said.signal_id
    assert "forgot" in later.blind_spots[0]


def test_groups_beyond_the_limit_go_those_quiet_for_longest_first() -> None:
    engine = Engine(THREE, limits=Limits(groups_per_rule=10))
    for number in range(12):
        engine.judge(actions([number], session=f"s{number}", first=number * 10), number)
    assert engine.stats[RULE.meta.rule_id].evicted_groups > 0
    (told,) = engine.judge(actions([2, 3, 4], session="s3", first=900), 100).signals
    assert "forgot" in told.blind_spots[0]


def test_events_beyond_the_limit_of_a_rule_are_counted() -> None:
    engine = Engine(THREE, limits=Limits(events_per_rule=20, groups_per_rule=10))
    for number in range(30):
        engine.judge(actions([number], session=f"s{number % 4}", first=number), number)
    assert engine.stats[RULE.meta.rule_id].evicted_events > 0


def test_evidence_is_capped_and_counted_in_full() -> None:
    (signal,) = Engine(THREE).judge(actions([1] * 50), 1).signals
    assert (len(signal.event_ids), signal.event_count) == (MAX_EVIDENCE, 50)
    assert signal.witness.partial


def test_what_a_window_held_is_forgotten_once_nothing_can_change_it() -> None:
    engine = Engine(THREE, limits=Limits(allowed_lateness_s=5))
    engine.judge(actions([1, 2, 3]), 1)
    (judge,) = engine.bank._judges.values()
    engine.advance(24 * SECOND_US, 9)
    assert (judge.memory.blocks.size, len(engine.bank._store.tables)) == (3, 1)
    engine.advance(100 * SECOND_US, 9)
    assert (judge.memory.blocks.size, engine.bank._store.tables) == (0, {})
    assert len(judge.memory.blocks.used()) == 0


def test_a_late_action_stays_out_and_the_windows_it_would_have_touched_say_so() -> None:
    engine = Engine(THREE)
    late = actions([2], first=50).with_columns(late=True)
    assert engine.judge(late, 1).signals == []
    assert engine.judge(actions([1, 3]), 2).signals == []
    (signal,) = engine.judge(actions([4], first=60), 3).signals
    assert signal.event_count == 3
    assert signal.blind_spots == ["1 late action(s) of this group were left out of the window"]


def test_a_state_of_another_format_is_refused() -> None:
    engine = Engine(THREE)
    state = msgspec.msgpack.decode(engine.dump())
    with pytest.raises(ValueError, match="format"):
        engine.load(msgspec.msgpack.encode({**state, "format": 99}))
    bank = msgspec.msgpack.decode(engine.bank.dump())
    with pytest.raises(ValueError, match="format"):
        engine.bank.load(msgspec.msgpack.encode({**bank, "format": 99}))
    with pytest.raises(ValueError, match="polars"):
        engine.bank.load(msgspec.msgpack.encode({**bank, "polars": "0.1"}))


ID = st.integers(0, 40).map(lambda number: plain_id("id", str(number)))
HORIZON_S = 10
SOURCE = st.integers(0, 2)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(SOURCE, st.integers(0, 30), st.lists(ID, max_size=6)), max_size=16))
def test_an_id_counts_once_within_the_horizon_however_far_apart_the_sources_are(
    batches: list[tuple[int, int, list[str]]],
) -> None:
    seen, reached = Seen(horizon_s=HORIZON_S, limit=500), [0, 0, 0]
    told: dict[str, list[int]] = {}
    for source, on_s, names in batches:
        reached[source] += on_s
        now = reached[source]
        table = _observed(names, at(now)).with_row_index("row")
        kept = set(seen.fresh(table)["row"])
        for row, name in enumerate(names):
            before = told.setdefault(name, [])
            if any(abs(now - time) < HORIZON_S for time in before):
                assert row not in kept
            if not before:
                assert row in kept
            before += [now] if row in kept else []
        seen.reached(min(reached) * SECOND_US)
        seen = Seen(horizon_s=HORIZON_S, limit=500).load(seen.dump())
    assert not seen.evicted


def test_what_all_sources_are_past_is_forgotten_and_no_loss() -> None:
    seen = Seen(horizon_s=HORIZON_S, limit=100)
    for second in range(0, 200, 2):
        names = [plain_id("id", str(second), str(number)) for number in range(10)]
        assert seen.fresh(_observed(names, at(second))).height == len(names)
        assert seen.fresh(_observed(names, at(second))).is_empty()
        seen.reached((second - 1) * SECOND_US)
    assert not seen.evicted
    assert seen.fresh(_observed([plain_id("id", "0", "0")], at(200))).height == 1


def test_ids_beyond_the_limit_are_forgotten_and_counted() -> None:
    seen = Seen(limit=100)
    for start in range(0, 500, 50):
        names = [plain_id("id", str(number)) for number in range(start, start + 50)]
        assert seen.fresh(_observed(names)).height == 50
    assert seen.evicted > 0
    assert seen.fresh(_observed([plain_id("id", "499")])).is_empty()
    assert seen.fresh(_observed([plain_id("id", "0")])).height == 1


def _observed(
    names: list[str], moment: datetime = datetime(2026, 1, 1, tzinfo=UTC)
) -> pl.DataFrame:
    times = pl.Series("observed_time", [moment] * len(names), pl.Datetime("us", "UTC"))
    return pl.DataFrame([pl.Series("event_id", names, pl.String), times])


def test_links_beyond_the_limit_are_forgotten_and_counted() -> None:
    links = Links(limit=3)
    records = [_link(f"T{number}", f"S{number}") for number in range(5)]
    assert len(links.learn(records)) == 5
    assert (len(links), links.evicted) == (3, 2)
    assert links.traces_of("default", "place", "S0") == set()
    assert links.traces_of("default", "place", "S4") == {"T4"}


def test_what_was_said_first_of_a_trace_holds() -> None:
    links = Links()
    links.learn([_link("T", "S1")])
    assert links.learn([_link("T", "S2"), _link("T", "S1")]) == {}
    assert links.traces_of("default", "place", "S1") == {"T"}


def _link(trace: str, session: str) -> SessionLink:
    return SessionLink(
        tenant="default",
        partition_key="place",
        trace_id=trace,
        session_id=session,
        observed_time=at(0),
    )


def test_recent_actions_are_short_and_bounded() -> None:
    recent = Recent(max_rows=40)
    for start in range(0, 100, 10):
        rows = actions(list(range(start, start + 10)), first=start)
        recent.push(rows.with_columns(tool_args=pl.lit("x" * 1_000)))
    assert recent.rows == 40
    other = Recent()
    other.load(recent.dump())
    for one in (recent, other):
        session = ("default", "place", "s")
        last = one.of_sessions({session: []}, number=5)[session].actions
        assert [row["event_id"] for row in last] == [f"{place:032x}" for place in range(95, 100)]
        assert len(last[0]["tool_args"]) == MAX_TEXT_CHARS


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=60))
def test_what_is_told_of_sessions_does_not_depend_on_how_their_actions_came(
    cuts: list[int],
) -> None:
    rows = [
        actions([place], session=f"s{place % 3}", first=place).with_columns(
            # A column that most batches have not.
            **({"file_path": pl.lit(f"/{place}")} if place % 7 == 0 else {})
        )
        for place in range(sum(cuts))
    ]
    whole, pieces = Recent(), Recent(max_rows=800)
    whole.push(pl.concat(rows, how="diagonal"))
    start = 0
    for cut in cuts:
        pieces.push(pl.concat(rows[start : start + cut], how="diagonal"))
        start += cut
    asked: dict[tuple[str, str, str], list[str]] = {
        ("default", "place", f"s{number}"): [] for number in range(3)
    }
    assert pieces.of_sessions(asked) == whole.of_sessions(asked)
