"""Any JSON objects as frames: nested names joined with dots, lists of texts, numbers as
numbers.

A column's type only ever widens (number, text, list of texts), so that rules are compiled a few
times, not once a batch. Our own columns begin with `~`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import polars as pl

from tachograph.detectors.matching.times import TIME

Shape = Literal["flag", "whole", "real", "text", "texts"]

MAX_DEPTH = 32
MAX_COLUMNS = 4_096
_ORDER: tuple[Shape, ...] = ("flag", "whole", "real", "text", "texts")
_TYPES: dict[Shape, pl.DataType] = {
    "flag": pl.Boolean(),
    "whole": pl.Int64(),
    "real": pl.Float64(),
    "text": pl.String(),
    "texts": pl.List(pl.String),
}
_INT64 = range(-(2**63), 2**63)


class RawFrames:
    """Makes frames of objects; remembers columns. `dropped` counts values beyond the limits."""

    def __init__(self) -> None:
        self._shapes: dict[str, Shape] = {}
        self.dropped = 0

    def frame(
        self, objects: Sequence[Mapping[str, Any]], ids: Sequence[str], times_us: Sequence[int]
    ) -> pl.DataFrame:
        """One row per object, with `~event_id` and `~event_time` (UTC microseconds) beside its
        fields.
        """
        rows = [self._flat(item) for item in objects]
        columns = {
            name: pl.Series(name, [_as(row.get(name), shape) for row in rows], _TYPES[shape])
            for name, shape in self._shapes.items()
        }
        own = {
            "~event_id": pl.Series("~event_id", ids, pl.String),
            "~event_time": pl.Series("~event_time", times_us, pl.Int64).cast(TIME),
        }
        return pl.DataFrame([*own.values(), *columns.values()])

    def _flat(self, item: Mapping[str, Any]) -> dict[str, Any]:
        flat: dict[str, Any] = {}
        stack: list[tuple[str, Any, int]] = [("", item, 0)]
        while stack:
            name, value, depth = stack.pop()
            if isinstance(value, Mapping) and depth < MAX_DEPTH:
                prefix = f"{name}." if name else ""
                stack += [(f"{prefix}{key}", inner, depth + 1) for key, inner in value.items()]
            elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
                stack += [(name, inner, depth + 1) for inner in reversed(value)]
            elif value is not None and name and self._note(name, value):
                flat[name] = _both(flat[name], value) if name in flat else value
        for name, value in flat.items():
            self._widen(name, _shape(value))
        return flat

    def _note(self, name: str, value: object) -> bool:
        if name in self._shapes:
            return True
        if name.startswith("~") or len(self._shapes) >= MAX_COLUMNS:
            self.dropped += 1
            return False
        self._shapes[name] = _shape(value)
        return True

    def _widen(self, name: str, shape: Shape) -> None:
        known = self._shapes[name]
        if shape == known:
            return
        if "flag" in {shape, known}:
            shape = "texts" if "texts" in {shape, known} else "text"
        self._shapes[name] = max(known, shape, key=_ORDER.index)


def _shape(value: object) -> Shape:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, int):
        return "whole" if value in _INT64 else "text"
    if isinstance(value, float):
        return "real"
    return "texts" if isinstance(value, list) else "text"


def _both(one: Any, other: Any) -> list[Any]:
    first = one if isinstance(one, list) else [one]
    return first + (other if isinstance(other, list) else [other])


def _as(value: Any, shape: Shape) -> Any:
    if value is None:
        return None
    if shape == "texts":
        items = value if isinstance(value, list) else [value]
        return [_text(item) for item in items if item is not None]
    return _text(value) if shape == "text" else value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()
