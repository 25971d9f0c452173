"""JSON of the operator's own shape, for receivers that no other format fits (Teams, PagerDuty …).

A template is JSON in which texts name fields: `${title}`. Values go into texts that are parsed
already, so none can end one, and a text that is nothing but a name keeps the field's own type.
"""

import re
from collections.abc import Mapping
from typing import Any

from tachograph.pipeline.forward.formats._bounded import Limits, bounded, encoded, fitting
from tachograph.pipeline.forward.formats._values import (
    HEALTH_EVENT,
    change_of,
    epoch_ms,
    gravest,
    health_key,
    health_record,
    lines,
    matched_text,
    observed,
    reasons_text,
    record_of,
    risk_points,
)
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import Health

NAME = "template"
CONTENT_TYPE = "application/json"
MAX_BYTES = 65_536
pack = lines

MAX_DEPTH = 16
# A template's own nesting, and that of a field below it.
_LIMITS = Limits(text_bytes=8_192, items=256, depth=MAX_DEPTH + 8)
# What is rendered without a template: enough to see the names.
DEFAULT: dict[str, Any] = {"id": "${key}", "change": "${change}", "text": "[${severity}] ${title}"}
_NAME = re.compile(r"\$\{([a-z_]+)\}")


def render(alert: Alert, *, update: bool = False, template: Any = DEFAULT) -> bytes:
    """One alert in the template's shape; values that were cut end in `…[+1200]`."""
    change = change_of(alert, update=update)
    return _rendered(template, {**record_of(alert, change), **_made(alert)})


def render_health(health: Health, *, template: Any = DEFAULT) -> bytes:
    """One health record in the same shape: its own words stand under the names of an alert."""
    severity = "informational" if health.status == "ok" else "high"
    words = {
        "key": health_key(health),
        "alert_id": f"{HEALTH_EVENT}:{health.component}",
        "change": health.status,
        "severity": severity,
        "title": health.detail or f"{health.component}: {health.status}",
        "rule_id": HEALTH_EVENT,
        "entity": health.component,
        "updated_ms": epoch_ms(health.at),
    }
    return _rendered(template, {**health_record(health), **words})


def names() -> frozenset[str]:
    """What a template may name."""
    made = {"key", "rule_id", "rule_title", "description", "matched", "risk_points", "tool"}
    return frozenset({*Alert.__struct_fields__, "change", "url", "updated_ms", *made})


def problems(template: Any) -> list[str]:
    """What is wrong with a template: names that are none, or a nesting too deep."""
    found: set[str] = set()
    try:
        _collect(template, found, 0)
    except RecursionError:
        return [f"nested deeper than {MAX_DEPTH}"]
    return [f"${{{name}}} is no field" for name in sorted(found - names())]


def _made(alert: Alert) -> dict[str, Any]:
    """Fields that people want and an alert has only in parts."""
    rule = gravest(alert)
    return {
        "key": f"{alert.alert_id}:{alert.revision}",
        "rule_id": rule.rule_id if rule else "",
        "rule_title": rule.title if rule else "",
        "description": reasons_text(alert),
        "matched": matched_text(alert),
        "risk_points": risk_points(alert),
        "tool": observed(alert, "tool") or "",
        "url": observed(alert, "url") or "",
        "updated_ms": epoch_ms(alert.updated_at),
    }


def _rendered(template: Any, fields: Mapping[str, Any]) -> bytes:
    # In a dict, so that any JSON can be a template; what was cut shows at its end.
    event = {"record": _filled(template, fields)}
    return fitting(event, MAX_BYTES, lambda _event: None, _LIMITS, build=_inner)


def _inner(event: dict[str, Any]) -> bytes:
    return encoded(event["record"])


def _filled(part: Any, fields: Mapping[str, Any]) -> Any:
    if isinstance(part, dict):
        return {name: _filled(value, fields) for name, value in part.items()}
    if isinstance(part, list):
        return [_filled(item, fields) for item in part]
    if not isinstance(part, str):
        return part
    whole = _NAME.fullmatch(part)
    if whole is not None:
        return fields.get(whole[1], "")
    return _NAME.sub(lambda name: _text(fields.get(name[1], "")), part)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else encoded(bounded(value)).decode()


def _collect(part: Any, found: set[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RecursionError
    if isinstance(part, dict):
        for value in part.values():
            _collect(value, found, depth + 1)
    elif isinstance(part, list):
        for item in part:
            _collect(item, found, depth + 1)
    elif isinstance(part, str):
        found.update(_NAME.findall(part))
