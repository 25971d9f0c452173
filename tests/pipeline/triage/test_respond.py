"""Which alerts tell agents what: once each, nothing that the policy does not state."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from tachograph.pipeline.triage.desk import Arrival, Outcome, judge
from tachograph.pipeline.triage.policy import Capture, Policy, Response
from tachograph.schemas.alert import Severity
from tachograph.schemas.codec import encode
from tachograph.schemas.records import Directive
from tests.pipeline.triage import groups as make

STOP = Response(kind="quarantine", reason="Stop it.", min_severity="critical")


def judged(policy: Policy, *severities: Severity, **fields: Any) -> list[Outcome]:
    """Outcomes of groups that come one by one, each of a rule of its own."""
    entries: dict[str, Any] = {}
    outcomes = []
    for offset, severity in enumerate(severities):
        group = make.group(f"r{offset}", severity, **fields)
        arrival = Arrival(
            partition=0, offset=offset, at_ms=1_795_370_410_000 + offset, kind="signal_group",
            payload=encode(group),
        )  # fmt: skip
        outcomes.append(judge([arrival], entries.get, policy))
        entries |= outcomes[-1].entries
    return outcomes


def told(outcomes: Iterable[Outcome]) -> list[Directive]:
    return [one for outcome in outcomes for one in outcome.directives]


def test_a_grave_alert_asks_the_agent_for_its_state_once() -> None:
    outcomes = judged(Policy(), "medium", "high", "critical")
    assert [len(one.directives) for one in outcomes] == [0, 1, 0]
    [asked] = told(outcomes)
    assert (asked.kind, asked.agent_id, asked.tenant) == ("capture", "billing-helper", "acme")
    assert asked.expires_at - asked.issued_at == timedelta(seconds=20)
    assert (asked.entity, asked.bucket_start) == ("billing-helper", make.BUCKET)
    assert asked.alert_id == outcomes[0].alerts[0].alert_id


def test_judged_again_it_is_the_same_directive() -> None:
    assert told(judged(Policy(), "high")) == told(judged(Policy(), "high"))


def test_nothing_is_done_to_an_agent_unless_the_policy_states_it() -> None:
    assert {one.kind for one in told(judged(Policy(), "critical"))} == {"capture"}
    stated = told(judged(Policy(respond=[STOP]), "high", "critical"))
    assert [one.kind for one in stated] == ["capture", "quarantine"]
    assert stated[1].reason == "Stop it."
    assert not stated[1].dry_run


@pytest.mark.parametrize(
    "never",
    [
        Response(kind="throttle", reason="x", min_severity="low", rule="other-*"),
        Response(kind="throttle", reason="x", min_severity="low", agent="other"),
        Response(kind="throttle", reason="x", min_severity="low", tenant="other"),
        Response(kind="throttle", reason="x", min_severity="low", entity="other"),
        Response(kind="throttle", reason="x", min_severity="critical"),
    ],
)
def test_an_alert_that_does_not_fit_does_nothing(never: Response) -> None:
    policy = Policy(respond=[never], capture=Capture(enabled=False))
    assert told(judged(policy, "high")) == []


def test_a_dry_run_of_the_policy_makes_each_directive_one() -> None:
    policy = Policy(respond=[STOP], dry_run=True)
    assert [one.dry_run for one in told(judged(policy, "critical"))] == [False, True]


def test_what_is_silenced_or_replayed_tells_nobody_anything() -> None:
    assert told(judged(Policy(respond=[STOP]), "critical", suppressed="a load test")) == []
    replayed = [make.signal("r0", "critical", 1, replay=True)]
    assert told(judged(Policy(respond=[STOP]), "critical", samples=replayed)) == []


def test_a_session_only_response_needs_a_session() -> None:
    nowhere = [make.signal("r0", "critical", 1, session_id=None)]
    policy = Policy(respond=[STOP], capture=Capture(enabled=False))
    assert told(judged(policy, "critical", samples=nowhere)) == []
