"""Any JSON objects as frames: nested names joined with dots, values as text or lists of texts.

Only the columns that somebody asks for are made. Our own begin with `~`.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from types import NoneType
from typing import Any

import msgspec
import polars as pl

from tachograph.detectors.matching.times import TIME, moments

MAX_DEPTH = 32
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
MAX_COLUMNS = 4_096
_PLAIN: tuple[tuple[set[type], pl.DataType], ...] = (
    ({str, NoneType}, pl.String()),
    ({int, NoneType}, pl.Int64()),
    ({float, NoneType}, pl.Float64()),
    ({bool, NoneType}, pl.Boolean()),
)
_CLOSED = frozenset({dict, list})


class RawColumns:
    """Collects objects, block by block, as columns. `dropped` counts values beyond the limits."""

    def __init__(self, asked: Collection[str] | None, mixed: set[str]) -> None:
        """`asked`: names of the columns to make; None: all. `mixed`: names that held more than
        texts before; those that do are added.
        """
        self._asked = None if asked is None else frozenset(asked)
        self._mixed = mixed
        # What has to be looked into for them.
        self._heads = frozenset(name[:at] for name in asked or () for at in _dots(name))
        # By name, texts of blocks as columns; where any block holds something else, the values.
        self._texts: dict[str, list[pl.Series]] = {}
        self._values: dict[str, list[Any]] = {}
        # The rows that each name has so far.
        self._heights: dict[str, int] = {}
        self._height = 0
        self.dropped = 0

    def take(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Take in a block: small enough, and all of it is still in the processor's cache."""
        count = len(objects)
        columns: defaultdict[str, list[Any]] = defaultdict(lambda: [None] * count)
        # Cheaper than asking each object for every name: most have few of them.
        for row, item in enumerate(objects):
            for name, value in item.items():
                columns[name][row] = value
        self._take(columns, count)

    def take_asked(self, names: Sequence[str], objects: Sequence[msgspec.Struct]) -> None:
        """Take in a block of objects that were decoded to just these names."""
        values = zip(*map(msgspec.structs.astuple, objects), strict=True)
        self._take(dict(zip(names, values, strict=False)), len(objects))

    def _take(self, columns: Mapping[str, Sequence[Any]], count: int) -> None:
        held = {
            name: values
            for name, values in columns.items()
            if (self._wanted(name) or name in self._heads)
            and not _says_nothing(values)
            and self._known(name, values)
        }
        texts = self._only_texts(held, count)
        for name, values in held.items():
            self._hold(name, values, texts.get(name))
        self._height += count

    def _only_texts(self, held: Mapping[str, Sequence[Any]], count: int) -> dict[str, pl.Series]:
        """Those of some columns of a block that are wanted as texts and hold nothing else."""
        held_open = self._values.keys() | self._mixed
        names = [name for name in held if name not in held_open and self._wanted(name)]
        # Making a column costs more than what is in it: all of them are made as one.
        whole = _only_texts("", list(chain.from_iterable(held[name] for name in names)))
        if whole is not None:
            return {
                name: whole.slice(at * count, count).alias(name) for at, name in enumerate(names)
            }
        found = ((name, _only_texts(name, held[name])) for name in names)
        texts = {name: made for name, made in found if made is not None}
        if len(self._mixed) < MAX_COLUMNS:
            self._mixed.update(name for name in names if name not in texts)
        return texts

    def _hold(self, name: str, values: Sequence[Any], texts: pl.Series | None) -> None:
        """Keep values: texts as a column at once, while they are still in the cache."""
        if texts is None:
            held = self._values_of(name)
            held += [None] * (self._height - len(held))
            held += values
        else:
            self._texts_of(name).append(texts)
        self._heights[name] = self._height + len(values)

    def _texts_of(self, name: str) -> list[pl.Series]:
        """The texts of a name, as many as there are rows."""
        texts = self._texts.setdefault(name, [])
        if lacking := self._height - self._heights[name]:
            texts.append(pl.repeat(None, lacking, dtype=pl.String, eager=True).alias(name))
        return texts

    def _values_of(self, name: str) -> list[Any]:
        """The values of a name, from now on no longer as columns."""
        values = self._values.setdefault(name, [])
        for block in self._texts.pop(name, ()):
            values += block.to_list()
        return values

    def _wanted(self, name: str) -> bool:
        return self._asked is None or name in self._asked

    def _known(self, name: str, values: Collection[Any]) -> bool:
        if name in self._heights:
            return True
        if not _named(name) or len(self._heights) >= MAX_COLUMNS:
            self.dropped += sum(value is not None for value in values) if name else 0
            return False
        self._heights[name] = 0
        return True

    def columns(self) -> list[pl.Series]:
        """What was collected; a column without any value is none."""
        for name in list(self._values):
            if not _CLOSED.isdisjoint(map(type, self._values[name])):
                self._open(name)
        found = [
            pl.concat(self._texts_of(name)) if name in self._texts else self._of_values(name)
            for name in self._heights
            if self._wanted(name)
        ]
        return [column for column in found if column.null_count() < len(column)]

    def _of_values(self, name: str) -> pl.Series:
        values = self._values[name]
        return _dense(name, values + [None] * (self._height - len(values)))

    def _open(self, name: str) -> None:
        """Take a column apart that holds objects or lists; names within may be columns already."""
        found: dict[str, dict[int, Any]] = {}
        for row, whole in enumerate(self._values.pop(name)):
            for inner, value in _flat(name, whole):
                of_row = found.setdefault(inner, {})
                of_row[row] = _both(of_row[row], value) if row in of_row else value
        del self._heights[name]
        for inner, of_row in found.items():
            if self._wanted(inner) and self._known(inner, of_row.values()):
                self._add(inner, of_row)

    def _add(self, name: str, found: dict[int, Any]) -> None:
        """Values of a name that objects of this frame may have by another way too."""
        values = self._values_of(name)
        values += [None] * (self._height - len(values))
        for row, value in found.items():
            before = values[row]
            values[row] = value if before is None else _both(before, value)
        self._heights[name] = self._height


class RawFrames:
    """Makes frames of objects. `dropped` counts values beyond the limits."""

    def __init__(self, asked: Collection[str] | None = None) -> None:
        """`asked`: names of the columns to make; None: all."""
        self._asked = asked
        self._mixed: set[str] = set()
        self.dropped = 0

    @property
    def read(self) -> set[str] | None:
        """Names, on the outside of an object, that its columns are made of; None: all."""
        if self._asked is None:
            return None
        heads = {name[:at] for name in self._asked for at in _dots(name)}
        return {name for name in heads.union(self._asked) if _named(name)}

    def frame(
        self, objects: Sequence[Mapping[str, Any]], ids: Sequence[str], times_us: Sequence[int]
    ) -> pl.DataFrame:
        """One row per object, with `~event_id` and `~event_time` (UTC microseconds) beside its
        fields.
        """
        columns = self.collecting()
        columns.take(objects)
        return self._made(columns.columns(), ids, pl.Series(times_us, dtype=pl.Int64).cast(TIME))

    def collecting(self) -> RawColumns:
        """Begin a frame."""
        return RawColumns(self._asked, self._mixed)

    def collected(
        self, columns: RawColumns, ids: Sequence[str], times: Sequence[str]
    ) -> pl.DataFrame:
        """The frame of what was collected. `times`: fields that may say when it was, asked in this
        order; dots lead into nested objects.
        """
        made = columns.columns()
        self.dropped += columns.dropped
        by_name = {column.name: column for column in made}
        # Events without a time have one, so that windows see them at one moment.
        when = pl.Series([None] * len(ids), dtype=TIME)
        for name in times:
            column = by_name.get(name)
            if column is not None and column.dtype == pl.String and when.null_count():
                when = when.fill_null(moments(column))
        return self._made(made, ids, when.fill_null(_NO_TIME))

    @staticmethod
    def _made(columns: Sequence[pl.Series], ids: Sequence[str], when: pl.Series) -> pl.DataFrame:
        own = [pl.Series("~event_id", ids, pl.String), when.alias("~event_time")]
        return pl.DataFrame([*own, *columns])


def _named(name: str) -> bool:
    """Whether a field of this name may be a column."""
    return bool(name) and not name.startswith("~")


def _dots(name: str) -> list[int]:
    return [at for at, char in enumerate(name) if char == "."]


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    """The values within, by name, in order. What holds others is there itself, with nothing of its
    own to say: an empty list.
    """
    found: list[tuple[str, Any]] = []
    stack: list[tuple[str, Any, int]] = [(name, value, 0)]
    while stack:
        name, value, depth = stack.pop()
        inner: list[tuple[str, Any, int]] | None = None
        if depth < MAX_DEPTH and isinstance(value, dict):
            inner = [(f"{name}.{key}", part, depth + 1) for key, part in value.items()]
        elif depth < MAX_DEPTH and isinstance(value, list):
            inner = [(name, part, depth + 1) for part in value]
        if inner is not None:
            stack += reversed(inner)
            value = []
        if value is not None:
            found.append((name, value))
    return found


def _both(one: Any, other: Any) -> list[Any]:
    first = one if isinstance(one, list) else [one]
    return first + (other if isinstance(other, list) else [other])


def _says_nothing(values: Sequence[Any]) -> bool:
    return not any(values) and values.count(None) == len(values)


def _only_texts(name: str, values: Sequence[Any]) -> pl.Series | None:
    """The values as texts, if nothing else is among them."""
    try:
        return pl.Series(name, values, pl.String)
    except (TypeError, OverflowError):  # a whole number too large for any column
        return None


def _dense(name: str, values: list[Any]) -> pl.Series:
    """Texts; where any value is a list, lists of texts."""
    kinds = set(map(type, values))
    for plain, kind in _PLAIN:
        if kinds <= plain:
            try:
                return pl.Series(name, values, kind).cast(pl.String)
            except (TypeError, OverflowError):  # a whole number too large for a column
                break
    if list in kinds:
        return pl.Series(name, [_listed(value) for value in values], pl.List(pl.String))
    return pl.Series(name, [None if v is None else _text(v) for v in values], pl.String)


def _listed(value: Any) -> list[str] | None:
    if value is None:
        return None
    items = value if isinstance(value, list) else [value]
    return [_text(item) for item in items if item is not None]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
