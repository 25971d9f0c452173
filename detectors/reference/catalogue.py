"""All joins in the order in which they build on each other, and those that some columns ask for."""

from collections.abc import Iterable

import polars as pl

from tachograph.detectors import texts
from tachograph.detectors.reference import (
    agents,
    budgets,
    calendar,
    canaries,
    indicators,
    people,
    suppliers,
    tools,
)
from tachograph.detectors.reference.joins import Join

JOINS: tuple[Join, ...] = (
    *tools.JOINS, *suppliers.JOINS, *agents.JOINS, *people.JOINS, *calendar.JOINS, *budgets.JOINS,
    *canaries.JOINS, *indicators.JOINS, *texts.JOINS,
)  # fmt: skip
# Columns that rules may ask for beside those of an action: `register.known` is `register_known`.
COLUMNS: dict[str, pl.DataType] = {
    name: kind for join in JOINS for name, kind in join.gives.items() if not name.startswith("~")
}


def asked(columns: Iterable[str]) -> tuple[list[Join], set[str]]:
    """The joins that give any of these columns, in order, and all columns that are then read."""
    wanted = set(columns)
    chosen: list[Join] = []
    for join in reversed(JOINS):
        if not wanted.isdisjoint(join.gives):
            chosen.append(join)
            wanted |= set(join.reads)
    return chosen[::-1], wanted
