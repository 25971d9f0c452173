"""LEEF:2.0, the Log Event Extended Format of QRadar: `key=value` between tabs.

LEEF has no escapes. What would end a value or a record (tab, line break, NUL …) is shown as a sign
(␉ ␊ ␀), and `|` in the header as `/`; `=` in a value needs nothing, for a key ends at the first.
"""

from tachograph.pipeline.forward.formats._pairs import OMITTED, line
from tachograph.pipeline.forward.formats._values import (
    HEALTH_EVENT,
    PRODUCT,
    VENDOR,
    change_of,
    cut,
    epoch_ms,
    gravest,
    ip_version,
    joined,
    lines,
    matched_text,
    observed,
    product_version,
    reasons_text,
    risk_points,
    visible,
)
from tachograph.pipeline.forward.formats.cef import SEVERITY, Pairs
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import Health

NAME = "leef"
CONTENT_TYPE = "text/plain; charset=utf-8"
# With a syslog header before it a record stays under 8 KiB, as CEF does.
MAX_BYTES = 7_168
pack = lines

_HEALTH_SEVERITY = {"ok": 1, "degraded": 5, "silent": 8, "stalled": 8}
_DELIMITER = "\t"
_HEADER_BYTES = 128
_DEFAULT_LIMIT = 256
_LIMITS = {
    **dict.fromkeys(("msg", "matched", "url", "tachoEvidence", "tachoObservables"), 1_000),
    **dict.fromkeys(("title", "resource", "frameworks", "rules", "runbook", "blindSpots"), 512),
    OMITTED: 140,
}
_MOST_LISTED = 20


def render(alert: Alert, *, update: bool = False, max_bytes: int = MAX_BYTES) -> bytes:
    """One alert as one LEEF line, at most `max_bytes` of UTF-8, no line break in it."""
    rule = gravest(alert)
    head = _header(rule.rule_id if rule else "none")
    return line(head, _alert_pairs(alert, update=update), _DELIMITER, max_bytes, _value)


def render_health(health: Health, *, max_bytes: int = MAX_BYTES) -> bytes:
    """One health record as one LEEF line."""
    return line(_header(HEALTH_EVENT), _health_pairs(health), _DELIMITER, max_bytes, _value)


def _alert_pairs(alert: Alert, *, update: bool) -> Pairs:
    """Keys and values, the most needed first: what comes last is left out first."""
    # QRadar reads a plain number as milliseconds since the epoch; no devTimeFormat is needed.
    yield "devTime", epoch_ms(alert.updated_at)
    yield "cat", alert.risk_category
    yield "sev", SEVERITY[alert.severity]
    yield "alertId", alert.alert_id
    yield "revision", alert.revision
    yield "act", change_of(alert, update=update)
    yield "status", alert.status
    yield "severity", alert.severity
    yield "riskScore", risk_points(alert)
    yield "title", alert.title
    yield "tenant", alert.tenant
    yield "synthetic", "true" if alert.synthetic else None
    yield from _who(alert)
    yield from _what(alert)
    yield "rules", joined((rule.rule_id for rule in alert.rules), _MOST_LISTED)
    yield "frameworks", joined(alert.frameworks, _MOST_LISTED)
    yield "signalCount", alert.signal_count
    yield "firstSeen", epoch_ms(alert.first_seen)
    yield "lastSeen", epoch_ms(alert.last_seen)
    yield "msg", reasons_text(alert)
    yield "matched", matched_text(alert)
    yield "ownerTeam", alert.owner_team
    yield "disposition", alert.disposition
    yield "assignee", alert.assignee
    yield "incidentId", alert.incident_id
    yield "blindSpots", joined(alert.blind_spots, _MOST_LISTED, "; ")
    yield "runbook", alert.runbook
    yield "tachoEvidence", joined(alert.event_ids, _MOST_LISTED)
    pairs = [f"{seen.type}:{seen.value}" for seen in alert.observables]
    yield "tachoObservables", joined(pairs, _MOST_LISTED, " ")


def _who(alert: Alert) -> Pairs:
    yield "usrName", alert.principal_id
    yield "agentName", alert.agent_name
    yield "agentId", alert.agent_id
    yield "conversationId", alert.session_id
    yield "entity", alert.entity
    yield "environment", alert.environment


def _what(alert: Alert) -> Pairs:
    yield "toolName", observed(alert, "tool")
    address = observed(alert, "ip") or ""
    yield "dst", address if ip_version(address) else None
    yield "dstHost", observed(alert, "host", "domain")
    yield "url", observed(alert, "url")
    yield "resource", observed(alert, "file")
    yield "fileHash", observed(alert, "hash")


def _health_pairs(health: Health) -> Pairs:
    yield "devTime", epoch_ms(health.at)
    yield "cat", "health"
    yield "sev", _HEALTH_SEVERITY[health.status]
    yield "status", health.status
    yield "component", health.component
    yield "tenant", health.tenant
    yield "lag", health.lag
    yield "watermark", epoch_ms(health.watermark) if health.watermark else None
    yield "sourcesSeen", len(health.sources)
    yield "drops", joined((f"{n}:{count}" for n, count in health.drops.items()), _MOST_LISTED, " ")
    yield "msg", health.detail


def _header(event_id: str) -> str:
    shown = cut(event_id, _HEADER_BYTES, lambda part: visible(part).replace("|", "/"))
    # The delimiter is named by its number, as the format allows: x09 is the tab.
    return f"LEEF:2.0|{VENDOR}|{PRODUCT}|{product_version()}|{shown}|x09|"


def _value(key: str, text: str) -> str:
    return cut(text, _LIMITS.get(key, _DEFAULT_LIMIT), visible)
