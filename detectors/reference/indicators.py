"""Indicator lists: what an action touches, looked up among what is known to be bad."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

import numpy as np
import polars as pl

from tachograph.detectors.reference.entries import Content, Indicator, IndicatorType
from tachograph.detectors.reference.joins import Join, Joiner
from tachograph.detectors.reference.names import MAX_NAME_CHARS, host_of

# Column → the kinds of indicator that its value may be, in the order they are asked.
FIELDS: dict[str, tuple[IndicatorType, ...]] = {
    "target_url": ("url", "domain", "ip"),
    "target_domain": ("domain", "ip"),
    "target_host": ("domain", "ip"),
    "target_ip": ("ip",),
    "src_ip": ("ip",),
    "model_base_url": ("url", "domain", "ip"),
    "content_urls": ("url", "domain", "ip"),
    "recipients": ("email", "domain"),
    "file_hash": ("hash",),
    "artifact_digest": ("hash",),
    "content_hash": ("hash",),
    "artifact_name": ("package",),
    "tool_server": ("server", "domain"),
    "tool_definition_hash": ("hash",),
    "file_path": ("file",),
}
_GIVES = {
    "indicator_value": pl.String(),
    "indicator_type": pl.String(),
    "indicator_list": pl.String(),
    "indicator_confidence": pl.Int64(),
    "indicator_field": pl.String(),
}
_LONG_AGO, _NEVER = -(2**62), 2**62


class _Book:
    """Indicators by kind and value; those of one value in the order of the reference."""

    def __init__(self, indicators: Sequence[Indicator]) -> None:
        self._exact: dict[tuple[str, str], list[int]] = defaultdict(list)
        self._networks: dict[int, dict[tuple[int, int], list[int]]] = {4: {}, 6: {}}
        for at, one in enumerate(indicators):
            value = one.value.strip().lower()
            if one.type == "ip" and "/" in value:
                network = ip_network(value, strict=False)
                key = (network.prefixlen, int(network.network_address))
                self._networks[network.version].setdefault(key, []).append(at)
            else:
                self._exact[one.type, _canonical(one.type, value)].append(at)

    def find(self, kind: IndicatorType, value: str) -> Iterator[int]:
        """Places of the indicators that the value is, or lies in."""
        low = value[:MAX_NAME_CHARS].strip().lower()
        if kind == "domain":
            for name in _parents(host_of(low) or ""):
                yield from self._exact.get((kind, name), ())
        elif kind == "ip":
            yield from self._addresses(host_of(low) or low)
        else:
            yield from self._exact.get((kind, _canonical(kind, low)), ())
            if kind == "package" and "@" in low[1:]:
                name = low[0] + low[1:].rpartition("@")[0]
                yield from self._exact.get((kind, name), ())

    def _addresses(self, text: str) -> Iterator[int]:
        yield from self._exact.get(("ip", text), ())
        if not any(self._networks.values()):
            return
        try:
            address = ip_address(text)
        except ValueError:
            return
        bits, number = address.max_prefixlen, int(address)
        networks = self._networks[address.version]
        for length in sorted({length for length, _ in networks}, reverse=True):
            top = number >> (bits - length) << (bits - length)
            yield from networks.get((length, top), ())


def _canonical(kind: str, value: str) -> str:
    """One writing of a value: hashes without their algorithm, URLs without what changes nothing."""
    if kind == "hash":
        return value.rpartition(":")[2]
    if kind == "url":
        return value.partition("#")[0].removesuffix("/")
    if kind == "domain":
        return value.removeprefix("*.").strip(".")
    return value.replace("\\", "/") if kind == "file" else value


def _parents(host: str) -> Iterator[str]:
    while host:
        yield host
        host = host.partition(".")[2]


@dataclass(frozen=True)
class _Indicators:
    """The first indicator in force at the action's time, by the order of the fields."""

    gives: Mapping[str, pl.DataType]
    reads: tuple[str, ...]

    def bind(self, content: Content) -> Joiner | None:
        """See Join."""
        known = content.indicators
        if not known:
            return None
        book = _Book(known)
        return lambda frame: _joined(frame, known, book)


def _joined(frame: pl.DataFrame, known: Sequence[Indicator], book: _Book) -> pl.DataFrame:
    tenants = frame["tenant"].to_list() if any(one.tenant for one in known) else None
    times = frame["event_time"].to_physical().to_numpy()
    rows: dict[int, tuple[int, str]] = {}
    for field, kinds in FIELDS.items():
        for row, ats in _hits(frame, field, kinds, book):
            if row not in rows:
                tenant = tenants[row] if tenants else None
                at = next((a for a in ats if _holds(known[a], tenant, times[row])), None)
                if at is not None:
                    rows[row] = (at, field)
    said: dict[str, Callable[[int, str], object]] = {
        "indicator_value": lambda at, _: known[at].value,
        "indicator_type": lambda at, _: known[at].type,
        "indicator_list": lambda at, _: known[at].list,
        "indicator_confidence": lambda at, _: known[at].confidence,
        "indicator_field": lambda _, field: field,
    }
    order = sorted(rows)
    columns = []
    for name, kind in _GIVES.items():
        column = pl.Series(name, [None], kind).new_from_index(0, frame.height)
        values = pl.Series(name, [said[name](*rows[row]) for row in order], kind)
        columns.append(column.scatter(order, values))
    return frame.with_columns(columns)


def _hits(
    frame: pl.DataFrame, field: str, kinds: Sequence[IndicatorType], book: _Book
) -> Iterator[tuple[int, list[int]]]:
    """Rows whose value of the field is an indicator; each different value is looked up once."""
    if field not in frame.columns or frame[field].null_count() == frame.height:
        return
    values = _values(frame, field)
    many = values.dtype == pl.List
    distinct = (values.explode() if many else values).unique().drop_nulls()
    found = {}
    for value in distinct:
        ats = [at for kind in kinds for at in book.find(kind, value)]
        if ats:
            found[value] = ats
    if not found:
        return
    bad = pl.element().is_in(list(found))
    mask = values.list.eval(bad).list.any() if many else values.is_in(list(found))
    for row in np.flatnonzero(mask.fill_null(value=False).to_numpy()).tolist():
        own = values[row] if many else [values[row]]
        yield row, [at for one in own for at in found.get(one, ())]


def _values(frame: pl.DataFrame, field: str) -> pl.Series:
    """The field; a package with its version where it has one."""
    if field == "artifact_name" and "artifact_version" in frame.columns:
        name, version = pl.col("artifact_name"), pl.col("artifact_version")
        both = pl.when(version.is_null()).then(name).otherwise(name + "@" + version)
        return frame.select(both).to_series()
    return frame[field]


def _holds(indicator: Indicator, tenant: str | None, time_us: int) -> bool:
    begin, end = indicator.valid_from, indicator.valid_until
    return (
        indicator.tenant in (None, tenant)
        and (begin is None or time_us >= begin.timestamp() * 1e6)
        and (end is None or time_us < end.timestamp() * 1e6)
    )


JOINS: tuple[Join, ...] = (
    _Indicators(_GIVES, ("tenant", "event_time", "artifact_version", *FIELDS)),
)
