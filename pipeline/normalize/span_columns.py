"""Spans of agents to columns of actions: which attribute is which field, a name at a time.

The kind comes from gen_ai.operation.name, mcp.method.name, openinference.span.kind,
traceloop.span.kind or what some library has in their stead; a client span of plain HTTP is an
`http` action. Other spans tell nothing of an agent: they are left out and counted, and so are
CHAIN, workflow and task spans, which only wrap others (but they still name sessions).
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from tachograph.pipeline.normalize import genai, vocabulary
from tachograph.pipeline.normalize.rows import TEXTS
from tachograph.pipeline.normalize.spans import NONE, TEXT, WHOLE, Spans
from tachograph.pipeline.normalize.wire import Bools, Ints
from tachograph.schemas.batch import COLUMNS

CLIENT: Final = 3
WRAPPER: Final = "wrapper"

Kept = dict[str, pl.Series]


class Attributes:
    """Attributes of some spans, asked by name. What no field takes is left."""

    def __init__(self, spans: Spans) -> None:
        self.pairs = spans.pairs
        self._size = len(spans)
        order = np.argsort(self.pairs.key, kind="stable")
        sizes = np.bincount(self.pairs.key, minlength=len(self.pairs.keys))
        ends = np.cumsum(sizes).tolist()
        self._rows = {
            name: order[end - size : end]
            for name, size, end in zip(self.pairs.keys, sizes.tolist(), ends, strict=True)
            if size
        }
        sizes_bytes = self.pairs.text.str.len_bytes().fill_null(0).to_numpy()
        code = self.pairs.code
        self.blank: Bools = (code == NONE) | (code == TEXT) & (sizes_bytes == 0)
        self.left: Bools = code != NONE

    @property
    def names(self) -> list[str]:
        """Names that any span has."""
        return list(self._rows)

    def rows(self, name: str) -> Ints:
        """Rows of an attribute, a span each, ascending."""
        found = self._rows.get(name)
        return _NO_ROWS if found is None else found

    def spans(self, rows: Ints) -> Ints:
        """The spans of some rows."""
        return self.pairs.owner[rows]

    def has(self, *names: str) -> Bools:
        """Which spans have one of the attributes, whatever its value."""
        found = np.zeros(self._size, np.bool_)
        for name in names:
            found[self.spans(self.rows(name))] = True
        return found

    def pick(self, rows: Ints) -> Ints:
        """The row of each span among these, -1 where it has none."""
        found = np.full(self._size, -1, np.int64)
        found[self.spans(rows)] = rows
        return found

    def texts(self, pick: Ints) -> pl.Series:
        """The values of picked rows as text, null where there is none."""
        absent = pick < 0
        if not absent.any():
            return self.pairs.text.gather(pick)
        places = pl.Series(pl.from_arrow(pa.array(pick, mask=absent)), dtype=pl.Int64)
        return self.pairs.text.gather(places)

    def text_of(self, name: str) -> pl.Series:
        """The texts of an attribute that are texts and not empty, for every span."""
        rows = self.rows(name)
        rows = rows[(self.pairs.code[rows] == TEXT) & ~self.blank[rows]]
        return self.texts(self.pick(rows))


_NO_ROWS: Final = np.empty(0, np.int64)


def kinds(spans: Spans, attributes: Attributes) -> pl.Series:
    """Kind of action of each span; WRAPPER of those that only wrap; null: nothing of an agent."""
    known: list[pl.Expr] = []
    columns: dict[str, pl.Series] = {}
    for name, (table, default) in _KINDS.items():
        if len(attributes.rows(name)):
            columns[name] = attributes.text_of(name)
            known.append(pl.col(name).replace_strict(table, default=default))
    known = [pl.when(pl.col(n).is_not_null()).then(e) for n, e in zip(columns, known, strict=True)]
    columns["model"] = pl.Series(attributes.has(*_MODEL_CALL))
    columns["http"] = pl.Series(attributes.has(*_HTTP_CALL) & (spans.kind == CLIENT))
    columns["tool"] = pl.Series(attributes.has("gen_ai.tool.name"))
    by_presence = (
        pl.when("model").then(pl.lit("completion"))
        .when("http").then(pl.lit("http"))
        .when("tool").then(pl.lit("tool_call"))
    )  # fmt: skip
    return pl.DataFrame(columns).select(pl.coalesce(*known, by_presence)).to_series()


# Attribute → the kind that each of its values means, and what any other value means.
_KINDS: Final[dict[str, tuple[dict[str, str], str | None]]] = {
    "gen_ai.operation.name": (vocabulary.OPERATIONS, "other"),
    "mcp.method.name": (vocabulary.METHODS, "other"),
    "openinference.span.kind": (
        {**vocabulary.OPENINFERENCE, **dict.fromkeys(vocabulary.WRAPPERS, WRAPPER)}, "other",
    ),
    "traceloop.span.kind": (
        {**vocabulary.TRACELOOP, **dict.fromkeys(vocabulary.WRAPPERS, WRAPPER)}, "other",
    ),
    "ai.operationId": (vocabulary.AI_SDK, WRAPPER),
    "span.type": (vocabulary.SPAN_TYPES, None),
}  # fmt: skip
_MODEL_CALL: Final = ("gen_ai.request.model", "gen_ai.system", "llm.request.type", "llm.model_name")
_HTTP_CALL: Final = ("http.request.method", "http.method")


def fields(attributes: Attributes, wanted: Sequence[str] | None = None) -> Kept:
    """Attributes as columns of Action; what fits none of them is left. `wanted`: no others."""
    today: dict[str, list[str]] = {}
    before: dict[str, list[str]] = {}
    for name in attributes.names:
        if name in vocabulary.NEW:
            today.setdefault(vocabulary.NEW[name], []).append(name)
        elif name in vocabulary.OLD:
            before.setdefault(vocabulary.OLD[name], []).append(name)
    found: Kept = {}
    for field in dict.fromkeys((*today, *before)):
        if wanted is None or field in wanted:
            reader = _READERS.get(str(COLUMNS[field]), _Reader)(attributes, field)
            pick = _picked(attributes, reader, today.get(field, ()), before.get(field, ()))
            if (pick >= 0).any():
                found[field] = reader.column(pick)
    return found


def _picked(
    attributes: Attributes, reader: "_Reader", today: Sequence[str], before: Sequence[str]
) -> Ints:
    """The row that gives each span its field: the last of today's names, else the first of the old
    ones. All others but empty ones are left.
    """
    pick = attributes.pick(_NO_ROWS)
    for name in today:
        rows = attributes.rows(name)
        fit = reader.fit(rows)
        attributes.left[rows[fit | attributes.blank[rows]]] = False
        owner = attributes.spans(rows[fit])
        pick[owner] = np.maximum(pick[owner], rows[fit])
    if before:
        _pick_old(attributes, reader, before, pick)
    return pick


def _pick_old(attributes: Attributes, reader: "_Reader", names: Sequence[str], pick: Ints) -> None:
    lacking = pick < 0
    for name in names:
        rows = attributes.rows(name)
        rows = rows[reader.fit(rows)]
        owner = attributes.spans(rows)
        rows, owner = rows[lacking[owner]], owner[lacking[owner]]
        pick[owner] = np.where(pick[owner] < 0, rows, np.minimum(pick[owner], rows))
    for name in names:
        rows = attributes.rows(name)
        owner = attributes.spans(rows)
        taken = pick[owner] == rows
        # An empty value is none, unless another one came before it.
        empty = attributes.blank[rows] & lacking[owner]
        empty &= (pick[owner] < 0) | (rows < pick[owner])
        attributes.left[rows[taken | empty]] = False


class _Reader:
    """Values of attributes as those of one column of text; every value fits."""

    def __init__(self, attributes: Attributes, field: str) -> None:
        self._attributes, self._field = attributes, field

    def fit(self, rows: Ints) -> Bools:
        """Which of the rows hold a value that fits."""
        return ~self._attributes.blank[rows]

    def column(self, pick: Ints) -> pl.Series:
        """The column with the picked values."""
        return self._attributes.texts(pick)


class _Converted(_Reader):
    """Values that are looked at one by one, as they are few or of a rare type."""

    def __init__(self, attributes: Attributes, field: str) -> None:
        super().__init__(attributes, field)
        self._found: dict[int, Any] = {}

    def fit(self, rows: Ints) -> Bools:
        """See _Reader."""
        present = ~self._attributes.blank[rows]
        pairs = self._attributes.pairs
        for at in rows[present].tolist():
            self._found[at] = genai.fitted(self._field, pairs.value(at))
        fit = [self._found.get(at) is not None for at in rows.tolist()]
        return np.array(fit, np.bool_)

    def column(self, pick: Ints) -> pl.Series:
        """See _Reader."""
        values = [self._found.get(at) for at in pick.tolist()]
        return pl.Series(values, dtype=COLUMNS[self._field], strict=True)


class _Wholes(_Converted):
    """Whole numbers: those that came as numbers all at once."""

    def fit(self, rows: Ints) -> Bools:
        """See _Reader."""
        plain: Bools = self._attributes.pairs.code[rows] == WHOLE
        if plain.all():
            return plain
        fit = np.ones(len(rows), np.bool_)
        fit[~plain] = super().fit(rows[~plain])
        return fit

    def column(self, pick: Ints) -> pl.Series:
        """See _Reader."""
        pairs = self._attributes.pairs
        values = pairs.number.view(np.int64)[pick]
        for at in np.flatnonzero((pick >= 0) & (pairs.code[pick] != WHOLE)).tolist():
            values[at] = self._found[int(pick[at])]
        made = pl.Series(values)
        return made if (pick >= 0).all() else _blanked(made, pick < 0)


_READERS: Final[dict[str, type[_Reader]]] = {
    "Int64": _Wholes,
    "Float64": _Converted,
    "Boolean": _Converted,
    str(TEXTS): _Converted,
}


def _blanked(column: pl.Series, where: Bools) -> pl.Series:
    return pl.select(pl.when(~pl.Series(where)).then(column)).to_series()
