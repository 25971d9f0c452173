"""Who is not known yet is held against those of its place that are: as many bytes as they send are
usual, much more is not; the same wherever each agent is seen, and however much the place sends.
"""

import random
from typing import Any

import msgspec
import numpy as np
import pytest

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.baselines import EPOCH_PANES
from tachograph.detectors.behaviour.company import (
    LAG,
    OF_PLACE,
    TOLD_EPOCHS,
    Company,
    Place,
    Told,
)
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.features import SCALES
from tachograph.detectors.behaviour.peers import LEAST_PEERS
from tachograph.schemas.alert import Signal
from tests.detectors.behaviour.test_bars_that_move import BARS, CALIBRATION, HOUR_S, START_S
from tests.detectors.made import SECOND_US, frame

OLD_S = 4 * HOUR_S
USUAL = 300_000


def sends(agent: str, start_s: float, count: int, size: int, **more: Any) -> list[dict[str, Any]]:
    """So many sends, two a minute, of about this size."""
    return [
        {
            "event_id": f"{agent}-{start_s}-{number}", "agent_id": agent, "partition_key": agent,
            "event_time": START_S + start_s + 30 * number, "kind": "tool_call",
            "tool_name": "send", "tool_bytes_out": size * (8 + number % 5) // 10,
            "target_domain": "usual.example", **more,
        }
        for number in range(count)
    ]  # fmt: skip


def place(known: int, size: int, newcomer: int, **more: Any) -> list[dict[str, Any]]:
    """Agents that have sent so much for some hours, and one that then begins to."""
    old = [row for at in range(known) for row in sends(f"old{at}", 0, OLD_S // 30, size, **more)]
    return [*old, *sends("newcomer", OLD_S, 10, newcomer)]


def judge(*, shared: bool = False) -> Behaviour:
    return Behaviour(calibration=CALIBRATION, bars=BARS, shared=shared)


def said(rows: list[dict[str, Any]], places: int = 1, seed: int = 1) -> list[Signal]:
    """What is said where all meet, with agents spread over places, ticks one by one, rows that come
    twice, in any order, and restarts.
    """
    rng = random.Random(seed)
    own, meeting, found = [judge() for _ in range(places)], judge(shared=True), list[Signal]()
    where = {key: rng.randrange(places) for key in sorted({row["agent_id"] for row in rows})}
    before_s = 0.0
    for until_s in (*sorted(rng.sample(range(600, int(OLD_S)), 3)), OLD_S + HOUR_S):
        came = []
        for at in range(places):
            now = [
                row
                for row in rows
                if where[row["agent_id"]] == at
                and before_s <= row["event_time"] - START_S < until_s
            ]
            if now:
                own[at].judge(frame(now), 1)
            came += own[at].advance(int(START_S + until_s) * SECOND_US, 2).flows
            state, own[at] = own[at].dump(), judge()
            own[at].load(state)
        came += rng.sample(came, len(came) // 2)
        rng.shuffle(came)
        for flow in came:
            meeting.take(flow)
        found += meeting.advance(int(START_S + until_s) * SECOND_US, 3).signals
        state, meeting = meeting.dump(), judge(shared=True)
        meeting.load(state)
        before_s = until_s
    return sorted(found, key=lambda one: one.signal_id)


@pytest.mark.parametrize("times", [1, 3])
def test_a_newcomer_may_send_what_others_send_and_not_a_thousand_times_as_much(times: int) -> None:
    usual = USUAL * times
    assert not said(place(LEAST_PEERS, usual, usual))
    much = said(place(LEAST_PEERS, usual, 1000 * usual))
    assert {(one.entity, one.reason.fields["feature"]) for one in much} == {
        ("newcomer", "bytes_out")
    }
    assert f"by {LEAST_PEERS} known agents of its place" in much[0].reason.text
    assert len(much) == 1


def test_where_too_few_are_known_nothing_is_said_of_what_the_place_has() -> None:
    assert not said(place(LEAST_PEERS - 1, USUAL, 100 * USUAL))


def test_agents_of_another_tenant_are_no_company() -> None:
    assert not said(place(LEAST_PEERS, USUAL, 100 * USUAL, tenant="another"))


@pytest.mark.parametrize("seed", [2, 3])
def test_it_is_the_same_wherever_agents_are_seen(seed: int) -> None:
    rows = place(LEAST_PEERS + 2, USUAL, 100 * USUAL)
    alone = [msgspec.structs.replace(one, revision=0) for one in said(rows)]
    spread = [msgspec.structs.replace(one, revision=0) for one in said(rows, 3, seed)]
    assert alone
    assert spread == alone


def told(kind: str, number: int, level: int) -> Told:
    who = Identity("default", "", f"{kind}{number}", "", "", "")
    cell = [level, 90, level + 200]
    return Told(who, kind, 1, [10_000] * len(SCALES), [[cell] * len(OF_PLACE)] * len(SCALES))


def test_those_of_its_kind_count_more_than_others_the_more_there_are() -> None:
    def usual(clerks: int) -> int:
        known = [told("clerk", at, 400) for at in range(clerks)]
        known += [told("other", at, 2000) for at in range(40)]
        found = Place(known).usual("clerk", 0, 0)
        assert found is not None
        return found.centre

    assert usual(0) == 2000
    assert usual(5) == 1200
    assert 400 < usual(30) < 700


def test_what_is_usual_is_told_every_two_hours_and_counts_from_the_epoch_after_next() -> None:
    assert (TOLD_EPOCHS * SCALES[2].panes, LAG) == (2 * SCALES[3].panes, 2)
    one = judge()
    flows = []
    for row in np.array_split(np.array(sends("old", 0, OLD_S // 30, USUAL)), 40):
        one.judge(frame(list(row)), 1)
        flows += one.advance(int(row[-1]["event_time"]) * SECOND_US, 2).flows
    told = [
        flow for flow in flows if "company_row" in flow.columns and '"told"' in str(flow.rows())
    ]
    assert len(told) == 2


def test_what_is_known_of_all_is_gone_through_once_an_epoch() -> None:
    class Counted(dict[Identity, dict[int, Told]]):
        reads = 0

        def items(self) -> Any:
            Counted.reads += 1
            return super().items()

    company = Company(CALIBRATION, BARS, 100)
    company._told = Counted({told("clerk", at, 400).who: {} for at in range(3)})
    for tenant in range(20):
        company._place(f"tenant{tenant}", 1)
    assert Counted.reads == 1
    for pane in range(4 * EPOCH_PANES, 5 * EPOCH_PANES):
        company._told = Counted()
        company.close(pane, 1)
    assert Counted.reads == 2


def test_what_is_shared_is_no_company_of_agents() -> None:
    meeting = judge(shared=True)
    meeting.speaks = True
    assert not meeting.sends
