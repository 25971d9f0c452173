"""A decision about our own health as what triage reads: a signal group, as any detector's.

Everything follows from the decision record and its offset, so that a repeated one changes nothing.
"""

from typing import NamedTuple

from tachograph.pipeline.clock import SECOND_US, to_datetime, to_us
from tachograph.schemas.alert import Reason, Severity, Signal, SignalGroup, Witness
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Health

# As long as the detectors' own; not imported from there, because Polars comes with it.
ALERT_BUCKET_S = 3_600
_BUCKET_US = ALERT_BUCKET_S * SECOND_US
_RULE_VERSION = "1"
# Detection L01, telemetry silence.
_SILENCE = (
    "atlas.AML.T0081",
    "nist_ai_rmf.MEASURE_2.4",
    "nist_ai_rmf.MEASURE_2.8",
    "owasp_asi.ASI10",
    "owasp_mcp.MCP08",
)
# Detection L07, a drill that was not detected in time.
_UNDETECTED = (
    "iso_42001.A.6.2.4",
    "iso_42001.A.6.2.6",
    "nist_ai_rmf.GOVERN_4.3",
    "nist_ai_rmf.MEASURE_1.2",
    "nist_ai_rmf.MEASURE_2.7",
)


class _Rule(NamedTuple):
    rule_id: str
    title: str
    severity: Severity
    runbook: str
    frameworks: tuple[str, ...] = _SILENCE


_SILENT = _Rule(
    "tacho.source_silent",
    "A source of telemetry fell silent",
    # Agents also end their work: without a second witness that it still acts, no more than medium.
    "medium",
    "Look whether its agents still act (gateway, billing, network). If they do, telemetry was"
    " switched off or cut: treat what they did meanwhile as unseen.",
)
_ALL_SILENT = _Rule(
    "tacho.sources_silent",
    "Most sources of telemetry fell silent together",
    "high",
    "Look at what they have in common: collector, network, credentials, or the end of their work."
    " If agents still act, treat what they did meanwhile as unseen.",
)
_STALLED = _Rule(
    "tacho.stage_stalled",
    "A stage of the pipeline stands still",
    "high",
    "Look at the stage's log and at what it waits for (broker, ClickHouse, a destination). Until it"
    " is back, what it does is not done: alerts may be late.",
)


_MISSED = _Rule(
    "tacho.drill_missed",
    "A drill was not detected in time",
    "high",
    "Until a drill is seen again, an attack may pass as it did. Drill once more (`tacho drill`);"
    " then look where it was lost: `tacho tail agent.actions`, `agent.signals`, `agent.alerts` with"
    " the drill's agent, `tacho rules list` for whether the rule is in force, and the lag of each"
    " stage.",
    _UNDETECTED,
)
_FLOOD = _Rule(
    "tacho.dead_letter_flood",
    "A source sends more that cannot be used than is kept",
    "medium",
    "`tacho tail agent.dead_letters` shows what is wrong with it. A producer that was changed is"
    " mended, and what was kept put back (`tacho replay`); one that does it on purpose hides what"
    " else it does: of that only hashes are left.",
)
_RULES = {
    "source": _SILENT,
    "sources": _ALL_SILENT,
    "stage": _STALLED,
    "drill": _MISSED,
    "flood": _FLOOD,
}
RULE_IDS = frozenset(rule.rule_id for rule in _RULES.values())


def group_of(decision: Health, offset: int) -> SignalGroup:
    """The signal group that a decision at `offset` of agent.health means; count 0 takes it back."""
    rule = _RULES[decision.component.partition(":")[0]]
    since_us = to_us(decision.watermark or decision.at)
    bucket_us = since_us - since_us % _BUCKET_US
    same = (decision.tenant, rule.rule_id, _RULE_VERSION, decision.component)
    signal = _signal(decision, rule, offset, plain_id("signal", *same, str(since_us)))
    return SignalGroup(
        group_id=plain_id("group", *same, str(bucket_us)),
        revision=offset << 20,
        tenant=decision.tenant,
        entity=decision.component,
        entity_type=signal.entity_type,
        bucket_start=to_datetime(bucket_us),
        bucket_s=ALERT_BUCKET_S,
        rule_id=rule.rule_id,
        count=0 if decision.status == "ok" else 1,
        first_seen=signal.event_time,
        last_seen=signal.event_time,
        samples=[signal],
    )


def _signal(decision: Health, rule: _Rule, offset: int, signal_id: str) -> Signal:
    since_us = to_us(decision.watermark or decision.at)
    kind, _, name = decision.component.partition(":")
    gone = decision.status == "ok"
    return Signal(
        signal_id=signal_id,
        revision=offset << 20,
        change="retracted" if gone else "new",
        tenant=decision.tenant,
        rule_id=rule.rule_id,
        rule_version=_RULE_VERSION,
        title=rule.title,
        severity=rule.severity,
        confidence=80,
        kind="window",
        risk_category="governance",
        frameworks=list(rule.frameworks),
        event_time=to_datetime(since_us),
        event_ids=[],
        event_count=0,
        entity=decision.component,
        entity_type=kind,
        bucket_start=to_datetime(since_us - since_us % _BUCKET_US),
        reason=Reason(
            text=f"{name}: {decision.detail or decision.status}.",
            fields={"component": decision.component, "decided_at": decision.at.isoformat()},
        ),
        witness=Witness(window={"since": to_datetime(since_us).isoformat()}),
        blind_spots=[] if gone else [f"{name} is {decision.status}: {decision.detail}"],
        runbook=rule.runbook,
    )
