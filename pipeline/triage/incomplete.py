"""Grave alerts that stand without the state of their agent are a finding of their own.

It is said as what triage reads, a signal group, of the tenant as a whole: whether one alert or a
thousand lack it, the first of an hour is news and the others are known. All hours of a day make one
alert. Everything in it follows from tenant, hour and whether the alert is synthetic, so that a
repeated one changes nothing and a made-up one is told apart.
"""

from datetime import datetime
from typing import Final

from tachograph.pipeline.triage.policy import Policy, rank
from tachograph.schemas.alert import Alert, Reason, Signal, SignalGroup, StateSnapshot, Witness
from tachograph.schemas.identity import plain_id

RULE_ID: Final = "tacho.state_incomplete"
ENTITY: Final = "alerts:state"
DAY_S: Final = 86_400
# Detection L05, alert without complete agent state.
_FRAMEWORKS = ["iso_42001.A.6.2.8", "nist_ai_rmf.MANAGE_4.3", "nist_ai_rmf.MEASURE_2.8"]
_TITLE: Final = "Grave alerts stand without the state of their agents"
_VERSION: Final = "1"
_RUNBOOK: Final = (
    "`tacho query alerts-without-state` lists the alerts, whose they are and what is missing. Let"
    " these agents or their gateway publish snapshots and answer capture requests, or send what"
    " is missing with their telemetry."
)

# What an investigation needs to know of an agent at that moment.
NEEDED: Final = (
    "last_actions",
    "memory",
    "model",
    "policies",
    "system_prompt_hash",
    "tools",
)
# Who answers and names none of these has none.
_MAY_BE_NONE: Final = frozenset({"memory", "policies", "tools"})


def lacking(state: StateSnapshot | None, *, answered: bool) -> list[str]:
    """Needed parts that the snapshot does not hold."""
    missing = [name for name in NEEDED if not getattr(state, name, None)]
    return [name for name in missing if not (answered and name in _MAY_BE_NONE)]


def told_of(alert: Alert, policy: Policy, at: datetime) -> list[SignalGroup]:
    """What the alert gives to say, if anything. `at`: Kafka's time of the record that caused the
    alert's state. Grave is what the policy asks agents about.
    """
    capture = policy.capture
    # Where no agent is named, as in what tells of our own health, there is none to know.
    if alert.status != "open" or alert.replay or not alert.agent_id:
        return []
    if rank(alert.severity) < rank(capture.min_severity):
        return []
    # Whoever was asked may still answer.
    if capture.enabled and alert.stage == "initial":
        return []
    if not lacking(alert.state, answered=alert.stage == "answered"):
        return []
    return [_group(alert.tenant, at, synthetic=alert.synthetic)]


def _group(tenant: str, at: datetime, *, synthetic: bool) -> SignalGroup:
    hour = at.replace(minute=0, second=0, microsecond=0)
    day = hour.replace(hour=0)
    same = (tenant, RULE_ID, _VERSION, hour.isoformat(), *["synthetic"][:synthetic])
    signal = Signal(
        signal_id=plain_id("signal", *same),
        revision=0,
        change="new",
        tenant=tenant,
        rule_id=RULE_ID,
        rule_version=_VERSION,
        title=_TITLE,
        severity="medium",
        confidence=90,
        kind="stateless",
        risk_category="governance",
        frameworks=_FRAMEWORKS,
        event_time=hour,
        event_ids=[],
        event_count=0,
        entity=ENTITY,
        entity_type="alerts",
        bucket_start=day,
        reason=Reason(
            text=f"From {hour:%H:%M} UTC on, an alert or more stood without what an investigation"
            " needs to know of the agent at that moment (prompt, tools, memory, policies, model or"
            " last actions), and who was asked did not say.",
            fields={"hour": hour.isoformat()},
        ),
        witness=Witness(window={"hour": hour.isoformat()}),
        runbook=_RUNBOOK,
        synthetic=synthetic,
    )
    return SignalGroup(
        group_id=plain_id("group", *same),
        revision=1,
        tenant=tenant,
        entity=ENTITY,
        entity_type="alerts",
        bucket_start=day,
        bucket_s=DAY_S,
        rule_id=RULE_ID,
        count=1,
        first_seen=hour,
        last_seen=hour,
        samples=[signal],
    )
