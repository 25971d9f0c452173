"""The rate cap: so many alerts a minute, and one record that says what was held back.

A cap lives only here, at the edge: detection and triage know nothing of it, and what is held back
stands in ClickHouse and on the feed as ever.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby

from tachograph.pipeline.clock import SECOND_US, to_datetime
from tachograph.pipeline.forward.formats._values import gravest
from tachograph.pipeline.forward.ledger import Held
from tachograph.schemas.alert import SEVERITIES, Alert, Reason, RuleHit, Severity
from tachograph.schemas.identity import plain_id

RULE_ID = "tacho.rate_cap"
_MINUTE_US = 60 * SECOND_US
_MOST_RULES = 20


class RateCap:
    """Admits `per_minute` alerts in each minute of the clock; None admits all."""

    def __init__(self, per_minute: int | None) -> None:
        self._per_minute = per_minute
        self._minute = -1
        self._used = 0

    def split(
        self, alerts: Sequence[Alert], known: Mapping[str, int], now_us: int
    ) -> tuple[list[Alert], list[Held]]:
        """Alerts that may go out now, and those held back.

        What ends an alert that the destination has is never held back: it makes its list shorter.
        """
        if self._per_minute is None:
            return list(alerts), []
        minute = now_us // _MINUTE_US
        room = self._per_minute - (self._used if minute == self._minute else 0)
        admitted: list[Alert] = []
        held: list[Held] = []
        for alert in alerts:
            if _ends(alert) and alert.alert_id in known:
                admitted.append(alert)
            elif room > 0:
                room -= 1
                admitted.append(alert)
            else:
                held.append(_held(alert, minute))
        return admitted, held

    def used(self, count: int, now_us: int) -> None:
        """Count what went out."""
        minute = now_us // _MINUTE_US
        if minute != self._minute:
            self._minute, self._used = minute, 0
        self._used += count


def summaries(destination: str, tenant: str, held: Sequence[Held]) -> list[Alert]:
    """One alert a minute that says what was held back; the minute's id makes a repeat known."""
    ordered = sorted(held, key=lambda h: h.minute)
    return [
        _summary(destination, tenant, minute, list(group))
        for minute, group in groupby(ordered, key=lambda h: h.minute)
    ]


def _ends(alert: Alert) -> bool:
    return alert.status in {"closed", "retracted"}


def _held(alert: Alert, minute: int) -> Held:
    rule = gravest(alert)
    return Held(alert.alert_id, minute, alert.severity, rule.rule_id if rule else "none")


def _summary(destination: str, tenant: str, minute: int, held: list[Held]) -> Alert:
    start, end = to_datetime(minute * _MINUTE_US), to_datetime((minute + 1) * _MINUTE_US)
    severities = Counter(h.severity for h in held)
    rules = Counter(h.rule_id for h in held)
    severity: Severity = max((s for s in SEVERITIES if s in severities), key=SEVERITIES.index)
    by_severity = ", ".join(f"{severities[s]} {s}" for s in reversed(SEVERITIES) if s in severities)
    title = f"{len(held)} alerts were held back from {destination} in this minute ({by_severity})"
    return Alert(
        alert_id=plain_id(RULE_ID, destination, str(minute)),
        revision=0,
        tenant=tenant,
        status="open",
        title=title,
        severity=severity,
        confidence=100,
        risk=0,
        risk_category="governance",
        rules=[_rule(severity, len(held))],
        first_seen=start,
        last_seen=end,
        created_at=end,
        updated_at=end,
        entity=f"destination:{destination}",
        entity_type="destination",
        reasons=[
            Reason(
                text="More alerts than this destination's rate cap: see them in tacho.alerts.",
                fields={rule: str(count) for rule, count in rules.most_common(_MOST_RULES)},
            )
        ],
        signal_ids=[],
        event_ids=[],
        signal_count=len(held),
        state_missing="a summary has no agent",
    )


def _rule(severity: Severity, count: int) -> RuleHit:
    return RuleHit(
        rule_id=RULE_ID,
        rule_version="1",
        title="Alerts held back by a rate cap",
        severity=severity,
        kind="window",
        count=count,
    )
