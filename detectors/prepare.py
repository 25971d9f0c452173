"""A batch of actions as the rules need it: absent columns as nulls, and what a producer left out,
by default.

Defaults are classes of tools by the verbs in their names, and distrust of what tools bring in from
outside (see tool_classes). They fill what is null; what the producer says stands.
"""

from collections.abc import Callable, Sequence

import polars as pl

from tachograph.detectors import tool_classes
from tachograph.detectors.facts import ALWAYS_FACTS, FACT_COLUMNS
from tachograph.detectors.language.fields import FieldMap
from tachograph.schemas.batch import COLUMNS

_MARKS = ("late", "far")
# Columns that a prepared frame has even where the batch has not.
ALWAYS = (*ALWAYS_FACTS, "kind", "tool_name", "tool_result", "tool_risk", "content_trust")
_DERIVED_FROM = ("tool_name", "kind", "tool_result")
DEFAULT_TENANT = "default"


def columns_needed(rule_columns: Sequence[str], fields: FieldMap) -> list[str]:
    """Columns of a frame of actions that judging by these rules reads."""
    if fields.columns is None:
        return []
    needed = {*rule_columns, *FACT_COLUMNS, *_MARKS, *_DERIVED_FROM}
    return sorted(needed & set(fields.columns))


def prepared(frame: pl.DataFrame, needed: Sequence[str], fields: FieldMap) -> pl.DataFrame:
    """The frame ready to be judged: rows with an id and a time, defaults filled in."""
    if fields.columns is None:
        return _identified(frame, fields.own("event_id"), fields.own("event_time"))
    frame = _identified(_whole(frame, needed), "event_id", "event_time")
    filled = [pl.col("tenant").fill_null(DEFAULT_TENANT)]
    if "tool_risk" in needed:
        filled.append(_by_tool(frame, "tool_risk", tool_classes.risk_of))
    if "content_trust" in needed:
        filled.append(_by_tool(frame, "content_trust", tool_classes.trust_of, only=_BROUGHT))
    return frame.with_columns(filled)


# Rows that carry what a tool brought in.
_BROUGHT = pl.col("kind").is_in(["tool_result", "retrieval"]) | (
    pl.col("kind").is_in(["tool_call", "http", "file"]) & pl.col("tool_result").is_not_null()
)


def _whole(frame: pl.DataFrame, needed: Sequence[str]) -> pl.DataFrame:
    """Those of these columns that the frame has, and the ones that are always asked for."""
    have = set(frame.columns)
    kept = pl.DataFrame([frame.get_column(name) for name in needed if name in have])
    missing = [name for name in ALWAYS if name not in have]
    return kept.with_columns(pl.lit(None, COLUMNS[name]).alias(name) for name in missing)


def _identified(frame: pl.DataFrame, event_id: str, event_time: str) -> pl.DataFrame:
    bad = frame[event_id].null_count() + frame[event_time].null_count()
    return frame.drop_nulls([event_id, event_time]) if bad else frame


def _by_tool(
    frame: pl.DataFrame,
    column: str,
    classify: Callable[[str], str | None],
    only: pl.Expr | None = None,
) -> pl.Expr:
    """The column, with nulls filled by the class of the row's tool."""
    names = frame["tool_name"].unique().drop_nulls().to_list()
    found = {name: kind for name in names if (kind := classify(name)) is not None}
    if not found:
        return pl.col(column)
    by_name = pl.col("tool_name").replace_strict(
        list(found), list(found.values()), default=None, return_dtype=pl.String
    )
    by_name = by_name if only is None else pl.when(only).then(by_name)
    return pl.coalesce(column, by_name).alias(column)
