"""What a query string asks of a list in ClickHouse, as SQL. Pure.

Pages are walked from the newest row to the oldest by a time and an id that stay as they are: a row
that changes meanwhile is neither skipped nor given twice.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec
from starlette.datastructures import QueryParams

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.serve.errors import RequestError
from tachograph.schemas.alert import SEVERITIES

MAX_LIMIT: Final = 500
DEFAULT_LIMIT: Final = 100
MAX_VALUES: Final = 100
MAX_VALUE_CHARS: Final = 512
# What an id of ours may be.
ID: Final = r"^[!-~]{1,200}\Z"
# Where a page begins: a time in microseconds, and the row before it.
CURSOR: Final = r"^(-?[0-9]{1,17}):([!-~]{1,200})$"
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 2200


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """A list, and what it can be asked. All names but those of parameters are columns, or
    conditions, word for word.
    """

    table: str
    at: str  # a time that stays as it is
    id: str
    # Name in the query string → column; several values are any of them.
    filters: Mapping[str, str]
    # Name → column that holds several.
    members: Mapping[str, str]
    # Name → condition on a time.
    times: Mapping[str, str]
    closed: Mapping[str, tuple[str, ...]]
    # Where a text is looked for: conditions on the parameter `search`.
    searched: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters."""
        search = ("search",) if self.searched else ()
        return (
            *self.filters, *self.members, "min_severity", *search, *self.times, "limit", "cursor",
        )  # fmt: skip


class Question(NamedTuple):
    """SQL with its parameters, which ClickHouse puts in; one row more than a page is asked for."""

    sql: str
    values: dict[str, str]
    limit: int


def question(
    listing: Listing, query: QueryParams, tenant: str | None, columns: str = "*"
) -> Question:
    """What a query string asks; `tenant` is the caller's, if it has one.

    Raises RequestError 400 for what cannot be asked, 403 for another tenant.
    """
    unknown = sorted(set(query) - set(listing.names))
    if unknown:
        names = ", ".join(listing.names)
        raise RequestError(400, f"unknown parameter {unknown[0]!r}; there is {names}")
    values: dict[str, str] = {}
    conditions = [
        *_filters(listing, query, values),
        *_severity_from(query),
        *_search(listing, query, values),
        *_times(listing, query, values),
        *_tenant(query, values, tenant),
        *_after(listing, query, values),
    ]
    limit = _limit(query)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = f"ORDER BY {listing.at} DESC, {listing.id} DESC LIMIT {limit + 1}"
    # Conditions are ours word for word; what a client wrote is in the values.
    return Question(f"SELECT {columns} FROM {listing.table}{where} {order}", values, limit)  # noqa: S608


def cursor(listing: Listing, record: Any) -> str:
    """Where the page after this record of the list begins."""
    return f"{to_us(getattr(record, listing.at))}:{getattr(record, listing.id)}"


def _filters(listing: Listing, query: QueryParams, values: dict[str, str]) -> list[str]:
    found = []
    for name, column in listing.filters.items():
        if name in query:
            given = _values(query, name)
            _check_closed(name, given, listing.closed.get(name))
            found.append(f"{column} IN ({_bound(name, given, values)})")
    for name, column in listing.members.items():
        if name in query:
            names = _bound(name, _values(query, name), values)
            found.append(f"hasAny({column}, [{names}])")
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


def _check_closed(name: str, given: list[str], allowed: tuple[str, ...] | None) -> None:
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
    _check_closed("min_severity", [least], SEVERITIES)
    wanted = [s for s in SEVERITIES if SEVERITIES.index(s) >= _rank(least)]
    return [f"severity IN ({', '.join(repr(s) for s in wanted)})"]


def _rank(severity: str) -> int:
    return [str(known) for known in SEVERITIES].index(severity)


def _search(listing: Listing, query: QueryParams, values: dict[str, str]) -> list[str]:
    text = query.get("search")
    if text is None:
        return []
    if not 0 < len(text) <= MAX_VALUE_CHARS or "\0" in text:
        raise RequestError(400, f"search: a text of at most {MAX_VALUE_CHARS} characters")
    values["search"] = text
    return [f"({' OR '.join(listing.searched)})"]


def _times(listing: Listing, query: QueryParams, values: dict[str, str]) -> list[str]:
    found = []
    for name, condition in listing.times.items():
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


def _after(listing: Listing, query: QueryParams, values: dict[str, str]) -> list[str]:
    if "cursor" not in query:
        return []
    match = re.fullmatch(CURSOR, query["cursor"])
    if match is None:
        raise RequestError(400, "cursor: not one of ours; take `next` of the last page")
    values["at"], values["after"] = match[1], match[2]
    return [
        f"({listing.at}, {listing.id}) < (fromUnixTimestamp64Micro({{at:Int64}}), {{after:String}})"
    ]


def _limit(query: QueryParams) -> int:
    text = query.get("limit", str(DEFAULT_LIMIT))
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= MAX_LIMIT:
        raise RequestError(400, f"limit is between 1 and {MAX_LIMIT}")
    return int(text)
