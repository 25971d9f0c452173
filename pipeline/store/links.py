"""What is learned about actions after or beside them: conversation, agent and principal of a trace.

`Links` gives them to actions before they are stored; what is stored already is mended in ClickHouse
(fold.py). A cache with a bound: what it does not hold is asked of ClickHouse.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import polars as pl

from tachograph.schemas.records import SessionLink

MAX_TRACES = 100_000
FILLED = ("session_id", "agent_id", "agent_name", "principal_id")

TraceKey = tuple[str, str, str]  # tenant, partition key, trace
_KEY = ("tenant", "partition_key", "trace_id")


class Said(NamedTuple):
    """What the log said first of a trace; '' is not known."""

    session_id: str
    agent_id: str = ""
    agent_name: str = ""
    principal_id: str = ""

    def then(self, later: "Said") -> "Said":
        """With what a later word adds: the first word holds."""
        return Said(*(mine or other for mine, other in zip(self, later, strict=True)))


NOTHING = Said("")


class Links:
    """Trace → what was said of it, or NOTHING when ClickHouse knows nothing either. One thread."""

    def __init__(self, limit: int = MAX_TRACES) -> None:
        self._said: OrderedDict[TraceKey, Said] = OrderedDict()
        self._limit = limit

    def __len__(self) -> int:
        return len(self._said)

    def forget(self) -> None:
        """After a change of partitions: what was not known may have been said since."""
        self._said.clear()

    def unknown(self, keys: Iterable[TraceKey]) -> list[TraceKey]:
        """Those to ask ClickHouse about."""
        return [key for key in keys if key not in self._said]

    def answer(self, asked: Iterable[TraceKey], found: Iterable[tuple[str, ...]]) -> None:
        """Take in what ClickHouse answered: rows of (tenant, partition key, trace, *Said)."""
        for key in asked:
            self._put(key, NOTHING)
        for tenant, partition_key, trace_id, *said in found:
            if (tenant, partition_key, trace_id) in self._said:
                self._put((tenant, partition_key, trace_id), Said(*said))

    def learn(self, link: SessionLink) -> None:
        """Take in a link of the log; of a trace not asked for yet, ClickHouse may know more."""
        key = (link.tenant, link.partition_key, link.trace_id)
        if key in self._said:
            self._put(key, self._said[key].then(said(link)))

    def _put(self, key: TraceKey, what: Said) -> None:
        self._said[key] = what
        self._said.move_to_end(key)
        while len(self._said) > self._limit:
            self._said.popitem(last=False)

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with what is known of its traces filled in where it was missing."""
        if "trace_id" not in frame.columns:
            return frame
        known = [
            (*key, *self._said[key])
            for key in traces_of(frame)
            if self._said.get(key, NOTHING) != NOTHING
        ]
        if not known:
            return frame
        names = [*_KEY, *(f"~{name}" for name in FILLED)]
        table = pl.DataFrame(known, schema=dict.fromkeys(names, pl.String), orient="row")
        frame = with_columns_present(frame, FILLED)
        linked = frame.join(table, on=_KEY, how="left", maintain_order="left")
        return linked.with_columns(_filled()).drop([f"~{name}" for name in FILLED])


def said(link: SessionLink) -> Said:
    """What a link says."""
    return Said(
        link.session_id, link.agent_id or "", link.agent_name or "", link.principal_id or ""
    )


def with_columns_present(frame: pl.DataFrame, names: Iterable[str]) -> pl.DataFrame:
    """The frame with text columns of these names, null where it had none."""
    missing = [name for name in names if name not in frame.columns]
    return frame.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)


def _filled() -> Iterator[pl.Expr]:
    new = {name: _offers(name) & _lacks(name) for name in FILLED}
    for name, learned in new.items():
        yield pl.when(learned).then(pl.col(f"~{name}")).otherwise(pl.col(name)).alias(name)
    yield new["session_id"].alias("session_linked")
    yield (
        pl.sum_horizontal(expr.cast(pl.UInt8) for expr in new.values())
        .cast(pl.UInt8)
        .alias("fields_linked")
    )


def _offers(name: str) -> pl.Expr:
    return (pl.col(f"~{name}").fill_null("") != "") & pl.col(f"~{name}").ne_missing(pl.col(name))


def _lacks(name: str) -> pl.Expr:
    absent = pl.col(name).fill_null("") == ""
    return absent | (pl.col(name) == pl.col("trace_id")) if name == "session_id" else absent


def traces_of(frame: pl.DataFrame) -> list[TraceKey]:
    """The traces of actions that lack something a link may fill in."""
    if "trace_id" not in frame.columns:
        return []
    present = with_columns_present(frame.select(*_KEY, pl.col(*_have(frame))), FILLED)
    lacking = pl.any_horizontal(_lacks(name) for name in FILLED)
    traced = pl.col("trace_id").fill_null("") != ""
    return present.filter(traced & lacking).select(_KEY).unique().rows()


def _have(frame: pl.DataFrame) -> list[str]:
    return [name for name in FILLED if name in frame.columns]
