"""Which conversation and agent a trace belongs to, as learned from session links."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.schemas.records import SessionLink

MAX_TRACES = 200_000
FORMAT = 2


class Linked(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a trace."""

    session_id: str
    agent_id: str | None = None
    agent_name: str | None = None
    principal_id: str | None = None


# (tenant, partition key, trace): nobody's links say anything of another's traces.
Trace = tuple[str, str, str]

_FILLED = ("session_id", "agent_id", "agent_name", "principal_id")
_KEY = ("tenant", "partition_key", "trace_id")
# Rows that a link could tell something.
_LACKS = pl.col("trace_id").is_not_null() & (
    (pl.col("session_id") == pl.col("trace_id")).fill_null(value=True)
    | pl.any_horizontal(pl.col("agent_id", "agent_name", "principal_id").is_null())
)


def linked(frame: pl.DataFrame, known: Mapping[Trace, Linked]) -> pl.DataFrame:
    """The frame with session and agent filled in where its rows fell back to a known trace, or knew
    nothing.

    `frame`: columns tenant, partition_key and trace_id, and those that are filled.
    """
    table = pl.DataFrame(
        [(*trace, *msgspec.structs.astuple(link)) for trace, link in known.items()],
        schema=dict.fromkeys((*_KEY, *(f"~{name}" for name in _FILLED)), pl.String),
        orient="row",
    )
    joined = frame.join(table, on=_KEY, how="left", maintain_order="left")
    session = pl.col("session_id")
    fallen_back = session.is_null() | (session == pl.col("trace_id"))
    found = pl.coalesce("~session_id", session)
    return joined.with_columns(
        pl.when(fallen_back).then(found).otherwise(session).alias("session_id"),
        *(pl.coalesce(name, f"~{name}").alias(name) for name in _FILLED[1:]),
    ).drop([f"~{name}" for name in _FILLED])


def changed_rows(before: pl.DataFrame, after: pl.DataFrame) -> npt.NDArray[np.bool_]:
    """Rows that `linked` told something."""
    mask = np.zeros(before.height, np.bool_)
    for name in _FILLED:
        mask |= before[name].ne_missing(after[name]).to_numpy()
    return mask


class _State(msgspec.Struct, frozen=True):
    format: int
    traces: list[tuple[Trace, Linked]]


class Links:
    """Trace → Linked, the newest `limit` of them."""

    def __init__(self, limit: int = MAX_TRACES) -> None:
        self._traces: OrderedDict[Trace, Linked] = OrderedDict()
        # (tenant, partition key, session) → its traces.
        self._of_session: dict[tuple[str, str, str], set[str]] = {}
        self._limit = limit
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._traces)

    def learn(self, records: Iterable[SessionLink]) -> dict[Trace, Linked]:
        """Take links in; those that say something new, by trace. What was said first of a trace
        holds.
        """
        news: dict[Trace, Linked] = {}
        for record in records:
            trace = (record.tenant, record.partition_key, record.trace_id)
            known = self._traces.get(trace)
            link = Linked(
                session_id=known.session_id if known else record.session_id,
                agent_id=(known.agent_id if known else None) or record.agent_id,
                agent_name=(known.agent_name if known else None) or record.agent_name,
                principal_id=(known.principal_id if known else None) or record.principal_id,
            )
            if link != known:
                self._put(trace, link)
                news[trace] = link
        return news

    def _put(self, trace: Trace, link: Linked) -> None:
        self._drop(trace)
        self._traces[trace] = link
        self._of_session.setdefault((*trace[:2], link.session_id), set()).add(trace[2])
        while len(self._traces) > self._limit:
            self._drop(next(iter(self._traces)))
            self.evicted += 1

    def _drop(self, trace: Trace) -> None:
        known = self._traces.pop(trace, None)
        if known is not None:
            session = (*trace[:2], known.session_id)
            traces = self._of_session[session]
            traces.discard(trace[2])
            if not traces:
                del self._of_session[session]

    def traces_of(self, tenant: str, place: str, session: str) -> set[str]:
        """Traces linked to the session of a tenant's partition key."""
        return set(self._of_session.get((tenant, place, session), ()))

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with sessions and agents filled in where its rows fell back to the trace."""
        if not self._traces or not {*_KEY} <= set(frame.columns):
            return frame
        missing = [name for name in _FILLED if name not in frame.columns]
        if not missing and not frame.select(_LACKS.any()).item():
            return frame
        traces = frame.select(_KEY).unique().drop_nulls().rows()
        known = {trace: self._traces[trace] for trace in traces if trace in self._traces}
        if not known:
            return frame
        whole = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
        return linked(whole, known)

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(_State(FORMAT, list(self._traces.items())))

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours."""
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"links of format {kept.format}, not {FORMAT}")
        self._traces.clear()
        self._of_session.clear()
        for trace, link in kept.traces:
            self._put(trace, link)
