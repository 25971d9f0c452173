"""JSON records as rows: which tables a record of a topic goes to, and its row in each."""

import hashlib
import typing
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

import msgspec
import pyarrow as pa

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.store.catalogue import TABLES
from tachograph.pipeline.store.columns import TUPLES, arrow_schema, bare_type
from tachograph.schemas import codec
from tachograph.schemas.alert import Alert, Signal, StateSnapshot
from tachograph.schemas.fields import Record
from tachograph.schemas.records import (
    Access,
    DeadLetter,
    Directive,
    DirectiveAck,
    Disposition,
    Health,
    Incident,
    IncidentMember,
    SessionLink,
)

Values = dict[str, Any]
Redact = Callable[[str], str]

EXCERPT_CHARS = 500
# Secrets are looked for in this much, so that one cut in half at the excerpt's end is still found.
EXCERPT_FROM_BYTES = 65_536


class Origin(NamedTuple):
    """A record as Kafka gave it."""

    place: Place
    offset: int
    value: bytes
    cluster: str = ""
    # Of the topic's generation: what came first is told by offsets above it.
    base: int = 0


class Row(NamedTuple):
    """A row of a table, and the record it came from."""

    table: str
    values: Values
    origin: Origin


def rows_of(origin: Origin, redact: Redact) -> list[Row]:
    """The rows of a JSON record of a topic other than agent.actions. Raises Refused."""
    handler = _HANDLERS[origin.place[0]]
    try:
        return [Row(table, values, origin) for table, values in handler(origin, redact)]
    except codec.InvalidRecord as error:
        raise Refused(f"mistyped: {error}") from error


def row_of(table: str, record: Record, origin: Origin) -> Row:
    """The row of a record whose fields are the table's columns."""
    return Row(table, {**_values(record), **_place(origin)}, origin)


def table_of(name: str, rows: list[Row]) -> pa.Table:
    """The rows as an Arrow table. Raises Refused when a value does not fit its column."""
    written = {key for row in rows for key in row.values}
    schema = arrow_schema(column for column in TABLES[name].columns if column.name in written)
    try:
        return pa.Table.from_pylist([row.values for row in rows], schema=schema)
    except (pa.ArrowException, UnicodeError, OverflowError, TypeError, ValueError) as error:
        fault = type(error).__name__
        raise Refused(f"{name}: a value does not fit its column ({fault})") from error


def _place(origin: Origin) -> Values:
    (topic, partition), offset = origin.place, origin.base + origin.offset
    return {"log_topic": topic, "log_partition": partition, "log_offset": offset}


@cache
def _as_text(kind: type[Record]) -> tuple[str, ...]:
    """Fields that stand in their column as JSON text: records that are no tuple."""
    return tuple(name for name, inner in _records_in(kind) if inner not in TUPLES)


@cache
def _as_tuples(kind: type[Record]) -> tuple[str, ...]:
    """Fields that stand in their column as tuples or arrays of tuples."""
    return tuple(name for name, inner in _records_in(kind) if inner in TUPLES)


def _records_in(kind: type[Record]) -> Iterator[tuple[str, Any]]:
    """Fields that hold records or lists of records, and of what kind."""
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        bare = bare_type(hint)[0]
        inner = typing.get_args(bare)[0] if typing.get_origin(bare) is list else bare
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            yield name, inner


def _values(record: Record) -> Values:
    """Column → value; what is at its default is written too, so that a row says all there is."""
    found = msgspec.structs.asdict(record)
    as_text, as_tuples = _as_text(type(record)), _as_tuples(type(record))
    for name in as_text:
        if found[name] is not None:
            found[name] = codec.canonical(found[name]).decode()
    for name in as_tuples:
        found[name] = _plain(found[name])
    return found


def _plain(value: Any) -> Any:
    """A record, or a list of them, as dicts with every field."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return msgspec.structs.asdict(value)


Rows = list[tuple[str, Values]]


def _signal(origin: Origin, _redact: Redact) -> Rows:
    signal = codec.decode(Signal, origin.value)
    return [("signals_data", {**_values(signal), **_place(origin)})]


def _alert(origin: Origin, _redact: Redact) -> Rows:
    alert = codec.decode(Alert, origin.value)
    place = _place(origin)
    rows: Rows = [
        ("alerts_data", {**_values(alert), **place}),
        ("alerts_log", _logged("alerts_log", alert, origin)),
    ]
    if alert.state is not None:
        state = {**_values(alert.state), "revision": alert.revision, **place}
        rows.append(("agent_state_data", state))
    return rows


def _snapshot(origin: Origin, _redact: Redact) -> Rows:
    snapshot = codec.decode(StateSnapshot, origin.value)
    values = {**_values(snapshot), "revision": origin.offset, **_place(origin)}
    return [
        ("agent_state_data", values),
        ("snapshots_log", _logged("snapshots_log", snapshot, origin)),
    ]


def _logged(table: str, record: Record, origin: Origin) -> Values:
    columns = {column.name for column in TABLES[table].columns}
    kept = {name: value for name, value in _values(record).items() if name in columns}
    return {**kept, **_place(origin), "record": origin.value, "log_cluster": origin.cluster}


def _log(kind: type[Record], table: str) -> Callable[[Origin, Redact], Rows]:
    def rows(origin: Origin, _redact: Redact) -> Rows:
        return [(table, _logged(table, codec.decode(kind, origin.value), origin))]

    return rows


def _data(kind: type[Record], table: str) -> Callable[[Origin, Redact], Rows]:
    def rows(origin: Origin, _redact: Redact) -> Rows:
        return [(table, {**_values(codec.decode(kind, origin.value)), **_place(origin)})]

    return rows


def _dead_letter(origin: Origin, redact: Redact) -> Rows:
    letter = codec.decode(DeadLetter, origin.value)
    values = {**_values(letter), **_place(origin)}
    original = values.pop("original")
    values["item"] = -1 if letter.index is None else letter.index
    values["excerpt"] = excerpt(original, redact) if original else ""
    values["detail"] = redact(letter.detail)
    values["headers"] = {name: redact(value) for name, value in letter.headers.items()}
    return [("dead_letters_data", values)]


def excerpt(original: bytes, redact: Redact) -> str:
    """The beginning of the input as one line of printable, redacted text."""
    text = original[:EXCERPT_FROM_BYTES].decode("utf-8", "replace")
    shown = redact("".join(c if c.isprintable() else " " for c in text))
    return shown if len(shown) <= EXCERPT_CHARS else shown[:EXCERPT_CHARS] + "…"


def unreadable_letter(origin: Origin, at: datetime, tenant: str) -> Row:
    """A dead letter that cannot be read itself: noted by its hash. It is not sent round again."""
    (topic, partition), offset = origin.place, origin.offset
    values = {
        "topic": topic, "partition": partition, "offset": offset, "item": -1,
        "stage": "store", "reason": "mistyped", "detail": "a dead letter that cannot be read",
        "tenant": tenant, "observed_time": at, "size_bytes": len(origin.value),
        "sha256": hashlib.sha256(origin.value).hexdigest(), **_place(origin),
    }  # fmt: skip
    return Row("dead_letters_data", values, origin)


_HANDLERS: dict[str, Callable[[Origin, Redact], Rows]] = {
    "agent.signals": _signal,
    "agent.alerts": _alert,
    "agent.state": _snapshot,
    "agent.control": _log(Directive, "directives_log"),
    "agent.acks": _log(DirectiveAck, "acks_log"),
    "agent.dispositions": _log(Disposition, "dispositions_log"),
    "agent.audit": _log(Access, "audit_log"),
    "agent.dead_letters": _dead_letter,
    "agent.health": _data(Health, "health_data"),
    "agent.incident_members": _data(IncidentMember, "incident_members_data"),
    "agent.incidents": _data(Incident, "incidents_data"),
}
ACTIONS_TOPIC = "agent.actions"
LETTERS_TOPIC = "agent.dead_letters"
TOPICS = (ACTIONS_TOPIC, *_HANDLERS)


def control_record(kind: str, origin: Origin) -> tuple[SessionLink | None, Row | None]:
    """A JSON record of agent.actions:

    what it says and its row; ticks say nothing here. Raises Refused.
    """
    try:
        if kind == "session_link":
            link = codec.decode(SessionLink, origin.value)
            return link, row_of("session_links_data", link, origin)
    except codec.InvalidRecord as error:
        raise Refused(f"mistyped: {error}") from error
    return None, None
