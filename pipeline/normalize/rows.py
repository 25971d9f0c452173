"""Rows to typed columns. A row is a mapping of Action field → value; only fields that occur become
columns.

Fast when all is well: a column is built in one call. Only when a column refuses its type are its
values looked at one by one, and only the rows that hold a bad one are given back with the reason.
"""

import typing
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.raw import BadInput, Row
from tachograph.schemas.action import Action
from tachograph.schemas.batch import ATTRIBUTES, COLUMNS, TIME

# Text that may come as JSON objects or arrays and is kept as JSON text.
JSON_TEXT: Final = frozenset(
    {
        "tool_args", "tool_result", "tool_schema", "tool_definitions", "input_messages",
        "output_messages", "system_instructions", "model_settings", "memory_value", "content_text",
    }
)  # fmt: skip
TEXTS: Final = pl.List(pl.String())
LISTS: Final = frozenset(name for name, dtype in COLUMNS.items() if dtype == TEXTS)
# Closed vocabularies of Action: column → admitted values.
CHOICES: Final[dict[str, list[str]]] = {
    name: sorted(values)
    for name, hint in typing.get_type_hints(Action).items()
    for choice in typing.get_args(hint)
    if (values := typing.get_args(choice)) and typing.get_origin(choice) is typing.Literal
}
_KNOWN_CHOICES: Final = {name: frozenset((None, *words)) for name, words in CHOICES.items()}
_CONTAINERS: Final = (dict, list)
_json = msgspec.json.Encoder().encode
_INT64: Final = 2**63
Faults = dict[int, BadInput]
# With more kinds of rows than this, or fewer rows of a kind, sorting them costs more than it saves.
MOST_KINDS: Final = 64
LEAST_OF_A_KIND: Final = 8


def json_text(value: Any) -> str:
    """Compact JSON of a decoded value; NaN and infinities become null."""
    return _json(value).decode()


def frame(rows: Sequence[Row]) -> tuple[pl.DataFrame, Faults]:
    """Typed columns of the rows, and what is wrong with the bad ones (their cells are null in the
    frame).

    Times are microseconds as int, or RFC 3339 text with an offset. Unknown keys are ignored:
    decoders put them into `attributes`. Never raises on what a producer can send.
    """
    names = set().union(*rows) & COLUMNS.keys() if rows else set()
    _cut_lists(rows, names)
    table = _Table(rows)
    found: Faults = {}
    # In the order of the contract, so that the same rows give the same bytes.
    columns = [_column(name, table.values(name), found) for name in COLUMNS if name in names]
    made = pl.DataFrame(columns)
    if table.order is None:
        return made, found
    return made[table.places(table.order)], {table.order[at]: p for at, p in found.items()}


class _Table:
    """Rows by the names they have: rows of one kind are turned into columns in one go.

    Values come in the order of `order` (None: the rows' own), which `places` undoes.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        groups: dict[tuple[str, ...], list[int]] = {}
        for at, row in enumerate(rows):
            groups.setdefault(tuple(row), []).append(at)
        self._rows = rows
        self._kinds: list[tuple[int, dict[str, tuple[Any, ...]]]] = []
        self.order: list[int] | None = None
        if len(groups) > MOST_KINDS or len(groups) * LEAST_OF_A_KIND > len(rows):
            return
        for names, places in groups.items():
            values = zip(*[rows[at].values() for at in places], strict=True)
            self._kinds.append((len(places), dict(zip(names, values, strict=True))))
        if len(groups) > 1:
            self.order = [at for places in groups.values() for at in places]

    def values(self, name: str) -> list[Any]:
        """The values of one column, None where a row has none."""
        if not self._kinds:
            return [row.get(name) for row in self._rows]
        values: list[Any] = []
        for size, columns in self._kinds:
            values += columns.get(name) or (None,) * size
        return values

    @staticmethod
    def places(order: list[int]) -> pl.Series:
        """Where each row, in their own order, stands among the values."""
        places = np.empty(len(order), np.uint32)
        places[order] = np.arange(len(order), dtype=np.uint32)
        return pl.Series(places)


def _cut_lists(rows: Sequence[Row], names: set[str]) -> None:
    """Lists beyond their limit are cut, and the row says so. In place, `names` too."""
    for name in sorted(LISTS & names):
        for row in rows:
            value = row.get(name)
            if value.__class__ is list and len(value) > limits.LIST_ITEMS:
                row[name] = value[: limits.LIST_ITEMS]
                row["truncated"] = [*row.get("truncated", ()), name]
                names.add("truncated")


def _column(name: str, values: list[Any], faults: Faults) -> pl.Series:
    dtype = COLUMNS[name]
    if dtype == ATTRIBUTES:
        return _attributes(name, values, faults)
    if name in JSON_TEXT:
        values = [json_text(v) if v.__class__ in _CONTAINERS else v for v in values]
    if dtype == TIME:
        return _times(name, values, faults)
    if dtype == TEXTS:
        return _texts(name, values, faults)
    series = _typed(name, values, dtype, faults)
    return series if _admitted(name, values) else _chosen(series, faults)


def _refuse(faults: Faults, at: int, name: str, expected: str) -> None:
    faults.setdefault(at, BadInput("mistyped", f"{name}: expected {expected}"))


def _typed(name: str, values: list[Any], dtype: pl.DataType, faults: Faults) -> pl.Series:
    try:
        return pl.Series(name, values, dtype, strict=True)
    except (TypeError, OverflowError, UnicodeEncodeError, pl.exceptions.PolarsError):
        expected, fits = _CHECKS[dtype.__class__]
        kept = list(values)
        for at, value in enumerate(values):
            if value is not None and not fits(value):
                _refuse(faults, at, name, expected)
                kept[at] = None
        return pl.Series(name, kept, dtype, strict=True)


def _is_text(value: Any) -> bool:
    if value.__class__ is not str:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_whole(value: Any) -> bool:
    return value.__class__ is int and -_INT64 <= value < _INT64


def _is_number(value: Any) -> bool:
    return value.__class__ is float or _is_whole(value)


def _is_flag(value: Any) -> bool:
    return value.__class__ is bool


_CHECKS: Final[dict[type[Any], tuple[str, Callable[[Any], bool]]]] = {
    pl.String: ("text in UTF-8", _is_text),
    pl.Int64: ("a whole number of 64 bits", _is_whole),
    pl.Float64: ("a number", _is_number),
    pl.Boolean: ("true or false", _is_flag),
}


def _admitted(name: str, values: list[Any]) -> bool:
    """Whether all values are of the column's vocabulary, where it has one."""
    known = _KNOWN_CHOICES.get(name)
    try:
        return known is None or known.issuperset(values)
    except TypeError:  # among them is what cannot be hashed
        return False


def _chosen(series: pl.Series, faults: Faults) -> pl.Series:
    """A closed vocabulary: other words are refused, never passed on."""
    allowed = CHOICES[series.name]
    good = series.is_in(allowed) | series.is_null()
    if good.all():
        return series
    for at in (~good).arg_true():
        _refuse(faults, at, series.name, f"one of {', '.join(allowed)}")
    return pl.DataFrame(series).select(pl.when(good).then(series.name)).to_series()


def _times(name: str, values: list[Any], faults: Faults) -> pl.Series:
    kinds = {value.__class__ for value in values}
    if str not in kinds:
        return _typed(name, values, pl.Int64(), faults).cast(TIME)
    text = pl.Series(name, [v if v.__class__ is str else None for v in values], pl.String)
    parsed = text.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
    if kinds - {str, type(None)}:
        numbers = [None if v.__class__ is str else v for v in values]
        parsed = parsed.zip_with(
            text.is_not_null(), _typed(name, numbers, pl.Int64(), faults).cast(TIME)
        )
    if parsed.null_count() > sum(value is None for value in values):
        for at in (parsed.is_null() & text.is_not_null()).arg_true():
            _refuse(faults, at, name, _RFC_3339)
    return parsed


_RFC_3339: Final = "RFC 3339 with an offset, such as 2026-11-22T18:00:00.123456Z"


def _texts(name: str, values: list[Any], faults: Faults) -> pl.Series:
    """Lists of text, through one flat column."""
    flat: list[Any] = []
    sizes = np.zeros(len(values), np.int64)
    for at, value in enumerate(values):
        if value is None:
            continue
        if value.__class__ is list and all(map(_is_text, value)):
            flat.extend(value)
            sizes[at] = len(value)
        else:
            _refuse(faults, at, name, "a list of texts")
    absent = [value is None for value in values]
    return lists(name, sizes, absent, pl.Series(flat, dtype=pl.String))


def lists(name: str, sizes: npt.NDArray[np.int64], absent: Any, flat: pl.Series) -> pl.Series:
    """A list column of the flat values: how many each row has, and which rows have no list."""
    offsets = np.concatenate(([0], np.cumsum(sizes)))
    mask = pa.array(absent, pa.bool_())
    array = pa.LargeListArray.from_arrays(pa.array(offsets), flat.to_arrow(), mask=mask)
    return pl.Series(name, pl.from_arrow(array), dtype=pl.List(flat.dtype))


def _attributes(name: str, values: list[Any], faults: Faults) -> pl.Series:
    """Name to text; what is no text becomes JSON text. Through two flat columns: per pair, not per
    row.
    """
    keys: list[str] = []
    texts: list[Any] = []
    sizes = np.zeros(len(values), np.int64)
    for at, value in enumerate(values):
        if value.__class__ is dict:
            keys.extend(value)
            texts.extend(value.values())
            sizes[at] = len(value)
        elif value is not None:
            _refuse(faults, at, name, "an object of names and texts")
    texts = [text if text.__class__ is str else json_text(text) for text in texts]
    pairs = pl.DataFrame(
        {
            "key": pl.Series(_utf8(keys), dtype=pl.String),
            "value": pl.Series(_utf8(texts), dtype=pl.String),
        }
    ).to_struct()
    return lists(name, sizes, sizes == 0, pairs)


def _utf8(texts: list[str]) -> list[str]:
    """Lone surrogates, which no UTF-8 can carry, become replacement marks."""
    if all(map(str.isascii, texts)) or all(map(_is_text, texts)):
        return texts
    return [text.encode("utf-8", "replace").decode() for text in texts]
