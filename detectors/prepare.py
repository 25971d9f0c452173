"""A batch of actions as the rules need it: absent columns as nulls, what a producer left out by
default, and what the reference data says of it.

Risk and trust of a tool are what the operator's register says, else what the producer says, else a
guess by the verbs in its name (see tool_classes).
"""

import functools
from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from tachograph.detectors import tool_classes
from tachograph.detectors.facts import ALWAYS_FACTS, FACT_COLUMNS
from tachograph.detectors.frames import rows_at
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.reference import catalogue
from tachograph.detectors.reference.joins import Joiner, nulls
from tachograph.detectors.reference.reference import Reference
from tachograph.detectors.reference.tools import RISK, TRUST
from tachograph.schemas.batch import COLUMNS, JUDGED

_MARKS = ("late", "far", "source_id", "source_kind")
# Columns that a prepared frame has even where the batch has not.
ALWAYS = (*ALWAYS_FACTS, "kind", "tool_name", "tool_result", "tool_risk", "content_trust")
_DERIVED_FROM = ("tool_name", "kind", "tool_result")
# Columns filled by default → what is joined for it.
_FILLED = {
    "tool_risk": (RISK,),
    "content_trust": ("source_trust", TRUST),
    "tool_sink": ("tool_sink", RISK, "tool_risk"),
    "canary_id": ("canary_name",),
}
DEFAULT_TENANT = "default"
# Sets of tools whose classes are kept ready.
MAX_READY = 64


def preparation(
    rules: RuleSet, fields: FieldMap, also: Sequence[str] = ()
) -> "Callable[[pl.DataFrame], pl.DataFrame]":
    """Makes frames of actions ready for these rules, and for who reads the columns `also`."""
    columns = [*rules.columns, *also]
    if len(rules.known_since) > 1:
        return InTime(columns, fields, rules.known_since)
    return Preparation(columns, fields, rules.reference)


class InTime:
    """Says of every action what was known when it was observed."""

    def __init__(
        self, columns: Sequence[str], fields: FieldMap, known: Sequence[tuple[int, Reference]]
    ) -> None:
        self._starts = np.array([from_us for from_us, _ in known[1:]], np.int64)
        self._made = [Preparation(columns, fields, reference) for _, reference in known]

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        """See Preparation. The rows stay in their order."""
        frame = identified(frame, "event_id", "event_time")
        name = "observed_time" if "observed_time" in frame.columns else "event_time"
        observed = frame[name].to_physical().fill_null(0).to_numpy()
        place = np.searchsorted(self._starts, observed, side="right")
        used: list[int] = np.unique(place).tolist()
        if len(used) == 1:
            return self._made[used[0]](frame)
        rows = [np.flatnonzero(place == at) for at in used]
        parts = [self._made[at](rows_at(frame, own)) for at, own in zip(used, rows, strict=True)]
        return rows_at(pl.concat(parts, how="diagonal"), np.argsort(np.concatenate(rows)))


class Preparation:
    """Makes frames of actions ready for some rules' columns."""

    def __init__(self, columns: Sequence[str], fields: FieldMap, reference: Reference) -> None:
        self._fields = fields
        self._needed: list[str] = []
        self._filled: list[str] = []
        self._joins: list[Joiner] = []
        self._empty: dict[str, pl.DataType] = {}
        if fields.columns is not None:
            self._plan({*columns, *FACT_COLUMNS, *_MARKS, *_DERIVED_FROM}, reference)

    def _plan(self, needed: set[str], reference: Reference) -> None:
        """Only the joins that something asks for, with all they build on."""
        if not reference.content.agents:
            needed.discard("register_owner")
        self._filled = [name for name in _FILLED if name in needed]
        needed |= {known for name in self._filled for known in _FILLED[name]}
        joins, reads = catalogue.asked(needed)
        self._needed = sorted(reads & set(JUDGED))
        bound = [(join, join.bind(reference.content)) for join in joins]
        self._joins = [made for _, made in bound if made is not None]
        # What the reference says nothing of.
        self._empty = {
            name: kind for join, made in bound if made is None for name, kind in join.gives.items()
        }

    @property
    def reads(self) -> list[str]:
        """Columns of an action that it reads or hands on."""
        return list(self._needed)

    def __call__(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame ready to be judged: rows with an id and a time, columns filled and joined."""
        if self._fields.columns is None:
            return identified(frame, self._fields.own("event_id"), self._fields.own("event_time"))
        frame = identified(_whole(frame, self._needed, self._filled), "event_id", "event_time")
        if frame.is_empty():
            return frame
        if frame["tenant"].null_count():
            frame = frame.with_columns(pl.col("tenant").fill_null(DEFAULT_TENANT))
        frame = frame.hstack(nulls(self._empty, frame.height))
        for join in self._joins:
            frame = join(frame)
        return _with_defaults(frame, self._filled)


def _with_defaults(frame: pl.DataFrame, filled: Sequence[str]) -> pl.DataFrame:
    """The operator's word before the producer's, and a guess where neither says anything."""
    first: list[pl.Expr] = []
    names = tuple(sorted(frame["tool_name"].unique().drop_nulls())) if filled else ()
    if "tool_risk" in filled or "tool_sink" in filled:
        guess = _classes(names, tool_classes.risk_of)
        first.append(_by_tool(frame, "tool_risk", guess, [RISK]))
    if "content_trust" in filled:
        guess = _classes(names, tool_classes.trust_of)
        first.append(_by_tool(frame, "content_trust", guess, ["source_trust", TRUST], _BROUGHT))
    if "canary_id" in filled:
        first.append(pl.coalesce("canary_id", "canary_name"))
    frame = frame.with_columns(first)
    if "tool_sink" in filled:
        frame = frame.with_columns(pl.coalesce("tool_sink", pl.col("tool_risk") == "egress"))
    return frame


# Rows that carry what a tool brought in.
_BROUGHT = pl.col("kind").is_in(["tool_result", "retrieval"]) | (
    pl.col("kind").is_in(["tool_call", "http", "file"]) & pl.col("tool_result").is_not_null()
)


def _whole(frame: pl.DataFrame, needed: Sequence[str], filled: Sequence[str]) -> pl.DataFrame:
    """Those of these columns that the frame has, and the ones that are always there."""
    have = set(frame.columns)
    kept = pl.DataFrame([frame.get_column(name) for name in needed if name in have])
    always = dict.fromkeys([*ALWAYS, *(name for name in filled if name in COLUMNS)])
    missing = {name: COLUMNS[name] for name in always if name not in have}
    return kept.hstack(nulls(missing, frame.height))


def identified(frame: pl.DataFrame, event_id: str, event_time: str) -> pl.DataFrame:
    """The rows with an id and a time: nothing can be said of others."""
    bad = frame[event_id].null_count() + frame[event_time].null_count()
    return frame.drop_nulls([event_id, event_time]) if bad else frame


@functools.lru_cache(maxsize=MAX_READY)
def _classes(names: tuple[str, ...], classify: Callable[[str], str | None]) -> list[pl.Expr]:
    """The class of a row's tool, where there is one for any of these names."""
    found = {name: kind for name in names if (kind := classify(name)) is not None}
    if not found:
        return []
    kinds = list(found.values())
    by_name = pl.col("tool_name").replace_strict(
        list(found), kinds, default=None, return_dtype=pl.String
    )
    return [by_name]


def _by_tool(
    frame: pl.DataFrame,
    column: str,
    guess: Sequence[pl.Expr],
    known: Sequence[str],
    where: pl.Expr | None = None,
) -> pl.Expr:
    """The column: what is known, else its own value, else the guess."""
    values: list[pl.Expr] = [
        pl.col(name) for name in known if frame[name].null_count() < frame.height
    ]
    if where is not None:
        values = [pl.when(where).then(value) for value in values]
        guess = [pl.when(where).then(value) for value in guess]
    return pl.coalesce(*values, column, *guess).alias(column)
