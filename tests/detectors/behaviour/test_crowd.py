"""What most agents do alike at once is said once, of the place; it is a function of the set of
rows, whatever place each comes from and however often.
"""

import random
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachograph.detectors.across import AcrossDetector
from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.crowd import (
    CROWD_RULE,
    CROWD_VERSION,
    LEAST_AGENTS,
    Crowds,
    Held,
    Risen,
)
from tachograph.detectors.behaviour.features import RATE
from tachograph.detectors.behaviour.shared import CROWD, CROWD_ROW
from tachograph.detectors.correlation.travel import by_partition
from tachograph.detectors.groups import group_id_of
from tachograph.detectors.partition import PartitionDetector
from tachograph.detectors.signals import at
from tachograph.schemas import batch
from tachograph.schemas.alert import Reason, Signal
from tests.detectors.made import SECOND_US, frame, rules

START_S = 1_790_000_400
PANE_S, EPOCH = 10, 60
AT_WORK = 12
RULES = rules(
    "title: none\nlogsource: {category: any}\ndetection: {a: {tool.name: nothing}, condition: a}\n"
).beside_sessions()
# Agent, base pane, length of window, level, and whether something would be said of it.
Came = tuple[int, int, int, int, bool]
CAME = st.lists(
    st.tuples(
        st.integers(0, 9),
        st.integers(0, 6 * EPOCH),
        st.integers(0, 1),
        st.sampled_from([900, 1500]),
        st.booleans(),
    ),
    min_size=20,
    max_size=80,
    unique_by=lambda one: one[:2],
)


def signal(agent: int, pane: int) -> Signal:
    return Signal(
        signal_id=f"{pane:08d}-{agent}", revision=0, change="new", tenant="t",
        rule_id=RATE.rule_id, rule_version="1", title=RATE.title, severity="high", kind="anomaly",
        risk_category="agent_operation", event_time=at(pane * PANE_S * SECOND_US), event_ids=["e"],
        entity=f"a{agent}", bucket_start=at(pane * PANE_S // 3600 * 3600 * SECOND_US),
        reason=Reason(text="much", fields={}), partition_key=f"s{agent}",
    )  # fmt: skip


def sent(came: list[Came]) -> pl.DataFrame:
    """Match rows as places send them."""
    rows: list[Risen | Held] = []
    for agent, pane, scale, level, held in came:
        who = Identity("t", f"s{agent}", f"a{agent}", "", "", "")
        risen = Risen(who, 0, scale, pane + 1, level)
        rows += [risen, *([Held(risen, signal(agent, pane))] if held else [])]
    return pl.DataFrame(
        {
            "rule_id": CROWD,
            "rule_version": CROWD_VERSION,
            CROWD_ROW: [msgspec.json.encode(row).decode() for row in rows],
        }
    )


def by_brute_force(came: list[Came]) -> tuple[set[str], list[int]]:
    """Whose signals stand at last, and of how many agents crowds are."""
    alone = dict[str, tuple[int, int]]()
    crowds, newest = list[int](), -999
    for agent, pane, scale, level, held in sorted(came, key=lambda one: (one[1], str(one[0]))):
        levels: dict[int, int] = {}
        for other, then, length, height, _ in came:
            if length <= scale and pane - 2 * EPOCH < then <= pane:
                levels[other] = max(levels.get(other, 0), height)
        most = sorted(levels.values())[(len(levels) - 1) // 2] + 512
        if not held:
            continue
        if len(levels) < max(LEAST_AGENTS, AT_WORK // 2) or level > most:
            alone[signal(agent, pane).signal_id] = pane, level
            continue
        fresh = newest <= pane - 2 * EPOCH
        newest = pane
        if fresh or len(levels) >= 2 * crowds[-1]:
            crowds = [*crowds, len(levels)] if fresh else [*crowds[:-1], len(levels)]
            alone = {
                one: (then, height)
                for one, (then, height) in alone.items()
                if then <= pane - 2 * EPOCH or height > most
            }
    return set(alone), crowds


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(came=CAME, seed=st.integers(0, 2**16))
def test_what_stands_at_last_is_what_brute_force_says_of_all_rows(
    came: list[Came], seed: int
) -> None:
    rng = random.Random(seed)
    crowds, found = Crowds(10_000, lambda *_: AT_WORK), dict[str, Signal]()
    for before in sorted({*(rng.randrange(6 * EPOCH) for _ in range(4)), 7 * EPOCH}):
        now = [one for one in came if before > one[1]]
        for part in (rng.sample(now, len(now)), rng.sample(now, len(now) // 2)):
            cut = rng.randrange(len(part) + 1)
            for rows in (part[:cut], part[cut:]):
                if rows:
                    crowds.take(sent(rows))
        said = crowds.close(before, 1)
        assert len({one.signal_id for one in said}) == len(said)
        for one in said:
            assert (one.signal_id in found) == (one.change != "new")
            found[one.signal_id] = one
        state, crowds = crowds.state(), Crowds(10_000, lambda *_: AT_WORK)
        crowds.restore(state)
    stand = [one for one in found.values() if one.change != "retracted"]
    alone, many = by_brute_force(came)
    assert {one.signal_id for one in stand if one.rule_id != CROWD_RULE} == alone
    places = sorted(
        (one for one in stand if one.rule_id == CROWD_RULE), key=lambda one: one.event_time
    )
    assert [int(one.reason.fields["agents"]) for one in places] == many


def test_beyond_its_limit_it_counts_what_it_leaves_out() -> None:
    crowds = Crowds(3, lambda *_: 0)
    crowds.take(sent([(agent, 5, 0, 900, False) for agent in range(5)]))
    assert crowds.evicted == 2
    crowds.close(5 * EPOCH, 1)
    crowds.take(sent([(0, 5, 0, 900, False)]))
    assert crowds.evicted == 3


def calls(agent: int, start_s: float, count: int, every_s: float) -> list[dict[str, Any]]:
    return [
        {
            "event_id": f"{agent}-{start_s}-{number}", "partition_key": f"svc{agent % 5}",
            "event_time": START_S + start_s + every_s * number, "agent_id": f"a{agent}",
            "session_id": f"{agent}-s", "kind": "tool_call", "tool_name": "get",
            "tool_args_hash": f"x{start_s}{number}", "target_domain": "home",
        }
        for number in range(count)
    ]  # fmt: skip


USUAL_S = 2 * 3600


def story(set_up: int, flood: int) -> list[dict[str, Any]]:
    """Agents that do little; some are set up anew, a few minutes one after the other, and then one
    does much more than these.
    """
    rows = [row for agent in range(12) for row in calls(agent, agent, USUAL_S // 20, 20.0)]
    for agent in range(set_up):
        rows += calls(agent, USUAL_S + 30 * agent, 60, 0.2)
    return rows + calls(11, USUAL_S + 400, flood, 0.01)


def said(rows: list[dict[str, Any]], places: int) -> tuple[list[Signal], set[str]]:
    """What is said where all meet, and the groups whose captured state is sent along."""
    meeting, captured = AcrossDetector(RULES), set[str]()
    for at_place in range(places):
        place = PartitionDetector(RULES)
        place.process(
            frame([row for row in rows if int(row["partition_key"][3:]) % places == at_place]),
            [],
            1,
        )
        over = place.close(2)
        assert not [one for one in over.signals if one.kind == "anomaly"]
        captured |= {one.group_id for one in over.contexts}
        for flow in over.matches:
            [part] = by_partition(flow, 1).values()
            meeting.process(batch.decode(batch.encode(part)), 3)
    state, meeting = meeting.dump(), AcrossDetector(RULES)
    meeting.load(state)
    found = meeting.tick((START_S + 90_000) * SECOND_US, 4).signals
    return sorted(found, key=lambda one: (one.event_time, one.signal_id)), captured


@pytest.mark.parametrize(
    ("set_up", "flood", "alone", "crowds"),
    [
        (4, 0, {"a0", "a1", "a2", "a3"}, 0),
        # Fewer than half of those at work.
        (5, 0, {"a0", "a1", "a2", "a3", "a4"}, 0),
        (12, 0, set(), 1),
        (10, 900, {"a11"}, 1),
    ],
)
def test_a_release_is_said_once_and_who_does_much_more_is_said_all_the_same(
    set_up: int, flood: int, alone: set[str], crowds: int
) -> None:
    found, captured = said(story(set_up, flood), 1)
    spread, _ = said(story(set_up, flood), 3)
    assert [msgspec.structs.replace(one, revision=0) for one in found] == [
        msgspec.structs.replace(one, revision=0) for one in spread
    ]
    own = [one for one in found if one.rule_id != CROWD_RULE]
    assert {one.entity for one in own} == alone
    assert {group_id_of(one) for one in own} <= captured
    places = [one for one in found if one.rule_id == CROWD_RULE]
    assert len(places) == crowds
    assert all(one.severity == "medium" and one.agent_id is None for one in places)
    assert all("a0, a1" in one.reason.text for one in places)
