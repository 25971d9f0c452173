"""What every format needs: names, clocks, severities, and values that stay inside their record."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from importlib.metadata import version
from ipaddress import ip_address
from typing import Any, NamedTuple

import msgspec

from tachograph.pipeline.clock import to_us
from tachograph.schemas.alert import SEVERITIES, Alert, RuleHit
from tachograph.schemas.records import Health

VENDOR = "Tachograph"
PRODUCT = "tacho"
HEALTH_EVENT = "tacho.health"

# What some receiver takes for the end of a record or of a text, and the sign that stands for it.
_BREAKS = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    0x7F: "␡",
    **dict.fromkeys((0x85, 0x2028, 0x2029), "␤"),
}


# Fields of an alert that may be long: they come last, for readers that look at a beginning only.
_BULKY = ("reasons", "observables", "signal_ids", "event_ids", "versions", "scores", "witness")
_BULKIEST = ("state",)

# A record's key (alert id:revision) and its bytes.
Keyed = tuple[str, bytes]


@cache
def product_version() -> str:
    """Version of this package."""
    return version("tachograph")


def visible(text: str, *, keep: str = "") -> str:
    """The text with control characters and line ends shown as signs (NUL as ␀), but for `keep`."""
    return text if text.isprintable() else text.translate(_signs(keep))


@cache
def _signs(keep: str) -> dict[int, str]:
    return {code: sign for code, sign in _BREAKS.items() if chr(code) not in keep}


def cut(text: str, limit_bytes: int, show: Callable[[str], str] = str) -> str:
    """The text in at most `limit_bytes` of UTF-8; what was cut is counted at its end: `…[+1200]`.

    `show` replaces characters one by one, of what is kept. A lone surrogate, which UTF-8 cannot
    say, becomes a question mark.
    """
    if len(text) <= limit_bytes and text.isascii() and text.isprintable():
        return show(text)
    head = show(text[:limit_bytes]).encode("utf-8", "replace")
    if len(head) <= limit_bytes and len(text) <= limit_bytes:
        return head.decode()
    marker_bytes = len(f"…[+{len(text)}]".encode())
    kept = head[: max(0, limit_bytes - marker_bytes)].decode("utf-8", "ignore")
    return f"{kept}…[+{len(text) - len(kept)}]"


def joined(values: Iterable[str], most: int, separator: str = ",") -> str:
    """The first `most` values in one text; what is left out is counted."""
    listed = list(values)
    rest = [f"…[+{len(listed) - most}]"] if len(listed) > most else []
    return separator.join(listed[:most] + rest)


def epoch_ms(at: datetime) -> int:
    """Milliseconds since the epoch."""
    return to_us(at) // 1000


def risk_points(alert: Alert) -> int:
    """Risk in whole points: receivers take integers only."""
    return round(alert.risk / 1000)


def gravest(alert: Alert) -> RuleHit | None:
    """The rule that speaks for the alert: the gravest that counts, the first of equals."""
    counting = [rule for rule in alert.rules if rule.suppressed is None] or list(alert.rules)
    return max(counting, key=lambda rule: SEVERITIES.index(rule.severity), default=None)


def change_of(alert: Alert, *, update: bool) -> str:
    """What happened to the alert, in the word of a SOC: created, updated, closed or retracted."""
    if alert.status in {"closed", "retracted"}:
        return alert.status
    return "updated" if update else "created"


def observed(alert: Alert, *types: str) -> str | None:
    """The first observable of one of these types."""
    return next((o.value for o in alert.observables if o.type in types), None)


def ip_version(text: str) -> int | None:
    """4 or 6 for an address, None for anything else, also for one with a zone (`%eth0`)."""
    if "%" in text:
        return None
    try:
        return ip_address(text).version
    except ValueError:
        return None


def reasons_text(alert: Alert, most: int = 10) -> str:
    """The alert's title and reasons, one a line."""
    return "\n".join([alert.title, *(reason.text for reason in alert.reasons[:most])])


def matched(alert: Alert) -> dict[str, str]:
    """The fields that matched and their values, of all reasons; the gravest reason's word holds."""
    found: dict[str, str] = {}
    for reason in reversed(alert.reasons):
        found.update(reason.fields)
    return found


def matched_text(alert: Alert, most: int = 10) -> str:
    """The same as one text."""
    return joined((f"{name}: {value}" for name, value in matched(alert).items()), most, "; ")


def iso_ms(at: datetime) -> str:
    """RFC 3339 in milliseconds, UTC."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(records: Sequence[Keyed]) -> bytes:
    """Records as lines, each ended by a newline."""
    return b"".join(body + b"\n" for _, body in records)


def record_of(alert: Alert, change: str) -> dict[str, Any]:
    """The alert as we write it ourselves, with what happened to it; what may be long is last."""
    fields = msgspec.to_builtins(alert)
    late = {name: fields.pop(name) for name in (*_BULKY, *_BULKIEST) if name in fields}
    return {
        "alert_id": alert.alert_id,
        "revision": alert.revision,
        "change": change,
        **fields,
        **late,
    }


def health_record(health: Health) -> dict[str, Any]:
    """The health record as we write it ourselves."""
    return {"event": HEALTH_EVENT, **msgspec.to_builtins(health)}


def health_key(health: Health) -> str:
    """What tells one health record from another: component and time."""
    return f"{health.component}:{epoch_ms(health.at)}"


class Attack(NamedTuple):
    """Ids of a framework of attacks; `sub_technique` stands beside its technique."""

    tactic: str = ""
    technique: str = ""
    sub_technique: str = ""


def attack_of(tag: str) -> Attack | None:
    """What an ATLAS or ATT&CK tag (`atlas.AML.T0051.001`) names; None for other frameworks."""
    family, _, rest = tag.partition(".")
    uid = rest.upper()
    if family not in {"atlas", "attack"} or not any(char.isdigit() for char in uid):
        return None
    bare = uid.removeprefix("AML.")
    if bare.startswith("TA"):
        return Attack(tactic=uid)
    technique, _, sub = bare.partition(".")
    if not technique.startswith("T"):
        return None
    return Attack(
        technique=uid.removesuffix(f".{sub}") if sub else uid, sub_technique=uid if sub else ""
    )
