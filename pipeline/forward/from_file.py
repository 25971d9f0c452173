"""Alerts from a file of NDJSON: alerts as `agent.alerts` has them, or findings of `tacho scan`.

A finding is shown as the alert of one signal: what only triage knows (captured state, risk over
time) is not in it, and it says so.
"""

import json
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


class Unreadable(msgspec.Struct, frozen=True):
    """A line that is neither, and why."""

    line: int
    reason: str


class _Finding(msgspec.Struct, kw_only=True):
    """A line of `tacho scan`; only the rule is asked for, so that one written by hand will do."""

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
            return
        if line.strip():
            yield _alert(line, number)


def _alert(line: bytes, number: int) -> Alert | Unreadable:
    try:
        # Not msgspec's reader: half of a surrogate pair is a text here, as it is to many writers.
        value: Any = json.loads(line, parse_int=_int64, parse_constant=_no_number)
        if isinstance(value, dict) and "alert_id" not in value:
            return _of_finding(msgspec.convert(value, _Finding))
        return msgspec.convert(value, Alert)
    except (msgspec.ValidationError, RecursionError, ValueError) as error:
        return Unreadable(number, f"neither alert nor finding: {error}")


def _int64(digits: str) -> int:
    number = int(digits)
    if abs(number) >= 1 << 63:
        raise ValueError("a number of more than 64 bits")
    return number


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _of_finding(found: _Finding) -> Alert:
    at = found.event_time or datetime.fromtimestamp(0, UTC)
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
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
