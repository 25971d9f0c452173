"""Every limit of the embedded ClickHouse, in one place. None can be raised by a reader."""

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
    max_text_growth_bytes: int = 256 * MiB
    max_spill_bytes: int = 1024 * MiB
    kill_grace_s: float = 5.0

    def settings(self) -> dict[str, int | str]:
        """The engine's names for them, set on a connection before it becomes read-only."""
        return {
            "max_execution_time": self.max_execution_time_s,
            "max_memory_usage": self.max_memory_bytes,
            "max_threads": self.max_threads,
            "max_result_rows": self.max_result_rows,
            "max_result_bytes": self.max_result_bytes,
            "max_temporary_data_on_disk_size_for_query": self.max_spill_bytes,
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
    # Names besides loopback's and the bound one by which clients may call the server.
    host_names: tuple[str, ...] = ()


def describe(limits: Limits) -> tuple[str, ...]:
    """Sentences for a person who starts the stand-in."""
    reader = limits.reader
    return (
        "ClickHouse is the embedded chDB engine on a local HTTP port: one process, one disk, no "
        "replication.",
        f"Readers need no password and can change nothing: {reader.concurrency} queries at a time; "
        f"{reader.max_execution_time_s} s, {reader.max_memory_bytes // MiB} MiB and "
        f"{reader.max_threads} threads each; results up to {reader.max_result_rows:,} rows and "
        f"{reader.max_result_bytes // MiB} MiB.",
        "Nothing outside the database (files, URLs, other servers) can be read through it, and "
        "only this run's writer may insert.",
        "It offers no external tables, no block compression of what is sent (decompress=1) and no "
        "native TCP port.",
    )
