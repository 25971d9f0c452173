"""Alerts as a list shows them: from ClickHouse a page at a time, and from the feed as they come."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from starlette.datastructures import QueryParams

from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.serve.alert_pages import ALERTS
from tachograph.pipeline.serve.listing import question
from tachograph.schemas.alert import SEVERITIES

PAGE: Final = 50
WAITING: Final = "open,acknowledged"
STATUSES: Final = (
    (WAITING, "open"), ("closed", "closed"), ("open,acknowledged,closed", "all"),
)  # fmt: skip
TITLE_CHARS: Final = 300
_COLUMNS: Final = (
    "alert_id, tenant, severity, status, disposition, assignee, agent_id, entity, risk,"
    f" leftUTF8(title, {TITLE_CHARS}) AS title, formatDateTime(last_seen, '%F %T') AS last_seen,"
    " toUnixTimestamp64Micro(created_at) AS created_us"
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the list."""

    alert_id: str
    tenant: str
    severity: str
    status: str
    title: str
    last_seen: str
    agent_id: str = ""
    entity: str = ""
    disposition: str = ""
    assignee: str = ""
    risk: int = 0
    created_us: int = 0

    @property
    def what(self) -> str:
        """The title without whom it is about, where the column beside it says so."""
        who, colon, rest = self.title.partition(": ")
        told = colon and rest and who in (self.agent_id, self.entity)
        return rest[:1].upper() + rest[1:] if told else self.title


class Listed(NamedTuple):
    """A page of the list; `after` is where the next begins."""

    rows: list[Row]
    after: str | None


def asked(query: QueryParams) -> QueryParams:
    """What a person asks for: the waiting ones where nothing is said, empty fields left out."""
    pairs = [(name, value) for name, value in query.multi_items() if value]
    if "status" not in query:
        pairs.append(("status", WAITING))
    if "limit" not in query:
        pairs.append(("limit", str(PAGE)))
    return QueryParams(pairs)


def page_of(query: QueryParams, tenant: str | None) -> Callable[[Reader], Listed]:
    """The question for a page of the list. Raises RequestError 400, 403."""
    wanted = question(ALERTS, query, tenant, _COLUMNS)

    def ask(reader: Reader) -> Listed:
        found = msgspec.convert(reader.rows(wanted.sql, wanted.values), list[Row], strict=False)
        rows = found[: wanted.limit]
        more = len(found) > wanted.limit
        return Listed(rows, f"{rows[-1].created_us}:{rows[-1].alert_id}" if more else None)

    return ask


def counts(reader: Reader) -> dict[str, int]:
    """How many wait, by severity, the gravest first."""
    found = reader.rows(
        "SELECT severity, count() AS n FROM tacho.alerts WHERE status IN ('open', 'acknowledged')"
        " GROUP BY severity"
    )
    known = {row["severity"]: int(row["n"]) for row in found}
    return {one: known[one] for one in reversed(SEVERITIES) if one in known}


class Live(msgspec.Struct, frozen=True, kw_only=True):
    """An alert of the feed, as far as the list asks."""

    alert_id: str
    tenant: str
    severity: str
    status: str
    title: str
    last_seen: datetime
    entity: str
    risk_category: str
    risk: int = 0
    agent_id: str | None = None
    principal_id: str | None = None
    session_id: str | None = None
    environment: str | None = None
    owner_team: str | None = None
    incident_id: str | None = None
    session_ids: list[str] = []
    rules: list[dict[str, Any]] = []

    @property
    def row(self) -> Row:
        """Its line."""
        return Row(
            alert_id=self.alert_id,
            tenant=self.tenant,
            severity=self.severity,
            status=self.status,
            title=self.title[:TITLE_CHARS],
            last_seen=f"{self.last_seen:%Y-%m-%d %H:%M:%S}",
            agent_id=self.agent_id or "",
            entity=self.entity,
            risk=self.risk,
        )


def wanted_of(query: QueryParams) -> Callable[[Live], bool]:
    """Whether an alert of the feed belongs into the list of that query; times are not asked: what
    comes is new.
    """
    chosen = {name: _values(query, name) for name in ALERTS.filters if name in query}
    # People say what is closed; the feed shows what triage says, and what was retracted goes.
    chosen.pop("status", None)
    rules, search = _values(query, "rule"), query.get("search", "").casefold()
    least = query.get("min_severity", SEVERITIES[0])
    grave = {str(one) for one in SEVERITIES[list(SEVERITIES).index(least):]}  # type: ignore[arg-type]  # fmt: skip

    def wanted(alert: Live) -> bool:
        return (
            all(getattr(alert, ALERTS.filters[name]) in values for name, values in chosen.items())
            and alert.severity in grave
            and (not rules or any(one.get("rule_id") in rules for one in alert.rules))
            and (not search or _found(alert, search))
        )

    return wanted


def _found(alert: Live, search: str) -> bool:
    texts = (alert.title, alert.agent_id, alert.entity, alert.principal_id)
    return (
        any(search in text.casefold() for text in texts if text)
        or alert.alert_id.startswith(search)
        or search in {one.casefold() for one in alert.session_ids}
    )


def _values(query: QueryParams, name: str) -> set[str]:
    return {value for text in query.getlist(name) for value in text.split(",") if value}
