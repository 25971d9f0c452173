"""A store full of actions, made by the engine itself, of agents, sessions, tools and targets as
many and as uneven as a fleet has.

It may be kept in a folder: who is stopped while making it goes on where it broke off, and who asks
later makes nothing. The texts are shorter in words than people's and compress better.

A column that is empty costs as much to write as a full one, and these actions fill a fifth of them.
So the others are dropped before the first action and added after the last; what reads them finds
them empty, as it would have. For figures of writing there is the bench of `store`.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import Column
from tachograph.pipeline.store.rollups import ANSWER_TIMEOUT_S as ROLL_TIMEOUT_S
from tachograph.pipeline.store.rollups import roll_up
from tachograph.pipeline.store.tables_actions import ACTIONS_DATA, INNER

PIECE = 500_000
FILLERS = 2
ANSWER_TIMEOUT_S = 600
DAYS = 7
AGENTS = 2_000
NOTE = "made.json"
COLUMNS = (
    "event_id", "tenant", "partition_key", "raw_topic", "raw_partition", "raw_offset",
    "assurance", "kind", "event_time", "observed_time", "start_time", "duration_ms", "attempt",
    "outcome", "source_kind", "source_id", "principal_id", "principal_type", "agent_id",
    "agent_name", "agent_kind", "session_id", "trace_id", "span_id", "tool_name", "tool_server",
    "tool_call_id", "tool_args", "tool_args_hash", "tool_result", "tool_result_hash",
    "target_domain", "file_path", "content_text", "content_direction", "content_hash",
    "model_name", "model_provider", "usage_input_tokens", "usage_output_tokens",
    "policy_decision",
)  # fmt: skip

# A few agents do most of the work; a session has about forty actions; the newest come last.
_ACTIONS = """
INSERT INTO tacho.actions_data ({columns})
WITH
    number + {first} AS n,
    intDiv(n, 40) AS run,
    toUInt32(pow(cityHash64(run) % 1000000 / 1000000., 3) * {agents}) AS agent,
    cityHash64(n, 'tool') % 1000 AS draw,
    toUInt32(pow(draw / 1000., 2) * 60) AS tool,
    toUInt32(pow(cityHash64(n, 'host') % 10000 / 10000., 3) * 3000) AS host,
    n % 4 AS step,
    fromUnixTimestamp64Micro({newest_us}, 'UTC') - toIntervalMicrosecond(
        toUInt64(({total} - n) * ({days} * 86400 * 1000000. / {total}))) AS at
SELECT
    lower(hex(sipHash128(n))), 'acme', concat('svc-', toString(agent % 200)), 'otlp_spans',
    agent % 4, n, 'asserted',
    ['prompt', 'completion', 'tool_call', 'tool_result'][step + 1], at,
    at + toIntervalMicrosecond(cityHash64(n, 'lag') % 900000), at - toIntervalMillisecond(draw),
    draw, 'executed', if(cityHash64(n, 'out') % 100 < 4, 'failed', 'succeeded'), 'otlp_span',
    'openinference', concat('user', toString(agent % 700), '@acme.example'), 'human',
    concat('agent-', toString(agent)), concat('Agent ', toString(agent)), 'autonomous',
    lower(hex(sipHash128(run, 's'))), lower(hex(sipHash128(run, 't'))),
    lower(hex(cityHash64(n, 'p'))),
    if(step >= 2, concat('tool_', toString(tool)), ''),
    if(step >= 2, concat('mcp-', toString(tool % 12), '.acme.example'), ''),
    if(step >= 2, lower(hex(cityHash64(intDiv(n, 2), 'c'))), ''),
    if(step = 2, concat('{{"path":"/srv/data/', toString(host), '/', toString(draw),
        '.json","mode":"r","limit":', toString(draw), '}}'), ''),
    if(step = 2, lower(hex(sipHash128(host, draw))), ''),
    if(step = 3, concat('{{"rows":', toString(draw), ',"first":"',
        lower(hex(cityHash64(host, draw))), '","next":"page ', toString(host), '"}}'), ''),
    if(step = 3, lower(hex(sipHash128(host, draw, 'r'))), ''),
    if(tool >= 40, concat('host', toString(host), '.example'), ''),
    if(step = 2 AND tool < 40,
        concat('/srv/data/', toString(host), '/', toString(draw), '.json'), ''),
    if(step < 2, concat('Please look up order ', toString(host * 1000 + draw), ' of customer ',
        toString(host), ' and tell me what is missing in it, then write it down.'), ''),
    if(step = 0, 'in', if(step = 1, 'out', '')),
    if(step < 2, lower(hex(sipHash128(host, draw, 'c'))), ''),
    if(step = 1, ['model-a', 'model-b', 'model-c'][agent % 3 + 1], ''),
    if(step = 1, 'provider', ''), if(step = 1, 800 + draw, NULL), if(step = 1, draw, NULL),
    if(cityHash64(n, 'pol') % 1000 < 5, 'deny', 'allow')
FROM numbers({rows})
SETTINGS max_execution_time = 0
"""

# Empty, and there all the same: what indexes and feeds of the table read.
_READ = (
    "twin_key", "process_command_line", "approval_decision", "target_resource", "target_url",
    "target_host", "target_ip", "policy_reason", "error_message", "stored_at",
    "delegation_chain", "parent_agent_id", "credential_id", "credential_fingerprint",
    "tool_bytes_out",
    *(one.name for one in INNER),
)  # fmt: skip


class Made(msgspec.Struct):
    """How far a store is: of how many actions, when the newest is, which pieces are there."""

    total: int
    newest_us: int
    pieces: list[int]
    whole: bool = False


class Stock:
    """Actions in a server whose database is kept beside `folder`/made.json. Raises ConfigError
    where there are others already.
    """

    def __init__(self, writer: ClickHouseSettings, folder: Path, total: int) -> None:
        self._writer, self._note, self._lock = writer, folder / NOTE, threading.Lock()
        self._made = Made(total=total, newest_us=time.time_ns() // 1000, pieces=[])
        if self._note.exists():
            self._made = msgspec.json.decode(self._note.read_bytes(), type=Made)
        if self._made.total != total:
            raise ConfigError(f"{folder} is of {self._made.total:,} actions, not of {total:,}")

    @property
    def age_hours(self) -> int:
        """How long ago the newest action is, in whole hours begun."""
        return -(-(time.time_ns() // 1000 - self._made.newest_us) // 3_600_000_000)

    def fill(self) -> int:
        """Make what is missing, a piece by each core, and bring the tables up to date; how many
        actions were made.
        """
        missing = [at for at in range(0, self._made.total, PIECE) if at not in self._made.pieces]
        with self._connection() as connection:
            apply(connection, Layout())
            if not self._made.pieces:
                _alter(connection, [f"DROP COLUMN IF EXISTS {one.name}" for one in _left_out()])
                self._noted()
        with ThreadPoolExecutor(FILLERS) as pool:
            made = sum(pool.map(self._piece, missing))
        if not self._made.whole:
            with self._connection() as connection:
                added = [f"ADD COLUMN IF NOT EXISTS {one.clause}" for one in _left_out()]
                _alter(connection, added)
            self._made.whole = True
            self._noted()
        return made

    def roll(self) -> None:
        """Roll up all there is, with each core hours of its own; nothing is under way that would
        have to settle.
        """

        def roll(share: int) -> None:
            with self._connection(ROLL_TIMEOUT_S) as connection:
                while roll_up(connection, settled_s=0, share=(share, FILLERS)):
                    pass

        with ThreadPoolExecutor(FILLERS) as pool:
            list(pool.map(roll, range(FILLERS)))

    def _piece(self, first: int) -> int:
        rows = min(PIECE, self._made.total - first)
        with self._connection() as connection:
            connection.command(
                _ACTIONS.format(
                    columns=", ".join(COLUMNS), first=first, rows=rows, total=self._made.total,
                    newest_us=self._made.newest_us, agents=AGENTS, days=DAYS,
                )
            )  # fmt: skip
        with self._lock:
            self._made.pieces.append(first)
            self._noted()
        return rows

    def _connection(self, answer_timeout_s: int = ANSWER_TIMEOUT_S) -> Connection:
        return Connection(self._writer, answer_timeout_s=answer_timeout_s)

    def _noted(self) -> None:
        beside = self._note.with_suffix(".new")
        beside.write_bytes(msgspec.json.encode(self._made))
        beside.replace(self._note)


def _left_out() -> list[Column]:
    return [one for one in ACTIONS_DATA.columns if one.name not in (*COLUMNS, *_READ)]


def _alter(connection: Connection, changes: list[str]) -> None:
    connection.command(f"ALTER TABLE tacho.{ACTIONS_DATA.name} {', '.join(changes)}")
