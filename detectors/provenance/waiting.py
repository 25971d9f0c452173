"""Calls of sessions in which nothing has asked for anything yet: held as columns, a few µs each,
until something does, or nothing can any more.
"""

import io
from collections.abc import Collection, Mapping

import polars as pl

from tachograph.detectors.facts import FACT_COLUMNS
from tachograph.detectors.links import Linked, Trace, linked
from tachograph.schemas.batch import COLUMNS

MAX_ROWS = 100_000
MAX_BYTES = 32 * 1024 * 1024
MAX_FRAMES = 8
# Who and what of a call, as far as it is looked at later.
_KEPT = {
    name: COLUMNS[name]
    for name in (*FACT_COLUMNS, "tool_args", "tool_call_id", "process_command_line")
    if name in COLUMNS
}
KEY = "~session"
_SEPARATOR = "\x1f"
# The session of a row, as one text: (tenant, partition key, session or trace).
SESSION = pl.concat_str(
    pl.col("tenant").fill_null("default"),
    pl.col("partition_key").fill_null(""),
    pl.coalesce("session_id", "trace_id"),
    separator=_SEPARATOR,
).alias(KEY)


def key_text(key: tuple[str, str, str]) -> str:
    """A session's key, as it stands in the column KEY."""
    return _SEPARATOR.join(key)


class Waiting:
    """The newest such calls of a partition."""

    def __init__(
        self,
        max_rows: int = MAX_ROWS,
        max_bytes: int = MAX_BYTES,
        columns: Mapping[str, pl.DataType] | None = None,
    ) -> None:
        """`columns`: what is kept of a call, if not what provenance needs."""
        self._columns = columns or _KEPT
        self._frames: list[pl.DataFrame] = []
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self.evicted = 0

    @property
    def rows(self) -> int:
        """How many calls wait."""
        return sum(frame.height for frame in self._frames)

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return sum(int(frame.estimated_size()) for frame in self._frames)

    def push(self, frame: pl.DataFrame) -> None:
        """Take calls in; the oldest go when there are too many."""
        if frame.is_empty():
            return
        kept = frame.select(
            pl.col(name) if name in frame.columns else pl.lit(None, kind).alias(name)
            for name, kind in self._columns.items()
        )
        self._frames.append(kept.with_columns(SESSION))
        if len(self._frames) > MAX_FRAMES:
            # Each frame costs something whenever anything is looked for.
            self._frames = [pl.concat(self._frames, rechunk=True)]
        spare = self.rows - self._max_rows
        while spare > 0:
            first = self._frames.pop(0)
            if first.height > spare:
                self._frames.insert(0, first[spare:])
            self.evicted += min(first.height, spare)
            spare -= first.height
        while self.size_bytes > self._max_bytes:
            # The older half of the oldest.
            first = self._frames.pop(0)
            gone = -(-first.height // 2)
            self.evicted += gone
            if first.height > gone:
                self._frames.insert(0, first[gone:].rechunk())

    def take(self, keys: Collection[str], *, newest: bool = False) -> pl.DataFrame | None:
        """The calls of these sessions, which then wait no longer; `newest`: only of the frame that
        came last.
        """
        if not keys or not self._frames:
            return None
        wanted = pl.Series(list(keys), dtype=pl.String)
        looked, kept, found = (self._frames[-1:] if newest else self._frames), [], []
        for frame in looked:
            mask = frame.get_column(KEY).is_in(wanted.implode())
            if mask.any():
                found.append(frame.filter(mask))
                rest = frame.filter(~mask)
                kept += [rest] if rest.height else []
            else:
                kept.append(frame)
        self._frames = [*(self._frames[:-1] if newest else ()), *kept]
        return pl.concat(found) if found else None

    def marks(self, keys: Collection[str], column: str) -> dict[str, int]:
        """All bits of a column that the waiting rows of these sessions have, by session."""
        wanted = pl.Series(list(keys), dtype=pl.String).implode()
        found: dict[str, int] = {}
        for frame in self._frames:
            of = frame.filter(pl.col(KEY).is_in(wanted)).group_by(KEY)
            for key, bits in of.agg(pl.col(column).bitwise_or()).rows():
                found[key] = found.get(key, 0) | bits
        return found

    def relink(self, links: Mapping[Trace, Linked]) -> set[str]:
        """Sessions and agents of traces became known; the sessions that their calls now are of."""
        traces = pl.Series([trace for _, _, trace in links], dtype=pl.String).implode()
        moved: set[str] = set()
        for at, frame in enumerate(self._frames):
            mask = frame.get_column("trace_id").is_in(traces)
            if mask.any():
                self._frames[at] = linked(frame.drop(KEY), links).with_columns(SESSION)
                moved |= set(self._frames[at].filter(mask).get_column(KEY).to_list())
        return moved

    def forget(self, before_us: int) -> None:
        """Nothing that comes can be older than this: what is older was asked for by nothing."""
        time = pl.col("event_time").dt.epoch("us")
        left = [frame.filter(time >= before_us) for frame in self._frames]
        self._frames = [frame for frame in left if frame.height]

    def dump(self) -> bytes:
        """All of them, as one Arrow stream."""
        sink = io.BytesIO()
        if self._frames:
            pl.concat(self._frames).write_ipc_stream(sink, compression="zstd")
        return sink.getvalue()

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises PolarsError or OSError when it is none."""
        self._frames = [pl.read_ipc_stream(io.BytesIO(state))] if state else []
