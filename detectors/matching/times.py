"""Times as logs write them."""

import re
from datetime import UTC, datetime, timedelta

import polars as pl

TIME = pl.Datetime("us", "UTC")
# Numbers from these on are nanoseconds, microseconds, milliseconds, seconds since 1970: how many
# of them are a microsecond, or how many microseconds they are.
_UNITS = ((1e17, 1_000, 1), (1e14, 1, 1), (1e11, 1, 1_000), (0, 1, 1_000_000))
# Beyond this no time fits a column.
_LATEST_US = int(datetime(9999, 12, 31, tzinfo=UTC).timestamp()) * 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# What most logs write, read a column at a time.
_FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.fZ")
_MICROSECOND = timedelta(microseconds=1)
_NUMBER = re.compile(r"[0-9]{9,20}(\.[0-9]{1,9})?")


def micros_of(value: object) -> int | None:
    """UTC microseconds of a time as logs write it: RFC 3339, with a space, or a number since
    1970; else None. A time without an offset is UTC.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _of_number(value)
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def _of_number(value: float) -> int | None:
    if not 0 <= value < 1e20:
        return None
    _, divisor, factor = next(unit for unit in _UNITS if value >= unit[0])
    return int(value // divisor if divisor > 1 else value * factor)


def moments(column: pl.Series) -> pl.Series:
    """The times that texts or numbers say; null where none is."""
    if column.dtype != pl.String:
        return _one_by_one(column)
    times = pl.Series(column.name, [None] * len(column), pl.Datetime("us"))
    for form in _FORMS:
        if times.null_count() > column.null_count():
            times = times.fill_null(column.str.to_datetime(form, time_unit="us", strict=False))
    times = times.dt.replace_time_zone("UTC")
    left = times.is_null() & column.is_not_null()
    return times.zip_with(~left, _one_by_one(column.set(~left, None))) if left.any() else times


def _one_by_one(column: pl.Series) -> pl.Series:
    """Each distinct value read by Python."""
    distinct = column.unique().drop_nulls()
    found = {value: said for value in distinct.to_list() if (said := _said(value)) is not None}
    if not found:
        return pl.Series(column.name, [None] * len(column), TIME)
    micros = column.replace_strict(
        list(found), list(found.values()), default=None, return_dtype=pl.Int64
    )
    return micros.cast(TIME)


def _said(value: object) -> int | None:
    """As micros_of; a number may stand in a text."""
    micros = micros_of(value)
    if micros is None and isinstance(value, str) and _NUMBER.fullmatch(value):
        micros = _of_number(float(value) if "." in value else int(value))
    return micros if micros is None or abs(micros) <= _LATEST_US else None
