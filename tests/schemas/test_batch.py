"""An Action batch has the columns of Action, and what goes in comes out."""

import typing
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.schemas import batch, contracts
from tachograph.schemas.action import Action
from tachograph.schemas.codec import InvalidRecord, decode, encode

FIELDS = msgspec.structs.fields(Action)
POLARS_OF = {
    str: pl.String(),
    int: pl.Int64(),
    float: pl.Float64(),
    bool: pl.Boolean(),
    datetime: pl.Datetime("us", "UTC"),
    list[str]: pl.List(pl.String()),
    dict[str, str]: pl.List(pl.Struct({"key": pl.String, "value": pl.String})),
}

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
TIMES = st.integers(0, 4_000_000_000_000_000).map(lambda us: EPOCH + timedelta(microseconds=us))
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    datetime: TIMES,
    list[str]: st.lists(TEXT, max_size=3),
    dict[str, str]: st.dictionaries(TEXT, TEXT, max_size=3),
}


def _plain(hint: Any) -> Any:
    """The annotation without its documentation and without None."""
    if typing.get_origin(hint) is Annotated:
        return _plain(typing.get_args(hint)[0])
    if typing.get_origin(hint) is typing.Literal:
        return str
    options = [arg for arg in typing.get_args(hint) if arg is not type(None)]
    if type(None) in typing.get_args(hint):
        return _plain(options[0])
    return hint


HINTS = {
    name: _plain(hint) for name, hint in typing.get_type_hints(Action, include_extras=True).items()
}


def _values(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[Any]:
    literal = [arg for arg in typing.get_args(field.type) if typing.get_origin(arg)]
    for arg in (field.type, *literal, *typing.get_args(field.type)):
        inner = typing.get_args(arg)[0] if typing.get_origin(arg) is Annotated else arg
        for option in (inner, *typing.get_args(inner)):
            if typing.get_origin(option) is typing.Literal:
                return st.sampled_from(typing.get_args(option))
    return VALUES[HINTS[field.name]]


@st.composite
def actions(draw: st.DrawFn) -> Action:
    """An action with its time and a few more fields set: any value that a field's type admits."""
    chosen = draw(
        st.lists(st.sampled_from(FIELDS), max_size=12, unique_by=lambda field: field.name)
    )
    values = {field.name: draw(_values(field)) for field in chosen}
    return Action(**({"event_time": EPOCH} | values))


def _frame(rows: list[Action]) -> pl.DataFrame:
    def column(name: str) -> list[Any]:
        cells = [getattr(row, name) for row in rows]
        if name != "attributes":
            return cells
        return [c and [{"key": k, "value": v} for k, v in c.items()] for c in cells]

    return pl.DataFrame({name: column(name) for name in batch.COLUMNS}, schema=batch.COLUMNS)


def test_columns_are_the_fields_in_the_same_order() -> None:
    assert list(batch.COLUMNS) == [field.name for field in FIELDS]


@pytest.mark.parametrize("name", HINTS)
def test_a_column_has_the_type_of_its_field(name: str) -> None:
    assert batch.COLUMNS[name] == POLARS_OF[HINTS[name]]


def test_an_arrow_reader_sees_the_same_columns_and_microseconds_in_utc() -> None:
    schema = batch.empty().to_arrow().schema
    assert schema.names == [field.name for field in FIELDS]
    times = [name for name, hint in HINTS.items() if hint is datetime]
    assert {str(schema.field(name).type) for name in times} == {"timestamp[us, tz=UTC]"}


@settings(max_examples=60, deadline=None)
@given(st.lists(actions(), min_size=1, max_size=5))
def test_a_batch_comes_back_as_it_was(rows: list[Action]) -> None:
    frame = _frame(rows)
    back = batch.complete(batch.decode(batch.encode(frame)), list(batch.COLUMNS))
    assert back.schema == frame.schema
    assert back.rows() == frame.rows()


def test_a_column_without_a_value_is_not_carried() -> None:
    frame = _frame([Action(kind="prompt", event_time=EPOCH)])
    assert set(batch.decode(batch.encode(frame)).columns) == {"kind", "event_time"}


def test_only_the_columns_asked_for_are_read() -> None:
    payload = batch.encode(_frame([Action(kind="prompt", tool_name="x", event_time=EPOCH)]))
    assert batch.decode(payload, ["tool_name"]).columns == ["tool_name"]


def test_a_batch_of_a_newer_writer_is_read_with_its_unknown_column() -> None:
    frame = _frame([Action(kind="prompt")]).with_columns(later=pl.lit(1))
    back = batch.decode(batch.encode(frame))
    assert "later" in back.columns
    assert batch.complete(back, ["kind", "tool_name"]).rows() == [("prompt", None)]


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_bytes_that_are_no_batch_raise_what_the_docstring_says(payload: bytes) -> None:
    with pytest.raises((pl.exceptions.PolarsError, OSError)):
        batch.decode(b"no arrow: " + payload)


def test_an_empty_record_is_no_batch() -> None:
    with pytest.raises(pl.exceptions.PolarsError):
        batch.decode(b"")


@settings(max_examples=80, deadline=None)
@given(actions())
def test_an_action_comes_back_from_json_as_it_was(action: Action) -> None:
    assert decode(Action, encode(action)) == action


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(sorted(contracts.records())))
def test_any_bytes_decode_or_are_refused_and_nothing_else(payload: bytes, record: str) -> None:
    contract = contracts.records()[record]
    if contract.struct is None:
        return
    with suppress(InvalidRecord):
        decode(contract.type, payload)


def test_deep_nesting_is_refused_rather_than_a_crash() -> None:
    payload = b'{"x":' * 100_000 + b"1" + b"}" * 100_000
    with pytest.raises((InvalidRecord, RecursionError)):
        decode(Action, payload)
