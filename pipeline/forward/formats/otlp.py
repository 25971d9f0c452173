"""OTLP logs as JSON: one export request a record, so that a rejection names its alert.

Names are those of OpenTelemetry where it has them (`security_rule.*`, `gen_ai.*`, `user.*`), ours
under `tacho.*`. 64-bit numbers are decimal strings, as OTLP/JSON wants them.
"""

from datetime import datetime
from typing import Any

import msgspec

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.forward.formats._bounded import bounded, encoded, fitting
from tachograph.pipeline.forward.formats._values import (
    HEALTH_EVENT,
    PRODUCT,
    change_of,
    gravest,
    lines,
    matched,
    observed,
    product_version,
    risk_points,
)
from tachograph.schemas.alert import Alert, Severity
from tachograph.schemas.records import Health

NAME = "otlp"
CONTENT_TYPE = "application/json"
MAX_BYTES = 262_144
# A file of OTLP is one request a line.
pack = lines

ALERT_EVENT = "tacho.alert"
SEVERITY: dict[Severity, int] = {
    "informational": 9,
    "low": 10,
    "medium": 13,
    "high": 17,
    "critical": 21,
}
_HEALTH_SEVERITY = {"ok": 9, "degraded": 13, "silent": 17, "stalled": 17}

Value = str | int | float | bool | list[str] | None


def render(alert: Alert, *, update: bool = False) -> bytes:
    """One alert as one export request; a cut one has the attribute `tacho.truncated`."""
    attributes = {
        **_rule(alert),
        **_who(alert),
        **_state_of(alert, change_of(alert, update=update)),
        **_why(alert),
    }
    record = {
        **_times(alert.last_seen, alert.updated_at),
        "severityNumber": SEVERITY[alert.severity],
        "severityText": alert.severity.upper(),
        "eventName": ALERT_EVENT,
        "body": {"stringValue": alert.title},
        "attributes": attributes,
    }
    return fitting(record, MAX_BYTES, _mark, build=_request)


def render_health(health: Health) -> bytes:
    """One health record as one export request."""
    number = _HEALTH_SEVERITY[health.status]
    attributes: dict[str, Value] = {
        "tacho.component": health.component,
        "tacho.status": health.status,
        "tacho.tenant": health.tenant,
        "tacho.lag": health.lag,
        "tacho.sources_seen": len(health.sources),
        "tacho.drops": _text(health.drops),
    }
    record = {
        **_times(health.at, health.at),
        "severityNumber": number,
        "severityText": "INFO" if number == 9 else "WARN",
        "eventName": HEALTH_EVENT,
        "body": {"stringValue": health.detail or f"{health.component}: {health.status}"},
        "attributes": attributes,
    }
    return fitting(record, MAX_BYTES, _mark, build=_request)


def _rule(alert: Alert) -> dict[str, Value]:
    rule = gravest(alert)
    if rule is None:
        return {}
    return {
        "security_rule.uuid": rule.rule_id,
        "security_rule.name": rule.title,
        "security_rule.version": rule.rule_version,
        "security_rule.category": alert.risk_category,
        "security_rule.ruleset.name": PRODUCT,
    }


def _who(alert: Alert) -> dict[str, Value]:
    return {
        "gen_ai.agent.id": alert.agent_id,
        "gen_ai.agent.name": alert.agent_name,
        "gen_ai.conversation.id": alert.session_id,
        "gen_ai.tool.name": observed(alert, "tool"),
        "user.id": alert.principal_id,
        "deployment.environment.name": alert.environment,
        "url.full": observed(alert, "url"),
        "server.address": observed(alert, "domain", "host", "ip"),
        "file.path": observed(alert, "file"),
    }


def _state_of(alert: Alert, change: str) -> dict[str, Value]:
    return {
        "tacho.alert.id": alert.alert_id,
        "tacho.alert.revision": alert.revision,
        "tacho.alert.change": change,
        "tacho.alert.status": alert.status,
        "tacho.alert.stage": alert.stage,
        "tacho.alert.severity": alert.severity,
        "tacho.alert.confidence": alert.confidence,
        "tacho.alert.risk_score": risk_points(alert),
        "tacho.alert.risk_categories": list(alert.risk_categories or [alert.risk_category]),
        "tacho.alert.synthetic": alert.synthetic or None,
        "tacho.alert.disposition": alert.disposition,
        "tacho.alert.assignee": alert.assignee,
        "tacho.alert.incident_id": alert.incident_id,
        "tacho.alert.owner_team": alert.owner_team,
        "tacho.tenant": alert.tenant,
    }


def _why(alert: Alert) -> dict[str, Value]:
    return {
        "tacho.alert.entity": alert.entity,
        "tacho.alert.rules": [rule.rule_id for rule in alert.rules],
        "tacho.alert.frameworks": list(alert.frameworks),
        "tacho.alert.reasons": [reason.text for reason in alert.reasons],
        "tacho.alert.matched": [f"{name}: {value}" for name, value in matched(alert).items()],
        "tacho.alert.observables": [f"{seen.type}:{seen.value}" for seen in alert.observables],
        "tacho.alert.event_ids": list(alert.event_ids),
        "tacho.alert.signal_count": alert.signal_count,
        "tacho.alert.blind_spots": list(alert.blind_spots),
        "tacho.alert.runbook": alert.runbook,
        "tacho.alert.witness": _text(msgspec.to_builtins(alert.witness)),
        "tacho.alert.state": _text(msgspec.to_builtins(alert.state)) if alert.state else None,
    }


def _text(value: Any) -> str:
    """JSON as text: keys that an agent chose become no attributes."""
    return encoded(bounded(value)).decode()


def _times(at: datetime, observed_at: datetime) -> dict[str, str]:
    return {
        "timeUnixNano": f"{to_us(at)}000",
        "observedTimeUnixNano": f"{to_us(observed_at)}000",
    }


def _request(record: dict[str, Any]) -> bytes:
    resource: dict[str, Value] = {"service.name": PRODUCT, "service.version": product_version()}
    log_record = {**record, "attributes": _attributes(record["attributes"])}
    scope = {"name": ALERT_EVENT, "version": product_version()}
    logs = {
        "resource": {"attributes": _attributes(resource)},
        "scopeLogs": [{"scope": scope, "logRecords": [log_record]}],
    }
    return encoded({"resourceLogs": [logs]})


def _attributes(values: dict[str, Value]) -> list[dict[str, Any]]:
    kept = {name: value for name, value in values.items() if value not in (None, "", [])}
    return [{"key": name, "value": _any(value)} for name, value in kept.items()]


def _any(value: Value) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any(item) for item in value]}}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _mark(record: dict[str, Any]) -> None:
    record["attributes"]["tacho.truncated"] = True
