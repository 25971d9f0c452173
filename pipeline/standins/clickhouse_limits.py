"""Every limit of the embedded ClickHouse, in one place. The engine or the HTTP door enforces each; none can be raised by a reader."""

from dataclasses import dataclass

MiB = 1 << 20

MAX_QUERY_BYTES = (
    1 * MiB
)  # a reader's whole request body, and a writer's statement without its data
MAX_INSERT_BODY_BYTES = 128 * MiB  # a writer's body as it arrives
MAX_DECOMPRESSED_BYTES = 512 * MiB  # the same after decompression: a bomb ends here
MAX_INSERT_HEAD_BYTES = 256 << 10  # where the data of an INSERT must have begun
MAX_URL_AND_HEADER_BYTES = 256 << 10
MAX_PARAMS = 2_000  # parameters and settings of one request
MAX_CONNECTIONS = 256
MAX_SESSIONS = 64
BODY_READ_TIMEOUT_S = 60.0
SESSION_TIMEOUT_S = 60
MAX_SESSION_TIMEOUT_S = 3600
STREAM_BUFFER_CHUNKS = 4  # results on the way to a client that reads slowly
CLIENT_STALL_TIMEOUT_S = 60.0  # a client that takes nothing for this long loses its query


@dataclass(frozen=True)
class ReaderLimits:
    """What one anonymous query may cost."""

    concurrency: int = 3
    queued: int = 24
    queue_timeout_s: float = 20.0
    max_execution_time_s: int = 30
    max_memory_bytes: int = 768 * MiB
    max_threads: int = 2
    max_result_rows: int = 1_000_000
    max_result_bytes: int = 64 * MiB

    def settings(self) -> dict[str, int | str]:
        """The engine's names for these limits. Set on every reader's connection before it becomes read-only."""
        return {
            "max_execution_time": self.max_execution_time_s,
            "max_memory_usage": self.max_memory_bytes,
            "max_threads": self.max_threads,
            "max_result_rows": self.max_result_rows,
            "max_result_bytes": self.max_result_bytes,
            "max_query_size": MAX_QUERY_BYTES,
            "result_overflow_mode": "throw",
            "timeout_overflow_mode": "throw",
            "max_untracked_memory": 1 * MiB,
        }


@dataclass(frozen=True)
class Limits:
    """Limits of one embedded server."""

    reader: ReaderLimits = ReaderLimits()
    writer_concurrency: int = 4
    max_server_memory_bytes: int = 4096 * MiB


def describe(limits: Limits) -> tuple[str, ...]:
    """Sentences for a person who starts the stand-in."""
    reader = limits.reader
    return (
        "ClickHouse is the embedded chDB engine behind a local HTTP port: one process, one disk, no replication.",
        f"Readers need no password and can change nothing: {reader.concurrency} queries at a time, "
        f"{reader.max_execution_time_s} s, {reader.max_memory_bytes // MiB} MiB and {reader.max_threads} threads each, "
        f"results up to {reader.max_result_rows:,} rows and {reader.max_result_bytes // MiB} MiB.",
        "Files, URLs and other servers cannot be read through it, and only this run's writer may insert.",
        "External tables, LZ4 block compression (compress=1, decompress=1), TLS and the native TCP port are not offered.",
    )
