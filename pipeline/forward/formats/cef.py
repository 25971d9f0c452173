"""CEF:0, the Common Event Format: one line of `key=value` that most SIEMs read.

Written for sloppy readers: `|` in the header becomes `/` instead of an escape that some do not
undo, control characters become signs (␀), and every value is held under its key's limit. Line
breaks in values are `\\n`.
"""

from collections.abc import Iterator

from tachograph.pipeline.forward.formats._pairs import OMITTED, Pair, line
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
from tachograph.schemas.alert import Alert, Severity
from tachograph.schemas.records import Health

NAME = "cef"
CONTENT_TYPE = "text/plain; charset=utf-8"
# With a syslog header before it a record stays under 8 KiB, where rsyslog cuts by default.
MAX_BYTES = 7_168
pack = lines

SEVERITY: dict[Severity, int] = {
    "informational": 1,
    "low": 3,
    "medium": 5,
    "high": 8,
    "critical": 10,
}
_HEALTH_SEVERITY = {"ok": 1, "degraded": 5, "silent": 8, "stalled": 8}

_NAME_BYTES = 256
_SIGNATURE_BYTES = 128
# Names and ids are short, so that a hostile one cannot push the others out of the record.
_DEFAULT_LIMIT = 256
_LIMITS = {
    **dict.fromkeys(("msg", "request"), 1023),
    **dict.fromkeys(("fname", "cs4", "cs5", "tachoRunbook", "tachoBlindSpots"), 512),
    **dict.fromkeys(("tachoEvidence", "tachoObservables", "tachoSources", "tachoDrops"), 1000),
    "tachoMatched": 1000,
    OMITTED: 140,
}
_MOST_LISTED = 20

Pairs = Iterator[Pair]


def render(alert: Alert, *, update: bool = False, max_bytes: int = MAX_BYTES) -> bytes:
    """One alert as one CEF line, at most `max_bytes` of UTF-8, no line break in it."""
    rule = gravest(alert)
    head = _header(rule.rule_id if rule else "none", alert.title, SEVERITY[alert.severity])
    return line(head, _alert_pairs(alert, update=update), " ", max_bytes, _value)


def render_health(health: Health, *, max_bytes: int = MAX_BYTES) -> bytes:
    """One health record as one CEF line."""
    head = _header(HEALTH_EVENT, "Pipeline health", _HEALTH_SEVERITY[health.status])
    return line(head, _health_pairs(health), " ", max_bytes, _value)


def _alert_pairs(alert: Alert, *, update: bool) -> Pairs:
    """Keys and values, the most needed first: what comes last is left out first."""
    yield "rt", epoch_ms(alert.updated_at)
    yield "start", epoch_ms(alert.first_seen)
    yield "end", epoch_ms(alert.last_seen)
    yield "externalId", alert.alert_id
    yield from _labelled("cn2", "revision", alert.revision)
    yield "act", change_of(alert, update=update)
    yield "cat", alert.risk_category
    yield from _labelled("cn1", "risk", risk_points(alert))
    yield from _labelled("cn3", "signalCount", alert.signal_count)
    yield "tachoStatus", alert.status
    yield from _labelled("cs6", "tenant", alert.tenant)
    yield "tachoSynthetic", "true" if alert.synthetic else None
    yield from _who(alert)
    yield from _labelled("cs4", "frameworks", joined(alert.frameworks, _MOST_LISTED))
    rule_ids = [rule.rule_id for rule in alert.rules]
    yield from _labelled("cs5", "rules", joined(rule_ids, _MOST_LISTED))
    yield from _what(alert)
    yield "msg", reasons_text(alert)
    yield "tachoMatched", matched_text(alert)
    yield from _context(alert)


def _who(alert: Alert) -> Pairs:
    yield "suser", alert.principal_id
    yield from _labelled("cs2", "agentName", alert.agent_name)
    yield from _labelled("flexString1", "agentId", alert.agent_id)
    yield from _labelled("cs1", "session", alert.session_id)
    yield "tachoEntity", alert.entity
    yield "tachoEnvironment", alert.environment


def _what(alert: Alert) -> Pairs:
    yield from _labelled("cs3", "tool", observed(alert, "tool"))
    address = observed(alert, "ip") or ""
    if ip_version(address) == 4:
        yield "dst", address
    elif ip_version(address) == 6:
        yield from _labelled("c6a3", "Destination IPv6 Address", address)
    yield "dhost", observed(alert, "host", "domain")
    yield "request", observed(alert, "url")
    yield "fname", observed(alert, "file")
    yield "fileHash", observed(alert, "hash")


def _context(alert: Alert) -> Pairs:
    yield from _labelled("flexString2", "ownerTeam", alert.owner_team)
    yield "tachoStage", alert.stage
    yield "tachoDisposition", alert.disposition
    yield "tachoAssignee", alert.assignee
    yield "tachoIncident", alert.incident_id
    yield "tachoBlindSpots", joined(alert.blind_spots, _MOST_LISTED, "; ")
    yield "tachoRunbook", alert.runbook
    yield "tachoEvidence", joined(alert.event_ids, _MOST_LISTED)
    pairs = [f"{seen.type}:{seen.value}" for seen in alert.observables]
    yield "tachoObservables", joined(pairs, _MOST_LISTED, " ")


def _health_pairs(health: Health) -> Pairs:
    yield "rt", epoch_ms(health.at)
    yield "externalId", f"{epoch_ms(health.at)}"
    yield "cat", "health"
    yield "act", health.status
    yield from _labelled("cs1", "component", health.component)
    yield from _labelled("cs6", "tenant", health.tenant)
    yield from _labelled("cn1", "lag", health.lag)
    if health.watermark is not None:
        yield from _labelled("deviceCustomDate1", "watermark", epoch_ms(health.watermark))
    yield from _labelled("cn2", "sourcesSeen", len(health.sources))
    yield "tachoSources", _counts(health.sources)
    yield "tachoDrops", _counts(health.drops)
    yield "msg", health.detail


def _labelled(key: str, label: str, value: str | int | None) -> Pairs:
    """A numbered field of CEF and the label that says what is in it; nothing without a value."""
    if value not in {None, ""}:
        yield f"{key}Label", label
        yield key, value


def _counts(counts: dict[str, int]) -> str:
    return joined((f"{name}:{count}" for name, count in counts.items()), _MOST_LISTED, " ")


def _header(signature: str, name: str, severity: int) -> str:
    fields = [
        VENDOR,
        PRODUCT,
        product_version(),
        _header_value(signature, _SIGNATURE_BYTES),
        _header_value(name, _NAME_BYTES),
        str(severity),
    ]
    return f"CEF:0|{'|'.join(fields)}|"


def _header_value(text: str, limit_bytes: int) -> str:
    harmless = cut(text, limit_bytes, lambda part: visible(part).replace("|", "/"))
    return harmless.replace("\\", "\\\\")


def _value(key: str, text: str) -> str:
    limit_bytes = _LIMITS.get(key, _DEFAULT_LIMIT)
    bounded = cut(text, limit_bytes, lambda part: visible(part, keep="\n\r\t"))
    return (
        bounded.replace("\\", "\\\\").replace("=", "\\=").replace("\n", "\\n").replace("\r", "\\r")
    )
