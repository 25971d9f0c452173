"""Which conversation and agent a trace belongs to, as learned from session links."""

from collections import OrderedDict
from collections.abc import Iterable

import msgspec
import polars as pl

from tachograph.detectors.facts import Facts
from tachograph.schemas.records import SessionLink

MAX_TRACES = 200_000
FORMAT = 1


class Linked(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a trace."""

    session_id: str
    agent_id: str | None = None
    agent_name: str | None = None
    principal_id: str | None = None

    def applied(self, event: Facts) -> Facts | None:
        """The event as it is known now; None when that changes nothing. Only what was unknown is filled in."""
        fallen_back = event.session_id is None or event.session_id == event.trace_id
        session = self.session_id if fallen_back else event.session_id
        agent = event.agent_id or self.agent_id
        name = event.agent_name or self.agent_name
        principal = event.principal_id or self.principal_id
        known = (event.session_id, event.agent_id, event.agent_name, event.principal_id)
        if known == (session, agent, name, principal):
            return None
        return msgspec.structs.replace(
            event, session_id=session, agent_id=agent, agent_name=name, principal_id=principal
        )


class _State(msgspec.Struct, frozen=True):
    format: int
    traces: dict[str, Linked]


class Links:
    """Trace → Linked, the newest `limit` of them."""

    def __init__(self, limit: int = MAX_TRACES) -> None:
        self._traces: OrderedDict[str, Linked] = OrderedDict()
        self._of_session: dict[str, set[str]] = {}
        self._limit = limit
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._traces)

    def learn(self, records: Iterable[SessionLink]) -> dict[str, Linked]:
        """Take links in; those that say something new, by trace. What was said first of a trace holds."""
        news: dict[str, Linked] = {}
        for record in records:
            known = self._traces.get(record.trace_id)
            linked = Linked(
                session_id=known.session_id if known else record.session_id,
                agent_id=(known.agent_id if known else None) or record.agent_id,
                agent_name=(known.agent_name if known else None) or record.agent_name,
                principal_id=(known.principal_id if known else None) or record.principal_id,
            )
            if linked != known:
                self._put(record.trace_id, linked)
                news[record.trace_id] = linked
        return news

    def _put(self, trace: str, linked: Linked) -> None:
        self._drop(trace)
        self._traces[trace] = linked
        self._of_session.setdefault(linked.session_id, set()).add(trace)
        while len(self._traces) > self._limit:
            self._drop(next(iter(self._traces)))
            self.evicted += 1

    def _drop(self, trace: str) -> None:
        known = self._traces.pop(trace, None)
        if known is not None:
            traces = self._of_session[known.session_id]
            traces.discard(trace)
            if not traces:
                del self._of_session[known.session_id]

    def traces_of(self, session: str) -> set[str]:
        """Traces linked to the session."""
        return self._of_session.get(session, set())

    def apply(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with sessions and agents filled in where its rows fell back to the trace."""
        if not self._traces or "trace_id" not in frame.columns:
            return frame
        traces = frame["trace_id"].unique().drop_nulls().to_list()
        known = {trace: self._traces[trace] for trace in traces if trace in self._traces}
        if not known:
            return frame
        table = pl.DataFrame(
            {
                "trace_id": list(known),
                **{
                    f"~{name}": [getattr(linked, name) for linked in known.values()]
                    for name in _FILLED
                },
            },
            schema={"trace_id": pl.String, **{f"~{name}": pl.String for name in _FILLED}},
        )
        missing = [name for name in _FILLED if name not in frame.columns]
        frame = frame.with_columns(pl.lit(None, pl.String).alias(name) for name in missing)
        joined = frame.join(table, on="trace_id", how="left", maintain_order="left")
        session = pl.col("session_id")
        fallen_back = session.is_null() | (session == pl.col("trace_id"))
        filled = [
            pl.when(fallen_back)
            .then(pl.coalesce("~session_id", session))
            .otherwise(session)
            .alias("session_id"),
            *(pl.coalesce(name, f"~{name}").alias(name) for name in _FILLED[1:]),
        ]
        return joined.with_columns(filled).drop([f"~{name}" for name in _FILLED])

    def dump(self) -> bytes:
        return msgspec.msgpack.encode(_State(FORMAT, dict(self._traces)))

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours."""
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"links of format {kept.format}, not {FORMAT}")
        self._traces.clear()
        self._of_session.clear()
        for trace, linked in kept.traces.items():
            self._put(trace, linked)


_FILLED = ("session_id", "agent_id", "agent_name", "principal_id")
