"""ECS 9.4 (Elastic Common Schema) as `_bulk` of Elasticsearch and OpenSearch takes it.

A record is the document, one line; `bulk` puts the action line before each. What ECS has no field
for is under `tacho`. Nothing that an agent names becomes the name of a field (its keys would fill
up an index): pairs are lists of name and value, captured state and witness are JSON text.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from tachograph.pipeline.forward.formats._bounded import bounded, encoded, fitting
from tachograph.pipeline.forward.formats._values import (
    HEALTH_EVENT,
    PRODUCT,
    VENDOR,
    Keyed,
    attack_of,
    change_of,
    cut,
    gravest,
    health_key,
    ip_version,
    iso_ms,
    observed,
    product_version,
    reasons_text,
    risk_points,
)
from tachograph.schemas.alert import Alert, ObservableType, Reason, RuleHit, Severity
from tachograph.schemas.records import Health

NAME = "ecs"
CONTENT_TYPE = "application/x-ndjson"
MAX_BYTES = 262_144
VERSION = "9.4.0"
DATASET = "tacho.alert"
DATA_STREAM = f"logs-{DATASET}-default"

# Elastic's own scale for severities of rules.
SEVERITY: dict[Severity, int] = {
    "informational": 1,
    "low": 21,
    "medium": 47,
    "high": 73,
    "critical": 99,
}
_HEALTH_SEVERITY = {"ok": 1, "degraded": 47, "silent": 73, "stalled": 73}
# Elasticsearch takes no longer id; ours are far shorter.
_ID_BYTES = 512
_FRAMEWORKS = {"atlas": "MITRE ATLAS", "attack": "MITRE ATT&CK"}


def render(alert: Alert, *, update: bool = False) -> bytes:
    """One alert as one ECS document; a cut one says `tacho.truncated`."""
    change = change_of(alert, update=update)
    document = {
        "@timestamp": iso_ms(alert.updated_at),
        "ecs": {"version": VERSION},
        "message": alert.title,
        "event": _event(alert, change),
        **_rule(alert),
        **_threat(alert),
        "observer": _observer(),
        **_entities(alert),
        "labels": _given(
            tenant=alert.tenant,
            environment=alert.environment,
            conversation_id=alert.session_id,
            owner_team=alert.owner_team,
        ),
        **({"tags": ["synthetic"]} if alert.synthetic else {}),
        "tacho": {"alert": _own(alert, change), **_captured(alert)},
    }
    return fitting(document, MAX_BYTES, _mark)


def render_health(health: Health) -> bytes:
    """One health record as one ECS document of kind `metric`."""
    kept = msgspec.to_builtins(health)
    for name in ("sources", "drops"):
        kept[name] = _pairs(kept.get(name, {}))
    document = {
        "@timestamp": iso_ms(health.at),
        "ecs": {"version": VERSION},
        "message": health.detail or f"{health.component}: {health.status}",
        "event": {
            "kind": "metric",
            "id": health_key(health),
            "module": PRODUCT,
            "dataset": HEALTH_EVENT,
            "provider": PRODUCT,
            "severity": _HEALTH_SEVERITY[health.status],
        },
        "observer": _observer(),
        "labels": {"tenant": health.tenant},
        "tacho": {"health": kept},
    }
    return fitting(document, MAX_BYTES, _mark)


def pack(records: Sequence[Keyed]) -> bytes:
    """Records as `_bulk` creates them in the data stream we ship a template for."""
    return bulk(records, DATA_STREAM)


def bulk(records: Sequence[Keyed], index: str, *, replace: bool = False) -> bytes:
    """The body of one `_bulk` request: an action line before each document.

    Without `replace`, each revision is a document of its own, which an id creates once. With it, an
    alert is one document, and only a newer revision takes the place of an older one.
    """
    action = _replacing if replace else _creating
    return b"".join(b"%b\n%b\n" % (encoded(action(key, index)), body) for key, body in records)


def _creating(key: str, index: str) -> dict[str, Any]:
    return {"create": {"_index": index, "_id": cut(key, _ID_BYTES)}}


def _replacing(key: str, index: str) -> dict[str, Any]:
    alert_id, _, revision = key.rpartition(":")
    place = {"_index": index, "_id": cut(alert_id, _ID_BYTES), "version": int(revision)}
    return {"index": {**place, "version_type": "external"}}


def _event(alert: Alert, change: str) -> dict[str, Any]:
    rule = gravest(alert)
    return {
        "kind": "alert",
        "id": alert.alert_id,
        "sequence": alert.revision,
        **({"code": rule.rule_id} if rule else {}),
        "category": ["intrusion_detection"],
        "type": ["info"],
        "action": change,
        "outcome": "unknown",
        "module": PRODUCT,
        "dataset": DATASET,
        "provider": PRODUCT,
        "severity": SEVERITY[alert.severity],
        "risk_score": float(risk_points(alert)),
        "reason": reasons_text(alert),
        "start": iso_ms(alert.first_seen),
        "end": iso_ms(alert.last_seen),
        "created": iso_ms(alert.created_at),
    }


def _rule(alert: Alert) -> dict[str, Any]:
    rule = gravest(alert)
    if rule is None:
        return {}
    return {
        "rule": {
            "id": rule.rule_id,
            "name": rule.title,
            "version": rule.rule_version,
            "category": alert.risk_category,
        }
    }


def _threat(alert: Alert) -> dict[str, Any]:
    found = [(tag.partition(".")[0], ids) for tag in alert.frameworks if (ids := attack_of(tag))]
    if not found:
        return {}
    tactics = _unique(ids.tactic for _, ids in found)
    techniques = _unique(ids.technique for _, ids in found)
    subs = _unique(ids.sub_technique for _, ids in found)
    technique: dict[str, Any] = {"id": techniques} if techniques else {}
    if subs:
        technique["subtechnique"] = {"id": subs}
    return {
        "threat": {
            "framework": _unique(_FRAMEWORKS[family] for family, _ in found),
            **({"tactic": {"id": tactics}} if tactics else {}),
            **({"technique": technique} if technique else {}),
        }
    }


def _observer() -> dict[str, str]:
    return {"vendor": VENDOR, "product": PRODUCT, "version": product_version(), "type": "detector"}


def _entities(alert: Alert) -> dict[str, Any]:
    """Who and what was seen, where ECS users look for it."""
    address = observed(alert, "ip") or ""
    agent = _given(id=alert.agent_id, name=alert.agent_name)
    tool = _given(name=observed(alert, "tool"))
    destination = _given(
        domain=observed(alert, "domain", "host"), ip=address if ip_version(address) else None
    )
    related = {
        "user": _unique([alert.principal_id or "", *_all(alert, "user")]),
        "hosts": _unique(_all(alert, "host", "domain")),
        "ip": [value for value in _unique(_all(alert, "ip")) if ip_version(value)],
        "hash": _unique(_all(alert, "hash")),
    }
    groups: dict[str, dict[str, Any]] = {
        "gen_ai": {name: part for name, part in (("agent", agent), ("tool", tool)) if part},
        "user": _given(name=alert.principal_id),
        "destination": destination,
        "url": _given(full=observed(alert, "url")),
        "file": _given(path=observed(alert, "file")),
        "package": _given(name=observed(alert, "package")),
        "related": {name: values for name, values in related.items() if values},
    }
    return {name: part for name, part in groups.items() if part}


def _own(alert: Alert, change: str) -> dict[str, Any]:
    return {
        "id": alert.alert_id,
        "revision": alert.revision,
        "change": change,
        "risk_categories": list(alert.risk_categories or [alert.risk_category]),
        "signal_count": alert.signal_count,
        "rules": [_hit(rule) for rule in alert.rules],
        "reasons": [_reason(reason) for reason in alert.reasons],
        "observables": [{"type": o.type, "value": o.value} for o in alert.observables],
        **_given(
            status=alert.status,
            stage=alert.stage,
            severity=alert.severity,
            risk_category=alert.risk_category,
            entity=alert.entity,
            entity_type=alert.entity_type,
            disposition=alert.disposition,
            assignee=alert.assignee,
            incident_id=alert.incident_id,
            runbook=alert.runbook,
        ),
        "confidence": alert.confidence,
        "frameworks": list(alert.frameworks),
        "blind_spots": list(alert.blind_spots),
        "session_ids": list(alert.session_ids),
        "event_ids": list(alert.event_ids),
        "signal_ids": list(alert.signal_ids),
    }


def _hit(rule: RuleHit) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(rule)
    return {name: value for name, value in fields.items() if value is not None}


def _reason(reason: Reason) -> dict[str, Any]:
    return {"text": reason.text, "fields": _pairs(reason.fields)}


def _captured(alert: Alert) -> dict[str, str]:
    parts = {"witness": alert.witness, "state": alert.state}
    kept = {name: msgspec.to_builtins(part) for name, part in parts.items() if part is not None}
    return {name: encoded(bounded(part)).decode() for name, part in kept.items()}


def _pairs(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"name": name, "value": str(value)} for name, value in values.items()]


def _all(alert: Alert, *types: ObservableType) -> list[str]:
    return [seen.value for seen in alert.observables if seen.type in types]


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def _given(**values: str | None) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _mark(document: dict[str, Any]) -> None:
    document["tacho"]["truncated"] = True
