"""What ClickHouse keeps of an alert: its record, its signals, their events or decisions."""

import contextlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import polars as pl

from tachograph.detectors.facts import FACT_COLUMNS
from tachograph.pipeline.backtest.actions import as_actions, time_sql
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import quoted
from tachograph.schemas.alert import SEVERITIES, Alert, Signal
from tachograph.schemas.batch import COLUMNS
from tachograph.schemas.codec import InvalidRecord, decode
from tachograph.schemas.records import Health

MAX_EVENTS: Final = 50_000
MAX_ALERTS: Final = 2_000
_SEVERITIES: Final = ", ".join(map(quoted, SEVERITIES))
# Of one alert; more are not told by it either.
MAX_SIGNALS: Final = 100


class Evidence:
    """Reads one alert's evidence. Every method raises RetryLater and Refused."""

    def __init__(self, connection: Connection, columns: Sequence[str]) -> None:
        """`columns`: of actions, as far as the rules read them."""
        self._connection = connection
        self._columns = sorted({*columns, *FACT_COLUMNS} & set(COLUMNS))

    def alert(self, alert_id: str) -> Alert | None:
        """The newest revision, from the bytes that the evidence is checked against; None when
        there is no such alert.
        """
        rows = self._connection.rows(
            "SELECT record FROM tacho.alerts_log"  # noqa: S608 - values are quoted
            f" WHERE alert_id = {quoted(alert_id)} AND record != '' ORDER BY revision DESC LIMIT 1"
        )
        if not rows:
            return None
        record = rows[0][0]
        try:
            return decode(Alert, record if isinstance(record, bytes) else str(record).encode())
        except InvalidRecord as error:
            raise Refused(f"the alert's record cannot be read: {error}") from error

    def signals(self, alert: Alert) -> dict[str, Signal]:
        """The alert's signals that are stored and stand, by id."""
        wanted = ", ".join(map(quoted, alert.signal_ids[:MAX_SIGNALS]))
        if not wanted:
            return {}
        table = self._connection.arrow(
            f"SELECT * FROM tacho.signals WHERE signal_id IN ({wanted})"  # noqa: S608
        )
        rows = pl.DataFrame(pl.from_arrow(table)).to_dicts()
        return {row["signal_id"]: signal_of(row) for row in rows}

    def events(self, signal: Signal) -> pl.DataFrame | None:
        """What the signal rests on, as it is stored: its events, of a judgement of sessions all
        of those. None where some of it is not.
        """
        if follows_sessions(signal):
            return self._sessions(signal)
        if signal.witness.partial or signal.event_count > len(signal.event_ids):
            return self._stretch(signal)
        wanted = ", ".join(map(quoted, signal.event_ids))
        frame = self._actions(f"event_id IN ({wanted})")
        return frame if frame.height == len(set(signal.event_ids)) else None

    def decision(self, signal: Signal) -> Health | None:
        """What was decided about our own health that the signal tells of; None where it is gone."""
        rows = self._connection.rows(
            "SELECT status, at, watermark, detail FROM tacho.health"  # noqa: S608 - quoted
            f" WHERE tenant = {quoted(signal.tenant)} AND component = {quoted(signal.entity)}"
            f" AND status != 'ok' AND ifNull(watermark, at) = {time_sql(signal.event_time)}"
            " ORDER BY at LIMIT 1"
        )
        if not rows:
            return None
        status, at, watermark, detail = (_plain(value) for value in rows[0])
        return Health(
            component=signal.entity, tenant=signal.tenant, status=status, at=at,
            watermark=watermark, detail=detail or None,
        )  # fmt: skip

    def alerts_from(self, moment: datetime, tenant: str) -> list[Alert]:
        """Revisions of open alerts of the tenant's agents that were made in the hour from `moment`
        on: the gravest, where there are too many. What cannot be read is left out.
        """
        rows = self._connection.rows(
            "SELECT record FROM tacho.alerts_log"  # noqa: S608 - values are quoted
            f" WHERE tenant = {quoted(tenant)} AND updated_at >= {time_sql(moment)}"
            f" AND updated_at < {time_sql(moment + timedelta(hours=1))} AND record != ''"
            " AND status = 'open' AND agent_id != ''"
            f" ORDER BY indexOf([{_SEVERITIES}], toString(severity)) DESC, alert_id, revision DESC"
            f" LIMIT {MAX_ALERTS}"
        )
        found = []
        for (record,) in rows:
            with contextlib.suppress(InvalidRecord):
                text = record if isinstance(record, bytes) else str(record).encode()
                found.append(decode(Alert, text))
        return found

    def _sessions(self, signal: Signal) -> pl.DataFrame | None:
        """All of the sessions that its events are of: an order may be given in one and obeyed in
        another.
        """
        whose = f"tenant = {quoted(signal.tenant)}"
        sessions = (
            "SELECT partition_key, session_id FROM tacho.actions"  # noqa: S608 - quoted
            f" WHERE {whose} AND event_id IN ({', '.join(map(quoted, signal.event_ids))})"
        )
        frame = self._actions(
            f"{whose} AND (partition_key, session_id) IN ({sessions})", list(COLUMNS)
        )
        held = set(frame["event_id"].to_list())
        return frame if held.issuperset(signal.event_ids) and frame.height < MAX_EVENTS else None

    def _stretch(self, signal: Signal) -> pl.DataFrame | None:
        """All that the rule may have seen, where more happened than its evidence names."""
        span_s = int(signal.witness.window.get("timespan_s", "0") or 0)
        span = timedelta(seconds=max(span_s, 1))
        where = (
            f"tenant = {quoted(signal.tenant)}"
            f" AND event_time >= {time_sql(signal.event_time - 2 * span)}"
            f" AND event_time <= {time_sql(signal.event_time + span)}"
        )
        if signal.partition_key is not None:
            where += f" AND partition_key = {quoted(signal.partition_key)}"
        frame = self._actions(where)
        return frame if 0 < frame.height < MAX_EVENTS else None

    def _actions(self, where: str, columns: Sequence[str] = ()) -> pl.DataFrame:
        chosen = ", ".join(f"`{name}`" for name in columns or self._columns)
        query = f"SELECT {chosen} FROM tacho.actions WHERE {where}"  # noqa: S608
        query += f" ORDER BY event_time, event_id LIMIT {MAX_EVENTS}"
        return as_actions(pl.DataFrame(pl.from_arrow(self._connection.arrow(query))))


def follows_sessions(signal: Signal) -> bool:
    """Whether whole sessions are needed to judge it: its witness holds no features of a model."""
    return signal.kind == "provenance" and "model" not in signal.witness.versions


def signal_of(row: Mapping[str, Any]) -> Signal:
    """A row of tacho.signals as the record it was. Raises Refused."""
    made: dict[str, Any] = {}
    for field in msgspec.structs.fields(Signal):
        value = _plain(row.get(field.name))
        if field.name == "witness" and isinstance(value, str):
            value = msgspec.json.decode(value or "{}")
        # What is empty there was absent, or at its default.
        if value in (None, "", [], {}) and not field.required:
            continue
        made[field.name] = value
    try:
        return msgspec.convert(made, Signal, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"a stored signal cannot be read: {error}") from error


def _plain(value: Any) -> Any:
    """Arrow's maps are lists of entries; its times of ClickHouse are UTC."""
    match value:
        case [{"key": _, "value": _}, *_]:
            return {entry["key"]: _plain(entry["value"]) for entry in value}
        case list():
            return [_plain(one) for one in value]
        case dict():
            return {name: _plain(inner) for name, inner in value.items()}
        case datetime() if value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        case bytes():
            return value.decode("utf-8", "replace")
    return value
