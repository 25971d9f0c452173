"""Questions about stored alerts: what a query string asks, as SQL, and rows as alerts. Pure.

Pages are walked from the newest alert to the oldest by (created_at, alert_id), which stay as they
are: an alert that changes meanwhile is neither skipped nor given twice.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from starlette.datastructures import QueryParams

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.serve.errors import RequestError
from tachograph.schemas.alert import SEVERITIES, Alert

MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 100
MAX_VALUES: Final = 100
MAX_VALUE_CHARS: Final = 512
STATUSES: Final = ("open", "acknowledged", "closed")

# Name in the query string → column; several values are any of them.
FILTERS: Final = {
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
}
# Where a text is looked for; a session by its id, an alert by how its id begins.
SEARCHED: Final = ("title", "agent_id", "entity", "principal_id")
# Name → condition on a time.
TIMES: Final = {"since": "last_seen >=", "until": "last_seen <", "updated_since": "updated_at >="}
NAMES: Final = (*FILTERS, "rule", "min_severity", "search", *TIMES, "limit", "cursor")
_CLOSED: Final = {"severity": SEVERITIES, "status": STATUSES}
# Where a page begins: created_at in microseconds, and the alert before it.
CURSOR: Final = r"^(-?[0-9]{1,17}):([!-~]{1,200})$"
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2200
_TIME_FIELDS: Final = ("first_seen", "last_seen", "created_at", "updated_at")
_JSON_FIELDS: Final = ("state", "witness")
_FIELDS: Final = frozenset(Alert.__struct_fields__)


class Question(NamedTuple):
    """SQL with its parameters, which ClickHouse puts in; one row more than a page is asked for."""

    sql: str
    values: dict[str, str]
    limit: int


def question(query: QueryParams, tenant: str | None, columns: str = "*") -> Question:
    """What a query string asks; `tenant` is the caller's, if it has one.

    Raises RequestError 400 for what cannot be asked, 403 for another tenant.
    """
    unknown = sorted(set(query) - set(NAMES))
    if unknown:
        raise RequestError(400, f"unknown parameter {unknown[0]!r}; there is {', '.join(NAMES)}")
    values: dict[str, str] = {}
    conditions = [
        *_filters(query, values),
        *_severity_from(query),
        *_search(query, values),
        *_times(query, values),
        *_tenant(query, values, tenant),
        *_after(query, values),
    ]
    limit = _limit(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = f"ORDER BY created_at DESC, alert_id DESC LIMIT {limit + 1}"
    # Conditions are ours word for word; what a client wrote is in the values.
    return Question(f"SELECT {columns} FROM tacho.alerts{where} {order}", values, limit)  # noqa: S608


def one(alert_id: str, tenant: str | None) -> Question:
    """The question for one alert."""
    values = {"id": alert_id}
    sql = "SELECT * FROM tacho.alerts WHERE alert_id = {id:String}"
    if tenant is not None:
        sql, values["own"] = f"{sql} AND tenant = {{own:String}}", tenant
    return Question(f"{sql} LIMIT 1", values, 1)


def cursor_of(alert: Alert) -> str:
    """Where the page after this alert begins."""
    return f"{to_us(alert.created_at)}:{alert.alert_id}"


def alert_of(row: Mapping[str, Any]) -> Alert:
    """A row of tacho.alerts as an alert: where nothing is known, ClickHouse has an empty value."""
    fields = {
        name: _filled(value)
        for name, value in row.items()
        if name in _FIELDS and value not in (None, "", [], {})
    }
    for name in _TIME_FIELDS:
        fields[name] = datetime.fromisoformat(str(row[name])).replace(tzinfo=UTC)
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


def _filters(query: QueryParams, values: dict[str, str]) -> list[str]:
    found = []
    for name, column in FILTERS.items():
        if name in query:
            given = _values(query, name)
            _check_closed(name, given)
            found.append(f"{column} IN ({_bound(name, given, values)})")
    if "rule" in query:
        names = _bound("rule", _values(query, "rule"), values)
        found.append(f"hasAny(rule_ids, [{names}])")
    return found


def _values(query: QueryParams, name: str) -> list[str]:
    found = [value for text in query.getlist(name) for value in text.split(",") if value]
    if not found:
        raise RequestError(400, f"{name} has no value")
    if len(found) > MAX_VALUES or any(len(value) > MAX_VALUE_CHARS for value in found):
        raise RequestError(400, f"{name}: {MAX_VALUES} values of {MAX_VALUE_CHARS} characters")
    if any("\0" in value for value in found):
        raise RequestError(400, f"{name}: a NUL is in no value")
    return found


def _check_closed(name: str, given: list[str]) -> None:
    allowed = _CLOSED.get(name)
    if allowed is not None and not set(given) <= set(allowed):
        raise RequestError(400, f"{name} is one of {', '.join(allowed)}")


def _bound(name: str, given: list[str], values: dict[str, str]) -> str:
    """The values as parameters of ClickHouse's: never a part of the text of the query."""
    names = [f"{name}{number}" for number in range(len(given))]
    values.update(zip(names, given, strict=True))
    return ", ".join(f"{{{one_name}:String}}" for one_name in names)


def _severity_from(query: QueryParams) -> list[str]:
    least = query.get("min_severity")
    if least is None:
        return []
    _check_closed("severity", [least])
    wanted = [s for s in SEVERITIES if SEVERITIES.index(s) >= _rank(least)]
    return [f"severity IN ({', '.join(repr(s) for s in wanted)})"]


def _rank(severity: str) -> int:
    return [str(known) for known in SEVERITIES].index(severity)


def _search(query: QueryParams, values: dict[str, str]) -> list[str]:
    text = query.get("search")
    if text is None:
        return []
    if not 0 < len(text) <= MAX_VALUE_CHARS or "\0" in text:
        raise RequestError(400, f"search: a text of at most {MAX_VALUE_CHARS} characters")
    values["search"] = text
    found = [f"positionCaseInsensitiveUTF8({one}, {{search:String}}) > 0" for one in SEARCHED]
    found.append("startsWith(alert_id, {search:String})")
    found.append("has(session_ids, {search:String})")
    return [f"({' OR '.join(found)})"]


def _times(query: QueryParams, values: dict[str, str]) -> list[str]:
    found = []
    for name, condition in TIMES.items():
        if name in query:
            values[name] = str(_moment_us(name, query[name]))
            found.append(f"{condition} fromUnixTimestamp64Micro({{{name}:Int64}})")
    return found


def _moment_us(name: str, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise RequestError(400, f"{name}: a time looks like 2026-11-22T18:00:00Z") from error
    if moment.tzinfo is None:
        raise RequestError(400, f"{name}: the time has no zone; write Z for UTC")
    # Beyond these ClickHouse knows no time, and there is no alert.
    year = min(max(moment.year, _FIRST_YEAR), _LAST_YEAR)
    if year != moment.year:
        return to_us(datetime(year, 1, 1, tzinfo=UTC))
    return to_us(moment.astimezone(UTC))


def _tenant(query: QueryParams, values: dict[str, str], tenant: str | None) -> list[str]:
    if tenant is None:
        return []
    if "tenant" in query and set(_values(query, "tenant")) != {tenant}:
        raise RequestError(403, "the token sees its own tenant only")
    values["own"] = tenant
    return ["tenant = {own:String}"]


def _after(query: QueryParams, values: dict[str, str]) -> list[str]:
    if "cursor" not in query:
        return []
    match = re.fullmatch(CURSOR, query["cursor"])
    if match is None:
        raise RequestError(400, "cursor: not one of ours; take `next` of the last page")
    values["at"], values["after"] = match[1], match[2]
    return [
        "(created_at, alert_id) < (fromUnixTimestamp64Micro({at:Int64}), {after:String})",
    ]


def _limit(query: QueryParams) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise RequestError(400, f"limit is between 1 and {MAX_LIMIT}")
    return int(text)
