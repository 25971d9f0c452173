"""Rows that came together and wait, found by their session: taken out of the middle without being
copied, and written down once however often they are dumped.
"""

import io
from collections.abc import Collection
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.correlation.arrays import Bools, Ints, Words, spans
from tachograph.detectors.frames import rows_at

KEY = "~session"


class Wanted(NamedTuple):
    """Sessions, by their text as it stands in the column KEY, and a hash of each."""

    keys: frozenset[str]
    hashes: Words

    @classmethod
    def of(cls, keys: Collection[str]) -> Self:
        return cls(frozenset(keys), _hashes(pl.Series(list(keys), dtype=pl.String)))


def _hashes(keys: pl.Series) -> Words:
    """Two sessions may have the same, by chance or by somebody's will."""
    return keys.to_frame().hash_rows().to_numpy()


class Together:
    """A frame with a column KEY, of whose rows some are left."""

    def __init__(self, frame: pl.DataFrame, tier: int = 0) -> None:
        """`tier`: how often it was put together with others."""
        self.frame, self.tier = frame, tier
        self.left: Bools = np.ones(frame.height, np.bool_)
        self.rows = frame.height
        self.size_bytes = int(frame.estimated_size())
        hashes = _hashes(frame.get_column(KEY))
        self._order: npt.NDArray[np.int32] = np.argsort(hashes).astype(np.int32)
        self._hashes: Words = hashes[self._order]
        self._written: bytes | None = None

    def of(self, wanted: Wanted) -> Ints:
        """The rows left of these sessions, ascending."""
        begin = np.searchsorted(self._hashes, wanted.hashes)
        end = np.searchsorted(self._hashes, wanted.hashes, side="right")
        if not (end > begin).any():
            return np.empty(0, np.int64)
        rows = np.unique(self._order[spans(begin, end).places]).astype(np.int64)
        rows = rows[self.left[rows]]
        if not len(rows):
            return rows
        keys = rows_at(self.frame.get_column(KEY), rows).to_list()
        found: Ints = rows[[key in wanted.keys for key in keys]]
        return found

    def let_go(self, rows: Ints) -> None:
        """These rows wait no longer."""
        self.left[rows] = False
        self.rows -= len(rows)
        if 2 * self.rows <= self.frame.height and self.rows:
            self.__init__(self.whole, self.tier)  # type: ignore[misc]

    @property
    def whole(self) -> pl.DataFrame:
        """What is left."""
        if self.left.all():
            return self.frame
        return rows_at(self.frame, np.flatnonzero(self.left)).rechunk()

    def written(self) -> tuple[bytes, bytes]:
        """The frame as an Arrow stream, and which of its rows are left."""
        if self._written is None:
            sink = io.BytesIO()
            self.frame.write_ipc_stream(sink, compression="zstd")
            self._written = sink.getvalue()
            # It counts while it is kept.
            self.size_bytes += len(self._written)
        return self._written, np.packbits(self.left).tobytes()

    @classmethod
    def read(cls, frame: bytes, left: bytes) -> Self:
        """What was written. Raises PolarsError, OSError or ValueError when it is none."""
        found = cls(pl.read_ipc_stream(io.BytesIO(frame)))
        bits = np.unpackbits(np.frombuffer(left, np.uint8))
        if len(bits) < found.frame.height:
            raise ValueError("not every row of a frame that waits is told of")
        found.let_go(np.flatnonzero(bits[: found.frame.height] == 0))
        return found
