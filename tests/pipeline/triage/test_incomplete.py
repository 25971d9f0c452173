"""Grave alerts without the state of their agents are told of, once an hour, in one alert a day."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.triage.desk import Arrival, Outcome, judge
from tachograph.pipeline.triage.entry import apply, fresh, over_ms_of
from tachograph.pipeline.triage.incomplete import ENTITY, NEEDED, RULE_ID, lacking, told_of
from tachograph.pipeline.triage.policy import Capture, Policy
from tachograph.schemas.alert import Alert, SignalGroup, StateSnapshot
from tachograph.schemas.codec import encode
from tachograph.schemas.records import CaptureAnswer
from tests.pipeline.triage import groups as make

NOON = datetime(2026, 11, 22, 12, 7, tzinfo=UTC)
WHOLE: dict[str, Any] = {
    "last_actions": [{"kind": "prompt"}],
    "memory": {"k": "v"},
    "model": {"name": "m"},
    "policies": {"p": "1"},
    "system_prompt_hash": "aa",
    "tools": {"t": "bb"},
}


def state(**fields: Any) -> StateSnapshot:
    return StateSnapshot(snapshot_id="s", tenant="acme", taken_at=NOON, **fields)


def alert(**fields: Any) -> Alert:
    """An alert of a group of a high rule, with `fields` set."""
    arrival = _arrival(make.group("r"), 0)
    [outcome] = judged(arrival)
    [made] = outcome.alerts
    return msgspec.structs.replace(made, **{"stage": "unanswered", **fields})


def _arrival(record: SignalGroup | CaptureAnswer, offset: int, at: datetime = NOON) -> Arrival:
    kind = "signal_group" if isinstance(record, SignalGroup) else "capture_answer"
    return Arrival(
        partition=0, offset=offset, at_ms=int(at.timestamp() * 1000), kind=kind,
        payload=encode(record),
    )  # fmt: skip


def judged(*arrivals: Arrival) -> list[Outcome]:
    """Outcomes of records that come one by one."""
    entries: dict[str, Any] = {}
    outcomes = []
    for one in arrivals:
        outcomes.append(judge([one], entries.get, Policy()))
        entries |= outcomes[-1].entries
    return outcomes


@pytest.mark.parametrize("part", NEEDED)
def test_each_part_that_an_investigation_needs_is_asked_for(part: str) -> None:
    assert not lacking(state(**WHOLE), answered=False)
    assert lacking(state(**{k: v for k, v in WHOLE.items() if k != part}), answered=False) == [part]


def test_who_answers_and_names_no_memory_tools_or_policies_has_none() -> None:
    known = state(**{name: WHOLE[name] for name in ("last_actions", "model", "system_prompt_hash")})
    assert not lacking(known, answered=True)
    assert lacking(known, answered=False) == ["memory", "policies", "tools"]
    assert lacking(None, answered=True) == ["last_actions", "model", "system_prompt_hash"]


def test_only_a_grave_open_alert_of_an_agent_that_can_say_no_more_is_told_of() -> None:
    assert told_of(alert(), Policy(), NOON)
    assert not told_of(alert(state=state(**WHOLE)), Policy(), NOON)
    silent: list[dict[str, Any]] = [
        {"stage": "initial"},  # it was asked, and may still answer
        {"severity": "medium"},
        {"status": "retracted"},
        {"status": "closed"},
        {"replay": True},
        {"agent_id": None},
    ]
    for fields in silent:
        assert not told_of(alert(**fields), Policy(), NOON), fields


def test_where_nobody_is_asked_the_first_state_is_all_there_will_be() -> None:
    policy = Policy(capture=Capture(enabled=False))
    assert told_of(alert(stage="initial"), policy, NOON)


def test_it_follows_from_tenant_and_hour_alone() -> None:
    [first] = told_of(alert(), Policy(), NOON)
    others = alert(agent_id="another", alert_id="other", severity="critical")
    assert told_of(others, Policy(), NOON + timedelta(minutes=52)) == [first]
    [later] = told_of(alert(), Policy(), NOON + timedelta(hours=1))
    assert later.group_id != first.group_id
    assert later.bucket_start == first.bucket_start == datetime(2026, 11, 22, tzinfo=UTC)
    [elsewhere] = told_of(alert(tenant="b"), Policy(), NOON)
    assert elsewhere.group_id != first.group_id


def test_what_is_made_up_is_told_apart() -> None:
    [real] = told_of(alert(), Policy(), NOON)
    [made_up] = told_of(alert(synthetic=True), Policy(), NOON)
    assert made_up.group_id != real.group_id
    outcomes = judged(_arrival(made_up, 0), _arrival(real, 1))
    assert [one.synthetic for outcome in outcomes for one in outcome.alerts] == [True, False]


def test_a_flood_says_it_once() -> None:
    many = [make.group("r", entity=f"agent {at}") for at in range(3)]
    policy = Policy(capture=Capture(enabled=False))
    arrivals = [_arrival(one, offset) for offset, one in enumerate(many)]
    outcome = judge(arrivals, lambda _key: None, policy)
    assert (len(outcome.alerts), len(outcome.groups)) == (3, 1)


def test_its_entry_is_kept_until_the_day_is_over() -> None:
    [group] = told_of(alert(), Policy(), NOON)
    over = over_ms_of(apply(fresh(group), group))
    assert over == datetime(2026, 11, 23, tzinfo=UTC).timestamp() * 1000


def test_an_agent_that_did_not_answer_gives_one_alert_a_day_and_none_about_itself() -> None:
    group, timed_out = make.group("r"), make.answer("r", answered=False)
    asked, unanswered = judged(_arrival(group, 0), _arrival(timed_out, 1))
    assert not asked.groups
    [told] = unanswered.groups
    [later] = told_of(alert(), Policy(), NOON + timedelta(hours=1))
    first, again, second = judged(_arrival(told, 2), _arrival(told, 3), _arrival(later, 4))
    [found] = first.alerts
    assert (found.entity, found.severity, found.risk_category) == (ENTITY, "medium", "governance")
    assert [hit.rule_id for hit in found.rules] == [RULE_ID]
    assert found.state_missing
    assert (again.alerts, again.known) == ([], 1)
    [newer] = second.alerts
    assert (newer.alert_id, newer.signal_count) == (found.alert_id, 2)
    assert not [*first.groups, *first.directives, *second.groups]
