"""Values of fields in SQL over stored actions: where they are, and when they are there at all.

The store keeps absent text as '' and absent lists as empty (see the store's columns), so a field
has a value where it is not that; a number, a flag or a time where it is not NULL.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import polars as pl

from tachograph.detectors.language.fields import ACTIONS, Source
from tachograph.detectors.reference import catalogue
from tachograph.detectors.sql.derived import computed
from tachograph.detectors.sql.text import NotExpressible, literal, name
from tachograph.schemas.batch import ATTRIBUTES, COLUMNS

Kind = Literal["text", "whole", "real", "flag", "time", "texts"]
KINDS = {**COLUMNS, **catalogue.COLUMNS}
# A double that is whole is written with its zero.
_WITH_POINT = "if(match({0}, '[.eni]'), {0}, concat({0}, '.0'))"


@dataclass(frozen=True, slots=True)
class Value:
    """One value: its expression, its kind, and the condition that it is there."""

    sql: str
    kind: Kind
    present: str

    def text(self, *, lowered: bool = False) -> str:
        """The value as text (of a list: its elements), in lower case if asked."""
        if self.kind == "texts":
            return f"arrayMap(t -> lowerUTF8(t), {self.sql})" if lowered else self.sql
        text = _TEXTS[self.kind](self.sql)
        # Numbers, flags and times have no capitals but those of a time.
        return f"lowerUTF8({text})" if lowered and self.kind in {"text", "time"} else text

    def holds(self, test: Callable[[str], str], *, lowered: bool = False) -> str:
        """Whether a test holds of the value's text; of a list, of any of its elements."""
        if self.kind == "texts":
            element = "lowerUTF8(t)" if lowered else "t"
            return f"arrayExists(t -> {test(element)}, {self.sql})"
        asked = test(self.text(lowered=lowered))
        return f"({self.present} AND {asked})" if self.kind == "text" else _never_null(asked)


def _never_null(condition: str) -> str:
    return f"ifNull({condition}, false)"


_TEXTS: dict[Kind, Callable[[str], str]] = {
    "text": lambda sql: sql,
    "whole": lambda sql: f"toString({sql})",
    "real": lambda sql: _WITH_POINT.format(f"toString({sql})"),
    "flag": lambda sql: f"toString({sql})",
    "time": lambda sql: f"formatDateTime({sql}, '%Y-%m-%dT%H:%i:%S.%fZ', 'UTC')",
}


class Values:
    """Where each field of a rule is; `columns` names the columns asked for, in order."""

    def __init__(self) -> None:
        self.columns: dict[str, None] = {}

    def of(self, field: str) -> Value:
        """The value of a field. Raises NotExpressible."""
        return self.at(ACTIONS.source(field), field)

    def at(self, source: Source, field: str) -> Value:
        """The value at a place; `field` is what a rule calls it. Raises NotExpressible."""
        if source.column not in COLUMNS and not computed(source.column):
            what = "reference data" if source.column in catalogue.COLUMNS else "found by detect"
            raise NotExpressible(f"{field} is {what}, which no stored action has")
        column = self._column(source.column)
        if source.path is not None:
            return _member(column, source.path[2:-1].split("']['"))
        if source.attribute is not None:
            key = literal(source.attribute)
            return Value(f"{column}[{key}]", "text", f"mapContains({column}, {key})")
        return _whole(column, KINDS[source.column])

    def keywords(self) -> Value:
        """Every text of an action that a keyword is looked for in, as one list."""
        columns = ACTIONS.keyword_columns(ACTIONS.columns or {})
        # What is measured of a window stands on no stored action.
        found = [_whole(self._column(one), COLUMNS[one]) for one in columns if one in COLUMNS]
        plain = ", ".join(value.sql for value in found if value.kind == "text")
        lists = ", ".join(value.sql for value in found if value.kind == "texts")
        texts = f"arrayConcat(arrayFilter(t -> t != '', [{plain}]), {lists})"
        return Value(texts, "texts", "true")

    def _column(self, column: str) -> str:
        self.columns[column] = None
        return name(column)


def _whole(column: str, kind: pl.DataType) -> Value:
    if kind == pl.String():
        return Value(column, "text", f"{column} != ''")
    if kind == ATTRIBUTES:
        return Value(f"mapValues({column})", "texts", f"notEmpty({column})")
    if isinstance(kind, pl.List):
        return Value(column, "texts", f"notEmpty({column})")
    present = f"isNotNull({column})"
    if kind == pl.Boolean():
        return Value(column, "flag", present)
    if isinstance(kind, pl.Datetime):
        return Value(column, "time", present)
    return Value(column, "real" if kind.is_float() else "whole", present)


def _member(column: str, keys: list[str]) -> Value:
    """A member of the JSON text in a column, as text: null is no value."""
    keys = [key.strip("'") for key in keys]
    path = ", ".join([column, *map(literal, keys)])
    raw = f"JSONExtractRaw({path})"
    text = (
        f"multiIf(JSONType({path}) = 'String', JSONExtractString({path}),"
        f" JSONType({path}) = 'Double', {_WITH_POINT.format(raw)}, {raw})"
    )
    return Value(text, "text", f"JSONType({path}) != 'Null'")
