"""Calls of sessions in which nothing has asked for anything yet: held as columns, a few µs each,
until something does, or nothing can any more.
"""

from collections.abc import Collection, Mapping

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.facts import FACT_COLUMNS
from tachograph.detectors.frames import rows_at, times_us
from tachograph.detectors.links import Linked, Trace, linked
from tachograph.detectors.reference.joins import nulls
from tachograph.detectors.sessions.together import KEY, Together, Wanted
from tachograph.schemas.batch import COLUMNS

MAX_ROWS = 100_000
MAX_BYTES = 32 * 1024 * 1024
# Frames of one size that lie beside each other.
MAX_ALIKE = 8
# Who and what of a call, as far as it is looked at later.
_KEPT = {
    name: COLUMNS[name]
    for name in (*FACT_COLUMNS, "tool_args", "tool_call_id", "process_command_line")
    if name in COLUMNS
}
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
        # Oldest first.
        self._held: list[Together] = []
        self._max_rows, self._max_bytes = max_rows, max_bytes
        self.evicted = 0

    @property
    def rows(self) -> int:
        """How many calls wait."""
        return sum(held.rows for held in self._held)

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return sum(held.size_bytes for held in self._held)

    def push(self, frame: pl.DataFrame, asked: Collection[str] = ()) -> pl.DataFrame | None:
        """Take calls in; the oldest go when there are too many. Those of the sessions `asked` do
        not wait: they are given back.

        `frame`: with the columns that SESSION reads, or with it.
        """
        if frame.is_empty():
            return None
        here, kept = self._parted(self._whole(frame), asked)
        if not kept.is_empty():
            self._hold(kept)
        return here

    def _whole(self, frame: pl.DataFrame) -> pl.DataFrame:
        """What is kept of calls, as far as any of them says it, and their sessions."""
        said = {c.name for c in frame.get_columns() if c.null_count() < frame.height}
        sessions = frame[[KEY]] if KEY in said else frame.select(SESSION)
        return frame[[name for name in self._columns if name in said]].hstack(sessions)

    def _parted(
        self, frame: pl.DataFrame, asked: Collection[str]
    ) -> tuple[pl.DataFrame | None, pl.DataFrame]:
        """The calls of these sessions, and all others."""
        keys = frame.get_column(KEY).to_list()
        here = np.fromiter(map(asked.__contains__, keys), np.bool_, len(keys))
        if not here.any():
            return None, frame
        return rows_at(frame, np.flatnonzero(here)), rows_at(frame, np.flatnonzero(~here))

    def _hold(self, kept: pl.DataFrame) -> None:
        self._held.append(Together(kept))
        self._put_together()
        spare = self.rows - self._max_rows
        while spare > 0:
            spare -= self._shorten(spare)
        while self.size_bytes > self._max_bytes:
            # The older half of the oldest.
            self._shorten(-(-self._held[0].rows // 2))

    def _put_together(self) -> None:
        """Each frame costs something whenever anything is looked for: few large ones cost less, and
        a row is copied once for each tier.
        """
        while len(self._held) >= MAX_ALIKE:
            last = self._held[-MAX_ALIKE:]
            tier = last[-1].tier
            if any(held.tier != tier for held in last):
                return
            whole = pl.concat([held.whole for held in last], how="diagonal", rechunk=True)
            self._held[-MAX_ALIKE:] = [Together(whole, tier + 1)]

    def _shorten(self, rows: int) -> int:
        """Let go of so many of the oldest, as far as they came together; how many."""
        first = self._held[0]
        gone = np.flatnonzero(first.left)[:rows]
        first.let_go(gone)
        if not first.rows:
            del self._held[0]
        self.evicted += len(gone)
        return len(gone)

    def take(self, keys: Collection[str]) -> pl.DataFrame | None:
        """The calls of these sessions, which then wait no longer."""
        if not keys or not self._held:
            return None
        wanted, found = Wanted.of(keys), []
        for held in self._held:
            rows = held.of(wanted)
            if len(rows):
                found.append(rows_at(held.frame, rows))
                held.let_go(rows)
        self._held = [held for held in self._held if held.rows]
        return pl.concat(found, how="diagonal") if found else None

    def marks(self, keys: Collection[str], column: str) -> dict[str, int]:
        """All bits of a column that the waiting rows of these sessions have, by session."""
        wanted = Wanted.of(keys)
        found: dict[str, int] = {}
        for held in self._held:
            of = rows_at(held.frame[[KEY, column]], held.of(wanted)).group_by(KEY)
            for key, bits in of.agg(pl.col(column).bitwise_or()).rows():
                found[key] = found.get(key, 0) | bits
        return found

    def relink(self, links: Mapping[Trace, Linked]) -> set[str]:
        """Sessions and agents of traces became known; the sessions that their calls now are of."""
        traces = pl.Series([trace for _, _, trace in links], dtype=pl.String).implode()
        moved: set[str] = set()
        for at, held in enumerate(self._held):
            known = held.frame.get_column("trace_id", default=None)
            if known is None or not known.is_in(traces).any():
                continue
            have = frozenset(held.frame.columns)
            absent = {name: kind for name, kind in self._columns.items() if name not in have}
            whole = held.whole.drop(KEY).hstack(nulls(absent, held.rows))
            frame = linked(whole, links).with_columns(SESSION)
            told = frame.get_column("trace_id").is_in(traces)
            moved |= set(frame.filter(told).get_column(KEY).to_list())
            self._held[at] = Together(frame, held.tier)
        return moved

    def forget(self, before_us: int) -> None:
        """Nothing that comes can be older than this: what is older was asked for by nothing."""
        for held in self._held:
            times = times_us(held.frame.get_column("event_time")).to_numpy()
            old = np.flatnonzero((times < before_us) & held.left)
            if len(old):
                held.let_go(old)
        self._held = [held for held in self._held if held.rows]

    def dump(self) -> bytes:
        """All of them."""
        return msgspec.msgpack.encode([held.written() for held in self._held])

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises PolarsError, OSError or ValueError when it is none."""
        kept = msgspec.msgpack.decode(state, type=list[tuple[bytes, bytes]])
        self._held = [held for frame, left in kept if (held := Together.read(frame, left)).rows]
