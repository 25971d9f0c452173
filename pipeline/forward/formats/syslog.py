"""RFC 5424 syslog: a header with time and severity, then the alert as CEF or LEEF.

No byte order mark before the message, although the RFC asks for one: rsyslog keeps it as text.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from tachograph.pipeline.forward.formats import cef, leef
from tachograph.pipeline.forward.formats._values import PRODUCT, cut, lines, visible
from tachograph.schemas.alert import Alert, Severity
from tachograph.schemas.records import Health

NAME = "syslog"
CONTENT_TYPE = "application/syslog"
# rsyslog, syslog-ng and most appliances cut at 8 KiB unless told otherwise.
MAX_BYTES = 8_000
# What several are in a file: framing without a count (RFC 6587) ends each with a newline.
pack = lines
Message = Literal["cef", "leef"]
_RENDER: dict[Message, Callable[..., bytes]] = {"cef": cef.render, "leef": leef.render}
_HEALTH: dict[Message, Callable[..., bytes]] = {
    "cef": cef.render_health,
    "leef": leef.render_health,
}

NIL = "-"
# 32473 is the number that IANA keeps for examples; we have none of our own.
_STRUCTURED_ID = "tacho@32473"
_FACILITY = 4  # security and authorisation
SEVERITY: dict[Severity, int] = {
    "critical": 2,
    "high": 3,
    "medium": 4,
    "low": 5,
    "informational": 6,
}
_HEALTH_SEVERITY = {"ok": 6, "degraded": 4, "silent": 3, "stalled": 3}
_HOSTNAME_BYTES = 255
_PARAMETER_BYTES = 64


def render(
    alert: Alert,
    *,
    update: bool = False,
    hostname: str = NIL,
    message: Message = "cef",
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """One alert as one syslog message of at most `max_bytes`, without the framing of TCP."""
    identity = {
        "alertId": alert.alert_id,
        "revision": str(alert.revision),
        "tenant": alert.tenant,
        "severity": alert.severity,
    }
    head = _header(SEVERITY[alert.severity], alert.updated_at, "ALERT", hostname)
    head += _structured(identity)
    return head + _RENDER[message](alert, update=update, max_bytes=_room(head, max_bytes))


def render_health(
    health: Health,
    *,
    hostname: str = NIL,
    message: Message = "cef",
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """One health record as one syslog message."""
    identity = {"component": health.component, "status": health.status, "tenant": health.tenant}
    head = _header(_HEALTH_SEVERITY[health.status], health.at, "HEALTH", hostname)
    head += _structured(identity)
    return head + _HEALTH[message](health, max_bytes=_room(head, max_bytes))


def _room(head: bytes, max_bytes: int) -> int:
    return min(cef.MAX_BYTES, max_bytes - len(head))


def _header(severity: int, at: datetime, message_id: str, hostname: str) -> bytes:
    host = re.sub(r"[^!-~]", "_", hostname)[:_HOSTNAME_BYTES] or NIL
    stamp = at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return f"<{_FACILITY * 8 + severity}>1 {stamp} {host} {PRODUCT} - {message_id} ".encode()


def _structured(parameters: dict[str, str]) -> bytes:
    pairs = "".join(f' {name}="{_parameter(text)}"' for name, text in parameters.items())
    return f"[{_STRUCTURED_ID}{pairs}] ".encode()


def _parameter(text: str) -> str:
    bounded = cut(text, _PARAMETER_BYTES, visible)
    return re.sub(r'(["\\\]])', r"\\\1", bounded)
