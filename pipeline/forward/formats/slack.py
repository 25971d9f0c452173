"""A Slack message for an incoming webhook: a header, what matters in fields, the reasons.

Every value stands in plain text, where Slack reads no markup, and `&`, `<`, `>` are escaped, so no
value mentions a channel, makes a link or a button.
"""

from typing import Any

from tachograph.pipeline.forward.formats._bounded import encoded
from tachograph.pipeline.forward.formats._values import (
    change_of,
    cut,
    gravest,
    iso_ms,
    lines,
    observed,
    reasons_text,
    risk_points,
    visible,
)
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import Health

NAME = "slack"
CONTENT_TYPE = "application/json"
MAX_BYTES = 32_768
# One message a request; in a file, one a line.
pack = lines

_HEADER_BYTES = 150
_FIELD_BYTES = 300
_SECTION_BYTES = 2_000
_SUMMARY_BYTES = 600
_CONTEXT_BYTES = 300
_MOST_FIELDS = 10
# `&amp;`, the longest escape, is five characters for one.
_LONGEST_ESCAPE = 5


def render(alert: Alert, *, update: bool = False) -> bytes:
    """One alert as one message."""
    change = change_of(alert, update=update)
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": _plain(alert.title, _HEADER_BYTES)},
        {"type": "section", "fields": _fields(alert)[:_MOST_FIELDS]},
        {"type": "section", "text": _plain(reasons_text(alert, 5), _SECTION_BYTES)},
        {"type": "context", "elements": [_plain(_footer(alert, change), _CONTEXT_BYTES)]},
    ]
    summary = f"[{alert.severity}] {change}: {alert.title}"
    return encoded(_message(summary, blocks))


def render_health(health: Health) -> bytes:
    """One health record as one message."""
    said = f"[{health.status}] {health.component}: {health.detail or health.status}"
    about = f"{health.tenant} · lag {health.lag} · {iso_ms(health.at)}"
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": _plain(said, _SECTION_BYTES)},
        {"type": "context", "elements": [_plain(about, _CONTEXT_BYTES)]},
    ]
    return encoded(_message(said, blocks))


def _message(summary: str, blocks: list[dict[str, Any]]) -> dict[str, Any]:
    """`text` is what a notification shows."""
    text = _escaped(summary, _SUMMARY_BYTES)
    unfurl = {"unfurl_links": False, "unfurl_media": False}
    return {"text": text, "mrkdwn": False, **unfurl, "blocks": blocks}


def _fields(alert: Alert) -> list[dict[str, Any]]:
    rule = gravest(alert)
    named = {
        "Severity": f"{alert.severity}, risk {risk_points(alert)}",
        "Rule": rule.rule_id if rule else None,
        "Agent": alert.agent_name or alert.agent_id or alert.entity,
        "User": alert.principal_id,
        "Session": alert.session_id,
        "Tool": observed(alert, "tool"),
        "Destination": observed(alert, "url", "domain", "host", "ip"),
        "File": observed(alert, "file"),
        "Owner": alert.owner_team,
        "Status": f"{alert.status}{f', {alert.disposition}' if alert.disposition else ''}",
    }
    return [_plain(f"{name}: {value}", _FIELD_BYTES) for name, value in named.items() if value]


def _footer(alert: Alert, change: str) -> str:
    mark = "SYNTHETIC · " if alert.synthetic else ""
    at = iso_ms(alert.last_seen)
    joined = alert.incident_id not in (None, alert.alert_id)
    incident = f" · incident {alert.incident_id}" if joined else ""
    return f"{mark}{change} · {at} · {alert.alert_id}:{alert.revision} · {alert.tenant}{incident}"


def _plain(text: str, limit_bytes: int) -> dict[str, Any]:
    # A block without text is refused as a whole.
    return {"type": "plain_text", "text": _escaped(text, limit_bytes) or "–", "emoji": False}


def _escaped(text: str, limit_bytes: int) -> str:
    """Within the limit also after escaping, for Slack counts what it is sent."""
    escaped = _escape(cut(text, limit_bytes, _shown))
    if len(escaped.encode()) <= limit_bytes:
        return escaped
    return _escape(cut(text, limit_bytes // _LONGEST_ESCAPE, _shown))


def _shown(part: str) -> str:
    return visible(part, keep="\n")


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
