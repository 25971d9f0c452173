"""Matches on their way to where their group is judged: rows of a frame, and back.

A row is one event that matched one rule: its facts, and beside them the columns below. Which
partition a row goes to follows from tenant, rule and group values alone, so a group is in one place
whoever acted.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from tachograph.detectors.correlation.matched import Matched, Matches, group_values, wanted_by
from tachograph.detectors.facts import ALWAYS_FACTS, FACT_COLUMNS, group_column, number_column
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.rule import Correlation
from tachograph.detectors.signals import GROUP_SEPARATOR
from tachograph.schemas.identity import partition_of

RULE, VERSION, STEPS, LEAF = "rule_id", "rule_version", "steps", "leaf"
LATE, GONE = "late", "gone"
# The group's values as one text; the place of a row follows from it, its tenant and its rule.
GROUP = "group"
_PARTITION = "partition"
_PLACE = ("tenant", RULE, GROUP)


def match_rows(matches: Matches, fields: FieldMap) -> pl.DataFrame:
    """The rows of matches that are in a group: those with a value for every field of its rule."""
    frames = [_of_rule(matches.facts, rule, own, fields) for rule, own in matches.found]
    return pl.concat(frames) if frames else pl.DataFrame()


def _of_rule(
    facts: pl.DataFrame, rule: Correlation, matched: Matched, fields: FieldMap
) -> pl.DataFrame:
    gone = np.zeros(len(matched.rows), np.bool_) if matched.gone is None else matched.gone
    rows = facts[matched.rows].with_columns(
        pl.lit(rule.meta.rule_id).alias(RULE),
        pl.lit(rule.meta.version).alias(VERSION),
        pl.Series(STEPS, matched.steps, pl.Int64),
        pl.Series(LEAF, matched.leaf, pl.Int64),
        pl.Series(LATE, matched.late, pl.Boolean),
        pl.Series(GONE, gone, pl.Boolean),
        _group_text(group_values(rule, matched, facts, fields)),
    )
    return rows.filter(pl.col(GROUP).is_not_null())


def _group_text(values: pl.DataFrame) -> pl.Series:
    """The values of each row as one text; null where one is missing."""
    if not values.columns:
        return pl.Series(GROUP, [""] * values.height, pl.String)
    texts = [pl.col(name).cast(pl.String) for name in values.columns]
    return values.select(pl.concat_str(texts, separator=GROUP_SEPARATOR).alias(GROUP)).to_series()


def by_partition(rows: pl.DataFrame, partitions: int) -> dict[int, pl.DataFrame]:
    """The rows by the partition of their group, each in the order they are in."""
    if rows.is_empty():
        return {}
    keys = rows.select(_PLACE).unique()
    places = [partition_of("/".join(key), partitions) for key in keys.iter_rows()]
    keys = keys.with_columns(pl.Series(_PARTITION, places, pl.Int32))
    placed = rows.join(keys, on=_PLACE, how="left", maintain_order="left")
    parts = placed.drop(GROUP).partition_by(_PARTITION, maintain_order=True, as_dict=True)
    return {int(str(key[0])): part.drop(_PARTITION) for key, part in sorted(parts.items())}


def matches_of(rows: pl.DataFrame, rules: Mapping[tuple[str, str], Correlation]) -> Matches:
    """Matches of the rules, by (id, version), that rows of a frame are; others are left out."""
    facts = _whole(rows.drop(RULE, VERSION, STEPS, LEAF, LATE, GONE), list(rules.values()))
    found = []
    asked = rows.select(RULE, VERSION).with_row_index("row")
    for (rule_id, version), own in asked.group_by(RULE, VERSION, maintain_order=True):
        rule = rules.get((str(rule_id), str(version)))
        if rule is None:
            continue
        at = own["row"].to_numpy().astype(np.int64)
        gone = rows[GONE].to_numpy()[at]
        matched = Matched(
            rows=at,
            steps=rows[STEPS].to_numpy()[at],
            leaf=rows[LEAF].to_numpy()[at],
            late=rows[LATE].to_numpy()[at],
            gone=gone if gone.any() else None,
        )
        found.append((rule, matched))
    return Matches(facts, found)


def _whole(rows: pl.DataFrame, rules: Sequence[Correlation]) -> pl.DataFrame:
    """With the columns that a fact frame always has: none travels that is all null."""
    needed = {name: FACT_COLUMNS[name] for name in ALWAYS_FACTS}
    wanted = wanted_by(rules)
    needed |= {group_column(name): pl.String() for name in wanted.by}
    needed |= {number_column(name): pl.Float64() for name in wanted.numbers}
    needed["event_time"] = pl.Int64()
    missing = [pl.lit(None, kind).alias(n) for n, kind in needed.items() if n not in rows.columns]
    return rows.with_columns(missing) if missing else rows
