"""Alerts from a file of NDJSON: alerts as `agent.alerts` has them, or findings of `tacho scan`.

A finding is shown as the alert of one signal: what only triage knows (captured state, risk over
time) is not in it, and it says so. A file may be written by hand or by another program, so what is
missing or null is filled in with what a plain alert has.
"""

import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, BinaryIO

import msgspec

from tachograph.pipeline.triage.policy import DEFAULT_WEIGHTS
from tachograph.schemas.alert import (
    Alert,
    Observable,
    ObservableType,
    Reason,
    RiskCategory,
    RuleHit,
    Severity,
    SignalKind,
)
from tachograph.schemas.identity import plain_id

MAX_LINE_BYTES = 67_108_864

_OBSERVED: dict[str, ObservableType] = {
    "principal_id": "user",
    "host_name": "host",
    "target_host": "host",
    "target_domain": "domain",
    "target_ip": "ip",
    "target_url": "url",
    "file_path": "file",
    "file_hash": "hash",
    "artifact_name": "package",
    "tool_name": "tool",
}

_EPOCH = "1970-01-01T00:00:00Z"
# Texts of a finding that other programs write as numbers, too.
_TEXTS = (
    *("rule_id", "title", "reason", "tool_name"),
    *("event_id", "signal_id", "session_id", "agent_id"),
)


class Unreadable(msgspec.Struct, frozen=True):
    """A line that is neither, and why."""

    line: int
    reason: str


class _Finding(msgspec.Struct, kw_only=True):
    """A line of `tacho scan`; only the rule is asked for."""

    rule_id: str
    title: str | None = None
    severity: Severity = "medium"
    kind: SignalKind = "stateless"
    event_time: datetime | None = None
    event_id: str | None = None
    session_id: str | None = None
    agent_id: str | None = None
    reason: str | None = None
    signal_id: str | None = None
    risk_category: RiskCategory = "agent_operation"
    event_count: int = 1
    event_ids: list[str] = []
    tool_name: str | None = None
    frameworks: list[str] = []
    fields: dict[str, str] = {}
    blind_spots: list[str] = []


def alerts(source: BinaryIO) -> Iterator[Alert | Unreadable]:
    """The alerts of a file, line by line; empty lines are nothing."""
    number = 0
    while line := source.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            yield Unreadable(number, f"longer than {MAX_LINE_BYTES} bytes")
            while line and not line.endswith(b"\n"):
                line = source.readline(MAX_LINE_BYTES)
        elif line.strip():
            yield _alert(line, number)


def _alert(line: bytes, number: int) -> Alert | Unreadable:
    try:
        # Not msgspec's reader: half of a surrogate pair is a text here, as it is to many writers.
        # Bytes that are no UTF-8 show as U+FFFD.
        value: Any = json.loads(
            line.decode("utf-8-sig", "replace"),
            parse_int=_int64,
            parse_float=_finite,
            parse_constant=_no_number,
        )
        given: dict[str, Any] = _without_nulls(msgspec.convert(value, dict[str, Any]))
        if "alert_id" in given:
            return _in_utc(msgspec.convert({**_plain(given), **given}, Alert))
        return _of_finding(msgspec.convert(_as_texts(given), _Finding))
    except (msgspec.ValidationError, RecursionError, ValueError, OverflowError) as error:
        return Unreadable(number, f"neither alert nor finding: {error}")


def _int64(digits: str) -> int:
    number = int(digits)
    if abs(number) >= 1 << 63:
        raise ValueError("a number of more than 64 bits")
    return number


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number of more than 64 bits")
    return number


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _without_nulls(value: Any) -> Any:
    """JSON without nulls: to whoever wrote them they mean that nothing is known."""
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value


def _as_texts(given: dict[str, Any]) -> dict[str, Any]:
    """Numbers and objects where a finding has texts, as texts."""
    fields = given.get("fields")
    shown: dict[str, Any] = {name: _text(given[name]) for name in _TEXTS if name in given}
    if isinstance(fields, dict):
        shown["fields"] = {name: _text(value) for name, value in fields.items()}
    return {**given, **shown}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(given: dict[str, Any]) -> dict[str, Any]:
    """What an alert must have, as far as the rest of it tells."""
    times = ("updated_at", "last_seen", "first_seen", "created_at")
    at = next((given[name] for name in times if name in given), _EPOCH)
    severity = given.get("severity", "medium")
    return {
        "revision": 0,
        "tenant": "default",
        "status": "open",
        "title": given["alert_id"],
        "severity": severity,
        "risk": dict[Any, int](DEFAULT_WEIGHTS).get(str(severity), 0),
        "risk_category": "agent_operation",
        "rules": [],
        **dict.fromkeys(times, at),
        "entity": given.get("agent_id") or given.get("session_id") or given["alert_id"],
        "reasons": [],
        "signal_ids": [],
        "event_ids": [],
        "signal_count": 1,
    }


def _in_utc(alert: Alert) -> Alert:
    """Its times in UTC, as the contract has them; one without a zone is UTC."""
    names = ("first_seen", "last_seen", "created_at", "updated_at")
    return msgspec.structs.replace(alert, **{name: _utc(getattr(alert, name)) for name in names})


def _utc(at: datetime) -> datetime:
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _of_finding(found: _Finding) -> Alert:
    at = _utc(found.event_time or datetime.fromtimestamp(0, UTC))
    title = found.title or found.rule_id
    events = found.event_ids or ([found.event_id] if found.event_id else [])
    signal_id = found.signal_id or plain_id(found.rule_id, *events, at.isoformat())
    rule = RuleHit(
        rule_id=found.rule_id,
        rule_version="",
        title=title,
        severity=found.severity,
        kind=found.kind,
        count=1,
    )
    return Alert(
        alert_id=signal_id,
        revision=0,
        tenant="default",
        status="open",
        title=title,
        severity=found.severity,
        risk=DEFAULT_WEIGHTS[found.severity],
        risk_category=found.risk_category,
        risk_categories=[found.risk_category],
        rules=[rule],
        frameworks=found.frameworks,
        first_seen=at,
        last_seen=at,
        created_at=at,
        updated_at=at,
        entity=found.agent_id or found.session_id or found.rule_id,
        entity_type="agent" if found.agent_id else "session",
        agent_id=found.agent_id,
        session_id=found.session_id,
        observables=_observables(found),
        reasons=[Reason(text=found.reason or title, fields=found.fields)],
        signal_ids=[signal_id],
        event_ids=events,
        signal_count=1,
        state_missing="a finding of a scan has no captured state",
        blind_spots=found.blind_spots,
    )


def _observables(found: _Finding) -> list[Observable]:
    values = {"tool_name": found.tool_name or "", **found.fields}
    return [
        Observable(type=_OBSERVED[name], value=value)
        for name, value in values.items()
        if name in _OBSERVED and value
    ]
