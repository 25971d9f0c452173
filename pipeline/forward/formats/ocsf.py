"""OCSF 1.8.0: an alert is a Detection Finding (2004), our health an Application Lifecycle (6002).

`finding_info.uid` is the alert id and stays; `metadata.uid` is `alert id:revision` and is new with
every revision. What OCSF has no name for (captured state, blind spots …) is under `unmapped`.
"""

from typing import Any

import msgspec

from tachograph.pipeline.forward.formats._bounded import fitting
from tachograph.pipeline.forward.formats._values import (
    HEALTH_EVENT,
    PRODUCT,
    VENDOR,
    attack_of,
    change_of,
    epoch_ms,
    gravest,
    lines,
    product_version,
    reasons_text,
    risk_points,
)
from tachograph.schemas.alert import (
    Alert,
    Observable,
    ObservableType,
    RuleHit,
    Severity,
    SignalKind,
    Status,
)
from tachograph.schemas.records import Health

NAME = "ocsf"
CONTENT_TYPE = "application/json"
MAX_BYTES = 262_144
pack = lines
VERSION = "1.8.0"

SEVERITY: dict[Severity, tuple[int, str]] = {
    "informational": (1, "Informational"),
    "low": (2, "Low"),
    "medium": (3, "Medium"),
    "high": (4, "High"),
    "critical": (5, "Critical"),
}
RISK_LEVEL: dict[Severity, tuple[int, str]] = {
    "informational": (0, "Info"),
    "low": (1, "Low"),
    "medium": (2, "Medium"),
    "high": (3, "High"),
    "critical": (4, "Critical"),
}
ACTIVITY = {
    "created": (1, "Create"),
    "updated": (2, "Update"),
    "closed": (3, "Close"),
    "retracted": (3, "Close"),
}
STATUS: dict[Status, tuple[int, str]] = {
    "open": (1, "New"),
    "acknowledged": (2, "In Progress"),
    "closed": (4, "Resolved"),
    "retracted": (4, "Resolved"),
}
_ANALYTIC: dict[SignalKind, tuple[int, str]] = {
    "stateless": (1, "Rule"),
    "window": (1, "Rule"),
    "sequence": (1, "Rule"),
    "first_seen": (2, "Behavioral"),
    "anomaly": (4, "Learning (ML/DL)"),
    "provenance": (2, "Behavioral"),
}
_OBSERVABLE: dict[ObservableType, tuple[int, str]] = {
    "user": (4, "User Name"),
    "host": (1, "Hostname"),
    "ip": (2, "IP Address"),
    "domain": (1, "Hostname"),
    "url": (6, "URL String"),
    "hash": (8, "Hash"),
    "package": (99, "Package"),
    "file": (45, "File Path"),
    "agent": (10, "Resource UID"),
    "tool": (38, "Resource Details Object: name"),
}
_HEALTH: dict[str, tuple[int, str, Severity]] = {
    "ok": (1, "Success", "informational"),
    "degraded": (2, "Failure", "medium"),
    "silent": (2, "Failure", "high"),
    "stalled": (2, "Failure", "high"),
}
# Fields of an alert that have a place of their own in OCSF; every other one goes under `unmapped`.
_MAPPED = frozenset(
    {"alert_id", "title", "severity", "confidence", "rules", "frameworks", "event_ids", "runbook"}
    | {"first_seen", "last_seen", "created_at", "updated_at", "observables", "signal_count"}
    | {"witness"}
)


def render(alert: Alert, *, update: bool = False) -> bytes:
    """One alert as one JSON object, at most MAX_BYTES; a cut one says `metadata.is_truncated`."""
    change = change_of(alert, update=update)
    return _fitting(_finding(alert, change))


def render_health(health: Health) -> bytes:
    """One health record as one JSON object."""
    return _fitting(_heartbeat(health))


def _fitting(event: dict[str, Any]) -> bytes:
    return fitting(event, MAX_BYTES, _mark)


def _mark(event: dict[str, Any]) -> None:
    event["metadata"]["is_truncated"] = True


def _finding(alert: Alert, change: str) -> dict[str, Any]:
    confidence = _confidence(alert.confidence)
    return {
        **_class(2004, "Detection Finding", (2, "Findings"), ACTIVITY[change]),
        **_enum("severity", SEVERITY[alert.severity]),
        **_enum("status", STATUS[alert.status]),
        **_enum("confidence", confidence),
        **_enum("risk_level", RISK_LEVEL[alert.severity]),
        "status_code": alert.status,
        "confidence_score": alert.confidence,
        "risk_score": risk_points(alert),
        "time": epoch_ms(alert.updated_at),
        "start_time": epoch_ms(alert.first_seen),
        "end_time": epoch_ms(alert.last_seen),
        "timezone_offset": 0,
        "is_alert": True,
        "count": alert.signal_count,
        "message": alert.title,
        "metadata": _metadata(
            f"{alert.alert_id}:{alert.revision}",
            alert.tenant,
            log_name="tacho.alerts",
            correlation_uid=alert.session_id,
            sequence=alert.revision,
        ),
        "finding_info": _finding_info(alert),
        "evidences": _evidences(alert),
        **_listed("resources", _resources(alert)),
        **_listed("observables", [_observable(seen) for seen in alert.observables]),
        **({"remediation": {"desc": alert.runbook}} if alert.runbook else {}),
        "unmapped": _unmapped(alert),
    }


def _heartbeat(health: Health) -> dict[str, Any]:
    status_id, status, severity = _HEALTH[health.status]
    return {
        **_class(6002, "Application Lifecycle", (6, "Application Activity"), (99, "Heartbeat")),
        **_enum("severity", SEVERITY[severity]),
        **_enum("status", (status_id, status)),
        "status_code": health.status,
        "time": epoch_ms(health.at),
        "timezone_offset": 0,
        "message": health.detail or f"{health.component}: {health.status}",
        "app": {"name": health.component, "vendor_name": VENDOR, "version": product_version()},
        "metadata": _metadata(
            f"{health.component}:{epoch_ms(health.at)}",
            health.tenant,
            log_name=HEALTH_EVENT,
        ),
        "unmapped": msgspec.to_builtins(health),
    }


def _class(
    uid: int, name: str, category: tuple[int, str], activity: tuple[int, str]
) -> dict[str, Any]:
    """The fields that say what kind of event it is."""
    return {
        "class_uid": uid,
        "class_name": name,
        "category_uid": category[0],
        "category_name": category[1],
        "activity_id": activity[0],
        "activity_name": activity[1],
        "type_uid": uid * 100 + activity[0],
        "type_name": f"{name}: {'Other' if activity[0] == 99 else activity[1]}",
    }


def _enum(name: str, value: tuple[int, str]) -> dict[str, Any]:
    """An OCSF enum: its number and its caption."""
    return {f"{name}_id": value[0], name: value[1]}


def _listed(name: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {name: items} if items else {}


def _metadata(uid: str, tenant: str, **more: str | int | None) -> dict[str, Any]:
    product = {"name": PRODUCT, "vendor_name": VENDOR, "version": product_version()}
    given = {name: value for name, value in more.items() if value is not None}
    return {"version": VERSION, "product": product, "uid": uid, "tenant_uid": tenant, **given}


def _confidence(percent: int) -> tuple[int, str]:
    if percent >= 67:
        return 3, "High"
    return (2, "Medium") if percent >= 34 else (1, "Low")


def _finding_info(alert: Alert) -> dict[str, Any]:
    rule = gravest(alert)
    others = [_analytic(other) for other in alert.rules if other is not rule]
    attacks = [attack for tag in alert.frameworks if (attack := _attack(tag))]
    tags = [_tag(tag) for tag in alert.frameworks if not _attack(tag)]
    return {
        "uid": alert.alert_id,
        "title": alert.title,
        "desc": reasons_text(alert),
        "types": list(alert.risk_categories or [alert.risk_category]),
        "created_time": epoch_ms(alert.created_at),
        "modified_time": epoch_ms(alert.updated_at),
        "first_seen_time": epoch_ms(alert.first_seen),
        "last_seen_time": epoch_ms(alert.last_seen),
        **({"analytic": _analytic(rule)} if rule else {}),
        **_listed("related_analytics", others),
        **_listed("attacks", attacks),
        **_listed("tags", tags),
        **_listed("related_events", _related(alert)),
    }


def _related(alert: Alert) -> list[dict[str, Any]]:
    """Its incident, which is no event of OCSF but a finding beside it, then its events."""
    incident = [{"uid": alert.incident_id, "type": "Incident"}] if alert.incident_id else []
    return [*incident, *({"uid": event_id} for event_id in alert.event_ids)]


def _analytic(rule: RuleHit) -> dict[str, Any]:
    type_id, caption = _ANALYTIC[rule.kind]
    return {
        "uid": rule.rule_id,
        "name": rule.title,
        "version": rule.rule_version,
        "type_id": type_id,
        "type": caption,
    }


def _attack(tag: str) -> dict[str, Any] | None:
    """ATLAS and ATT&CK ids as tactic, technique or sub-technique; None for other frameworks."""
    found = attack_of(tag)
    if found is None:
        return None
    return {level: {"uid": uid} for level, uid in found._asdict().items() if uid}


def _tag(tag: str) -> dict[str, Any]:
    family, _, rest = tag.partition(".")
    return {"name": family or "tag", "value": rest or tag}


def _evidences(alert: Alert) -> list[dict[str, Any]]:
    """First who acted and what was seen, then the judged events with their redacted facts."""
    seen: dict[str, list[str]] = {}
    for observable in alert.observables:
        seen.setdefault(observable.type, []).append(observable.value)
    first: dict[str, Any] = {"name": alert.entity, "uid": alert.alert_id, "data": seen}
    if actor := _actor(alert):
        first["actor"] = actor
    events = [
        {
            "name": facts.get("tool_name") or facts.get("action_kind") or "event",
            "uid": facts.get("event_id", ""),
            "data": facts,
        }
        for facts in alert.witness.events
    ]
    return [{**item, **_enum("verdict", (4, "Suspicious"))} for item in (first, *events)]


def _actor(alert: Alert) -> dict[str, Any]:
    actor: dict[str, Any] = {}
    if alert.principal_id:
        actor["user"] = {"uid": alert.principal_id, "name": alert.principal_id}
    if alert.agent_id:
        actor["app_uid"] = alert.agent_id
    if alert.agent_name:
        actor["app_name"] = alert.agent_name
    return actor


def _resources(alert: Alert) -> list[dict[str, Any]]:
    name = alert.agent_name or alert.agent_id
    if not name:
        return []
    return [{"uid": alert.agent_id or name, "name": name, "type": "AI Agent"}]


def _observable(seen: Observable) -> dict[str, Any]:
    type_id, caption = _OBSERVABLE[seen.type]
    return {
        "name": f"evidences[0].data.{seen.type}",
        "type_id": type_id,
        "type": caption,
        "value": seen.value,
    }


def _unmapped(alert: Alert) -> dict[str, Any]:
    rest = msgspec.to_builtins(alert)
    kept = {name: value for name, value in rest.items() if name not in _MAPPED}
    if alert.witness.window:
        kept["window"] = alert.witness.window
    return kept
