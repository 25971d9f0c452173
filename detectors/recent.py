"""The last actions of sessions and what they tell of the agent: the captured state of alerts."""

import io
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors import state

LAST_ACTIONS = 20
MAX_ROWS = 200_000
MAX_BYTES = 48 * 1024 * 1024
# What is forgotten at a limit goes a frame at a time, each at most such a part of all.
MIN_FRAMES = 16
MAX_TEXT_CHARS = 160
# Whose an action is where its frame names no tenant.
DEFAULT_TENANT = "default"
# So many rows travel with a checkpoint: enough for the alerts that come right after it.
MAX_DUMPED_ROWS = 20_000
FORMAT = 4

# (tenant, partition key, session): a session of one service is none of another's, whatever it is
# called.
Session = tuple[str, str, str]

# What is kept of an action; long texts are cut.
_KEPT = (
    "tenant", "partition_key", "event_id", "event_time", "session_id", "trace_id", "kind",
    "operation", "tool_name", "tool_risk", "outcome", "error_type", "target_resource",
    "target_domain", "file_path", "model_name", "policy_decision", "guardrail_verdict",
    # What came to one agent and came to others too: incidents are joined by it.
    "tool_result_hash", "content_hash", "content_direction",
)  # fmt: skip
_PLACE = frozenset({"tenant", "partition_key", "event_id", "event_time", "session_id"})
# What all actions of a session share.
_OF_SESSION = frozenset({"session_id", "tenant", "partition_key"})
_CUT = ("tool_args", "tool_result", "content_text", "process_command_line")
# What is shown of one action; the rest tells of the session.
_SHOWN = (
    *(name for name in (*_KEPT, *_CUT) if name not in _OF_SESSION),
    "attempt", "memory_op", "memory_key", "approval_decision",
)  # fmt: skip
_SHORT = (*_CUT, *state.SHORT)


class Past(msgspec.Struct, frozen=True):
    """What is still held of one session."""

    # The last actions, oldest first, short.
    actions: list[dict[str, str]] = []
    # Fields of a StateSnapshot.
    known: dict[str, Any] = {}


class _State(msgspec.Struct, frozen=True):
    format: int
    rows: bytes


class Recent:
    """A ring of the newest actions of a partition, by rows and bytes."""

    def __init__(self, max_rows: int = MAX_ROWS, max_bytes: int = MAX_BYTES) -> None:
        self._frames: deque[pl.DataFrame] = deque()
        self._sizes: deque[int] = deque()
        # Hash of each row's session: what is looked at first.
        self._hashes: deque[npt.NDArray[np.uint64]] = deque()
        self._digests = state.Digests()
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self.rows = 0
        self.bytes = 0

    def push(self, frame: pl.DataFrame) -> None:
        """Remember actions."""
        if frame.is_empty():
            return
        # Most columns of most batches have no value: they cost nothing.
        said = {one.name for one in frame.get_columns() if one.null_count() < len(one)}
        have = said | _PLACE.intersection(frame.columns)
        kept = frame[[name for name in (*_KEPT, *state.WHOLE) if name in have]]
        if short := [name for name in _SHORT if name in said]:
            kept = kept.hstack(frame.select(pl.col(short).str.head(MAX_TEXT_CHARS)))
        self._append(kept.hstack(self._digests.made(frame)))

    def _append(self, kept: pl.DataFrame) -> None:
        self._frames.append(kept)
        if "session_id" in kept.columns:
            hashes = kept.get_column("session_id").hash().to_numpy()
        else:
            hashes = np.zeros(kept.height, np.uint64)
        self._hashes.append(hashes)
        self._sizes.append(int(kept.estimated_size()))
        self.rows += kept.height
        self.bytes += self._sizes[-1]
        while len(self._frames) > 1 and self._may_join():
            self._join()
        while len(self._frames) > 1 and (
            self.rows > self._max_rows or self.bytes > self._max_bytes
        ):
            self._hashes.popleft()
            self.rows -= self._frames.popleft().height
            self.bytes -= self._sizes.popleft()

    def _may_join(self) -> bool:
        """Whether the newest two frames are to be one: asking many small ones takes long. The
        older one is at most twice the other, so a row is moved a few times only.
        """
        older, newer = self._frames[-2].height, self._frames[-1].height
        return (
            older <= 2 * newer
            and older + newer <= self._max_rows // MIN_FRAMES
            and self._sizes[-2] + self._sizes[-1] <= self._max_bytes // MIN_FRAMES
        )

    def _join(self) -> None:
        newer, older = self._frames.pop(), self._frames.pop()
        self._frames.append(pl.concat([older, newer], how="diagonal", rechunk=True))
        hashes = self._hashes.pop(), self._hashes.pop()
        self._hashes.append(np.concatenate(hashes[::-1]))
        self._sizes.append(self._sizes.pop() + self._sizes.pop())

    def of_sessions(
        self, sessions: Mapping[Session, Iterable[str]], number: int = LAST_ACTIONS
    ) -> dict[Session, Past]:
        """What is held of sessions, by session.

        `sessions`: session → traces that are known to belong to it.
        """
        owners = pl.DataFrame(
            [
                (tenant, place, name, number)
                for number, ((tenant, place, session), traces) in enumerate(sessions.items())
                for name in (session, *traces)
            ],
            schema=_OWNERS,
            orient="row",
        )
        if owners.is_empty() or not self._frames:
            return {}
        wanted = np.unique(owners["session_id"].hash().to_numpy())
        found = []
        for frame, hashes in zip(self._frames, self._hashes, strict=True):
            rows = np.flatnonzero(_among(hashes, wanted))
            if len(rows):
                found.append(frame[rows])
        if not found:
            return {}
        return _pasts(pl.concat(found, how="diagonal"), owners, list(sessions), number)

    def dump(self) -> bytes:
        frames: list[pl.DataFrame] = []
        spare = MAX_DUMPED_ROWS
        for frame in reversed(self._frames):
            frames.append(frame.tail(spare))
            spare -= frames[-1].height
            if spare <= 0:
                break
        sink = io.BytesIO()
        if frames:
            whole = pl.concat(reversed(frames), how="diagonal")
            whole.write_ipc_stream(sink, compression="zstd")
        return msgspec.msgpack.encode(_State(FORMAT, sink.getvalue()))

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours."""
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"recent actions of format {kept.format}, not {FORMAT}")
        self._frames.clear()
        self._sizes.clear()
        self._hashes.clear()
        self.rows = self.bytes = 0
        if kept.rows:
            self._append(pl.read_ipc_stream(io.BytesIO(kept.rows)))


def _among(hashes: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which hashes are among the wanted, which are ascending and at least one."""
    at = np.minimum(np.searchsorted(wanted, hashes), len(wanted) - 1)
    found: npt.NDArray[np.bool_] = wanted[at] == hashes
    return found


_OWNERS = {
    "tenant": pl.String, "partition_key": pl.String, "session_id": pl.String, "~owner": pl.Int64,
}  # fmt: skip


def _pasts(
    rows: pl.DataFrame, owners: pl.DataFrame, sessions: list[Session], number: int
) -> dict[Session, Past]:
    """`owners`: number of the session that tenant, partition key and session or trace belong to."""
    absent = [name for name in ("tenant", "partition_key") if name not in rows.columns]
    whole = (
        rows.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
        .with_columns(
            pl.col("tenant").fill_null(DEFAULT_TENANT), pl.col("partition_key").fill_null("")
        )
        .join(owners, on=["tenant", "partition_key", "session_id"])
        .unique("event_id", keep="first")
        .sort("event_time", "event_id")
    )
    owner = whole["~owner"]
    shown = [name for name in _SHOWN if name in whole.columns]
    last = whole.select("~owner", *shown).group_by("~owner", maintain_order=True).tail(number)
    actions: dict[int, list[dict[str, str]]] = {}
    for row in last.iter_rows(named=True):
        actions.setdefault(row.pop("~owner"), []).append(_short(row))
    known = state.states(whole.drop("~owner"), owner)
    return {sessions[one]: Past(told, known[one]) for one, told in actions.items()}


def _short(row: dict[str, Any]) -> dict[str, str]:
    out: dict[str, str] = {}
    for name, value in row.items():
        if value is None:
            continue
        out[name] = value.isoformat().replace("+00:00", "Z") if name == "event_time" else str(value)
    return out
