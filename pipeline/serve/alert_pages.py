"""Questions about stored alerts and incidents, and their rows as the records they were. Pure."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import msgspec

from tachograph.pipeline.serve.listing import Listing, Question
from tachograph.schemas.alert import SEVERITIES, Alert
from tachograph.schemas.records import Disposition, Incident

STATUSES: Final = ("open", "acknowledged", "closed")
# Times of both lists.
TIMES: Final = {"since": "last_seen >=", "until": "last_seen <", "updated_since": "updated_at >="}

ALERTS: Final = Listing(
    table="tacho.alerts",
    at="created_at",
    id="alert_id",
    filters={
        "severity": "severity",
        "status": "status",
        "risk_category": "risk_category",
        "tenant": "tenant",
        "environment": "environment",
        "agent": "agent_id",
        "session": "session_id",
        "principal": "principal_id",
        "entity": "entity",
        "owner_team": "owner_team",
        "incident_id": "incident_id",
    },
    members={"rule": "rule_ids"},
    times=TIMES,
    closed={"severity": SEVERITIES, "status": STATUSES},
    # A session by its id, an alert by how its id begins.
    searched=(
        *(f"positionCaseInsensitiveUTF8({column}, {{search:String}}) > 0"
          for column in ("title", "agent_id", "entity", "principal_id")),
        "startsWith(alert_id, {search:String})",
        "has(session_ids, {search:String})",
    ),
)  # fmt: skip
INCIDENTS: Final = Listing(
    table="tacho.incidents",
    at="first_seen",
    id="incident_id",
    filters={"severity": "severity", "tenant": "tenant"},
    members={
        "agent": "agents", "principal": "principals", "rule": "rule_ids", "alert": "alert_ids",
    },
    times=TIMES,
    closed={"severity": SEVERITIES},
)  # fmt: skip
# What people said of an alert is asked for as far as this.
WORDS_MAX: Final = 500
_JSON_FIELDS: Final = ("state", "witness")
_FIELDS: Final = frozenset(Alert.__struct_fields__)

Kept = TypeVar("Kept", Incident, Disposition)


def one(alert_id: str, tenant: str | None) -> Question:
    """The question for one alert."""
    return _of("SELECT * FROM tacho.alerts WHERE alert_id = {id:String}", alert_id, tenant)


def one_incident(name: str, tenant: str | None) -> Question:
    """The question for one incident, by its id or that of an alert of it."""
    return _of("SELECT * FROM tacho.incidents WHERE has(alert_ids, {id:String})", name, tenant)


def _of(sql: str, name: str, tenant: str | None) -> Question:
    values = {"id": name}
    if tenant is not None:
        sql, values["own"] = f"{sql} AND tenant = {{own:String}}", tenant
    return Question(f"{sql} LIMIT 1", values, 1)


def words(alert: Alert) -> Question:
    """The question for what people said of an alert, the newest first."""
    values = {"id": alert.alert_id, "own": alert.tenant, "most": str(WORDS_MAX)}
    return Question(
        "SELECT * FROM tacho.dispositions WHERE alert_id = {id:String} AND tenant = {own:String}"
        " ORDER BY at DESC, log_offset DESC LIMIT {most:UInt32}",
        values,
        WORDS_MAX,
    )


def alert_of(row: Mapping[str, Any]) -> Alert:
    """A row of tacho.alerts as an alert: where nothing is known, ClickHouse has an empty value."""
    fields = {
        name: _filled(value)
        for name, value in row.items()
        if name in _FIELDS and value not in (None, "", [], {})
    }
    fields |= times_of(row, ("first_seen", "last_seen", "created_at", "updated_at"))
    for name in _JSON_FIELDS:
        if name in fields:
            fields[name] = json.loads(fields[name])
    texts = dict.fromkeys(("tenant", "title", "entity"), "")
    lists: dict[str, list[Any]] = {
        name: [] for name in ("rules", "reasons", "signal_ids", "event_ids")
    }
    return msgspec.convert({**texts, **lists, **fields}, Alert, strict=False)


def _filled(value: Any) -> Any:
    """Members of a tuple that are empty are not there."""
    if isinstance(value, list):
        return [_filled(item) for item in value]
    if isinstance(value, dict):
        return {name: item for name, item in value.items() if item not in (None, "")}
    return value


def incident_of(row: Mapping[str, Any]) -> Incident:
    """A row of tacho.incidents as an incident."""
    return _record_of(Incident, row, ("first_seen", "last_seen", "updated_at"))


def word_of(row: Mapping[str, Any]) -> Disposition:
    """A row of tacho.dispositions as what somebody said."""
    return _record_of(Disposition, row, ("at",))


def _record_of(kind: type[Kept], row: Mapping[str, Any], times: Iterable[str]) -> Kept:
    fields = {
        field.name: row[field.name]
        for field in msgspec.structs.fields(kind)
        if field.name in row and (field.required or row[field.name] != "")
    }
    return msgspec.convert({**fields, **times_of(row, times)}, kind, strict=False)


def times_of(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, datetime]:
    """Times of a row."""
    return {name: datetime.fromisoformat(str(row[name])).replace(tzinfo=UTC) for name in names}
