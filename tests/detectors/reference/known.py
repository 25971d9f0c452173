"""Frames judged against reference data made for tests."""

from typing import Any

import polars as pl

from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.prepare import Preparation
from tachograph.detectors.reference import catalogue
from tachograph.detectors.reference.reference import Reference, of_tables
from tests.detectors.made import frame


def joined(
    rows: list[dict[str, Any]], reference: Reference, columns: list[str] | None = None
) -> pl.DataFrame:
    """The rows as rules see them, with these columns of reference data or all of them."""
    actions = frame(
        [{"event_id": f"{n:032x}", "event_time": n, **row} for n, row in enumerate(rows)]
    )
    asked = columns or list(catalogue.COLUMNS)
    return Preparation(asked, ACTIONS, reference)(actions)


def said(action: dict[str, Any], **tables: Any) -> dict[str, Any]:
    """What reference data of these tables says of one action, without what it does not say."""
    row = joined([action], of_tables(tables)).select(list(catalogue.COLUMNS)).row(0, named=True)
    return {name: value for name, value in row.items() if value is not None}
