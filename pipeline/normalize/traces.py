"""Spans of one trace that came together tell each other's conversation, agent and principal.

Within a record and a service; what a later record teaches goes out as a session link.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

import polars as pl

from tachograph.pipeline.normalize.identity import Named, Trace

AGENT: Final = ("agent_id", "agent_name")
NAMED: Final = ("session_id", *AGENT, "principal_id")
_TRACE: Final = ("record", "place", "trace_id")
_SPAN: Final = ("span_id", "parent_span_id")


class Joined(NamedTuple):
    """Columns of NAMED with what the trace tells, and every pair named, by record."""

    columns: dict[str, pl.Series]
    named: list[tuple[int, Named]]


def join(spans: pl.DataFrame, others: pl.DataFrame | None) -> Joined:
    """Give spans without conversation or agent those of their trace.

    `spans`, `others`: record, place and ids of spans, and those of NAMED that any has; `others`
    are no actions, but name something.
    """
    frames = [frame for frame in (spans, others) if frame is not None]
    known = [name for name in NAMED if any(name in frame.columns for frame in frames)]
    if not known:
        return Joined({}, [])
    frames = [_with(frame, known) for frame in frames]
    spans = frames[0]
    every = pl.concat(frames).filter(pl.col("trace_id") != "")
    told = _told(every, known)
    named = [
        (record, one) for (record, place, trace), t in told.items() for one in t.named(place, trace)
    ]
    lacking = every.select(pl.any_horizontal(pl.col(known).is_null())).to_series().any()
    if not lacking:
        return Joined({name: spans[name] for name in known}, named)
    return Joined(_filled(spans, every, told, known), named)


def _with(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    keys = [*_TRACE, *_SPAN]
    return frame.select(
        *keys,
        *(
            pl.col(name) if name in frame.columns else pl.lit(None, pl.String).alias(name)
            for name in names
        ),
    )


Told = dict[tuple[int, str, str], Trace]


def _told(every: pl.DataFrame, known: list[str]) -> Told:
    """What is said of each trace: different statements are few."""
    found: Told = {}
    said = every.select(*_TRACE, *known).unique(maintain_order=True)
    for record, place, trace, *values in said.iter_rows():
        one = found.get((record, place, trace))
        if one is None:
            one = found[record, place, trace] = Trace()
        one.hear(dict(zip(known, values, strict=True)))
    return found


def _filled(
    spans: pl.DataFrame, every: pl.DataFrame, told: Told, known: list[str]
) -> dict[str, pl.Series]:
    """The columns, filled where the whole trace says one thing, else from the ancestors."""
    rows = [(*key, *(one.only(name) for name in known)) for key, one in told.items()]
    schema = {"record": pl.Int64, "place": pl.String, "trace_id": pl.String}
    table = pl.DataFrame(rows, schema | {f"~{n}": pl.String for n in known}, orient="row")
    joined = spans.join(table, on=list(_TRACE), how="left", maintain_order="left")
    whose = [name for name in AGENT if name in known]
    agentless = pl.all_horizontal(pl.col(whose).is_null()) if whose else pl.lit(value=True)
    filled = joined.select(
        pl.when(agentless).then(pl.coalesce(name, f"~{name}")).otherwise(name).alias(name)
        if name in AGENT
        else pl.coalesce(name, f"~{name}")
        for name in known
    )
    columns = {name: filled[name] for name in known}
    unclear = {key: one for key, one in told.items() if one.unclear}
    return _by_ancestors(spans, every, unclear, columns) if unclear else columns


def _by_ancestors(
    spans: pl.DataFrame, every: pl.DataFrame, unclear: Told, columns: dict[str, pl.Series]
) -> dict[str, pl.Series]:
    """Of a trace that names several, a span takes what the nearest of its ancestors says."""
    keys = pl.DataFrame(
        list(unclear), {"record": pl.Int64, "place": pl.String, "trace_id": pl.String}, orient="row"
    )
    for row in every.join(keys, on=list(_TRACE), how="semi", maintain_order="left").to_dicts():
        unclear[row["record"], row["place"], row["trace_id"]].rows.append(row)
    for trace in unclear.values():
        trace.fill()
    # In the order of the spans: those of a trace that is unclear are the same rows.
    places = _places(spans, keys)
    taken = {key: iter(one.rows) for key, one in unclear.items()}
    changed = dict(_changed(spans, places, taken))
    told = {name: [row.get(name) for row in changed.values()] for name in columns}
    return {
        name: column.scatter(list(changed), pl.Series(told[name], dtype=pl.String))
        for name, column in columns.items()
    }


def _places(spans: pl.DataFrame, keys: pl.DataFrame) -> list[int]:
    numbered = spans.with_row_index("at")
    return numbered.join(keys, on=list(_TRACE), how="semi", maintain_order="left")["at"].to_list()


def _changed(
    spans: pl.DataFrame, places: list[int], taken: dict[Any, Iterator[Any]]
) -> Iterator[tuple[int, Any]]:
    keys = spans.select(_TRACE)[places].rows()
    for at, key in zip(places, keys, strict=True):
        yield at, next(taken[key])
