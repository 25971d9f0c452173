"""Microsoft Sentinel: a row of the table TachoAlerts_CL, for the Logs Ingestion API.

Columns are those of the stream that infra/siem declares; Azure drops any other without a word. A
body is a JSON array of rows.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from tachograph.pipeline.forward.formats._bounded import Limits, fitting
from tachograph.pipeline.forward.formats._values import (
    HEALTH_EVENT,
    PRODUCT,
    VENDOR,
    Keyed,
    change_of,
    gravest,
    iso_ms,
    matched,
    observed,
    product_version,
    reasons_text,
    risk_points,
)
from tachograph.schemas.alert import Alert, Severity
from tachograph.schemas.records import Health

NAME = "sentinel"
CONTENT_TYPE = "application/json"
# Azure cuts a field at 64 KB; a row is shorter than that.
MAX_BYTES = 60_000
_LIMITS = Limits(text_bytes=8_192, items=100)

SEVERITY: dict[Severity, str] = {
    "informational": "Informational",
    "low": "Low",
    "medium": "Medium",
    "high": "High",
    # Sentinel has no Critical; RiskScore and Severity of the rules tell them apart.
    "critical": "High",
}
_HEALTH_SEVERITY = {
    "ok": "Informational",
    "degraded": "Medium",
    "silent": "High",
    "stalled": "High",
}


def render(alert: Alert, *, update: bool = False) -> bytes:
    """One alert as one row; a cut one says `Truncated`."""
    row = {
        "TimeGenerated": iso_ms(alert.updated_at),
        "EventType": "Alert",
        **_identity(alert, change_of(alert, update=update)),
        **_rule(alert),
        **_who(alert),
        **_what(alert),
        **_more(alert),
    }
    return fitting(_filled(row), MAX_BYTES, _mark, _LIMITS)


def render_health(health: Health) -> bytes:
    """One health record as one row; `EventType` tells it from an alert."""
    row = {
        "TimeGenerated": iso_ms(health.at),
        "EventType": HEALTH_EVENT,
        "Tenant": health.tenant,
        "Severity": _HEALTH_SEVERITY[health.status],
        "Status": health.status,
        "Entity": health.component,
        "Title": health.detail or f"{health.component}: {health.status}",
        "Evidence": msgspec.to_builtins(health),
        **_product(),
    }
    return fitting(_filled(row), MAX_BYTES, _mark, _LIMITS)


def pack(records: Sequence[Keyed]) -> bytes:
    """Rows as the array that a request carries, on one line."""
    return b"[%b]" % b",".join(body for _, body in records)


def _identity(alert: Alert, change: str) -> dict[str, Any]:
    return {
        "AlertId": alert.alert_id,
        "Revision": alert.revision,
        "Change": change,
        "Status": alert.status,
        "Stage": alert.stage,
        "Title": alert.title,
        "Severity": SEVERITY[alert.severity],
        "OriginalSeverity": alert.severity,
        "Confidence": alert.confidence,
        "RiskScore": risk_points(alert),
        "RiskCategory": alert.risk_category,
        "StartTime": iso_ms(alert.first_seen),
        "EndTime": iso_ms(alert.last_seen),
        "CreatedTime": iso_ms(alert.created_at),
        "Synthetic": alert.synthetic,
    }


def _rule(alert: Alert) -> dict[str, Any]:
    rule = gravest(alert)
    named = {} if rule is None else {"RuleId": rule.rule_id, "RuleName": rule.title}
    return {
        **named,
        "Rules": [msgspec.to_builtins(hit) for hit in alert.rules],
        "Frameworks": list(alert.frameworks),
    }


def _who(alert: Alert) -> dict[str, Any]:
    return {
        "Tenant": alert.tenant,
        "Environment": alert.environment,
        "Entity": alert.entity,
        "EntityType": alert.entity_type,
        "AgentId": alert.agent_id,
        "AgentName": alert.agent_name,
        "UserName": alert.principal_id,
        "ConversationId": alert.session_id,
        "OwnerTeam": alert.owner_team,
    }


def _what(alert: Alert) -> dict[str, Any]:
    return {
        "ToolName": observed(alert, "tool"),
        "Url": observed(alert, "url"),
        "DestinationHost": observed(alert, "domain", "host"),
        "DestinationIp": observed(alert, "ip"),
        "FilePath": observed(alert, "file"),
        "Description": reasons_text(alert),
        "Matched": [{"name": name, "value": value} for name, value in matched(alert).items()],
        "Observables": [{"type": seen.type, "value": seen.value} for seen in alert.observables],
        "EventIds": list(alert.event_ids),
        "SignalCount": alert.signal_count,
    }


def _more(alert: Alert) -> dict[str, Any]:
    return {
        "Disposition": alert.disposition,
        "Assignee": alert.assignee,
        "IncidentId": alert.incident_id,
        "Runbook": alert.runbook,
        "BlindSpots": list(alert.blind_spots),
        "Evidence": {"data": msgspec.to_builtins(alert.witness)},
        "State": msgspec.to_builtins(alert.state) if alert.state else None,
        **_product(),
    }


def _product() -> dict[str, str]:
    return {"Vendor": VENDOR, "Product": PRODUCT, "ProductVersion": product_version()}


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value not in (None, "", [])}


def _mark(row: dict[str, Any]) -> None:
    row["Truncated"] = True
