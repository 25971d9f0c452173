"""What analysts wait for: the ten commonest questions over many actions, with what each reads, and
what an action takes at rest.

    make bench ARGS="--only analyst --actions 100000000"

Actions are made by the engine itself, of agents, sessions, tools and targets as many and as uneven
as a fleet has. The texts are shorter in words than people's and compress better: bytes at rest are
told with ids and texts apart.
"""

import math
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from infra.bench.gauge import cpu_s
from infra.bench.table import Figure
from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.query.hunts import hunts
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.rollups import ANSWER_TIMEOUT_S as ROLL_TIMEOUT_S
from tachograph.pipeline.store.rollups import roll_up

PIECE = 250_000
FILLERS = 2
ANSWER_TIMEOUT_S = 600
DAYS = 7
AGENTS = 2_000
# A question is asked of so many agents, sessions or tools.
ASKED = 10
IDS = ("event_id", "session_id", "trace_id", "span_id", "tool_call_id", "tool_args_hash",
       "tool_result_hash", "content_hash", "raw_offset")  # fmt: skip

# A few agents do most of the work; a session has about forty actions; the newest come last.
_ACTIONS = """
INSERT INTO tacho.actions_data (event_id, tenant, partition_key, raw_topic, raw_partition,
    raw_offset, assurance, kind, event_time, observed_time, start_time, duration_ms, attempt,
    outcome, source_kind, source_id, principal_id, principal_type, agent_id, agent_name, agent_kind,
    session_id, trace_id, span_id, tool_name, tool_server, tool_call_id, tool_args, tool_args_hash,
    tool_result, tool_result_hash, target_domain, file_path, content_text, content_direction,
    content_hash, model_name, model_provider, usage_input_tokens, usage_output_tokens,
    policy_decision)
WITH
    number + {first} AS n,
    intDiv(n, 40) AS run,
    toUInt32(pow(cityHash64(run) % 1000000 / 1000000., 3) * {agents}) AS agent,
    cityHash64(n, 'tool') % 1000 AS draw,
    toUInt32(pow(draw / 1000., 2) * 60) AS tool,
    toUInt32(pow(cityHash64(n, 'host') % 10000 / 10000., 3) * 3000) AS host,
    n % 4 AS step,
    toDateTime64(now64(6), 6, 'UTC') - toIntervalMicrosecond(
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


class Asked(msgspec.Struct, frozen=True):
    """A hunt, and where the values of one parameter come from."""

    hunt: str
    parameter: str = ""
    values: str = ""


_AGENTS = "SELECT agent_id FROM tacho.actions_data GROUP BY 1 ORDER BY cityHash64(agent_id) LIMIT"
_SESSIONS = "SELECT session_id FROM tacho.actions_data WHERE raw_offset % 40000 = 0 LIMIT"
_HOSTS = "SELECT target_domain FROM tacho.actions_data WHERE target_domain != '' LIMIT"
QUESTIONS = (
    Asked("agent-timeline", "agent", _AGENTS),
    Asked("conversation", "session", _SESSIONS),
    Asked("blast-radius", "agent", _AGENTS),
    Asked("who-else", "touched", _HOSTS),
    Asked("agent-tools", "agent", _AGENTS),
    Asked("denied-actions"),
    Asked("new-destinations"),
    Asked("token-costs"),
    Asked("action-rates"),
    Asked("same-text-many-agents"),
)


class _Read(msgspec.Struct, frozen=True):
    rows_read: int = 0
    bytes_read: int = 0


class _Answer(msgspec.Struct, frozen=True):
    statistics: _Read


class Answered(msgspec.Struct, frozen=True):
    """How long a question took, in seconds, what CPU time at most, and what it read."""

    hunt: str
    p50_s: float
    p95_s: float
    cpu_s: float
    rows_read: int
    bytes_read: int


def fill(writer: ClickHouseSettings, total: int) -> None:
    """Make so many actions; a piece is made by one core."""

    def piece(first: int) -> None:
        rows = min(PIECE, total - first)
        with Connection(writer, answer_timeout_s=ANSWER_TIMEOUT_S) as connection:
            connection.command(
                _ACTIONS.format(first=first, rows=rows, total=total, agents=AGENTS, days=DAYS)
            )

    with ThreadPoolExecutor(FILLERS) as pool:
        for _ in pool.map(piece, range(0, total, PIECE)):
            pass


def answers(reader: Reader, server_pid: int) -> Iterator[Answered]:
    """Each question, asked several times; one that is over a reader's limits takes for ever."""
    for asked in QUESTIONS:
        hunt = hunts()[asked.hunt]
        defaults = {one.name: one.default for one in hunt.parameters}
        wanted: list[dict[str, str]] = [{}] * ASKED
        if asked.values:
            rows = reader.rows(f"{asked.values} {ASKED}")
            wanted = [{asked.parameter: str(next(iter(row.values())))} for row in rows]
        times, spent, read = [], [], _Read()
        for values in wanted:
            began_s, began_cpu_s = time.perf_counter(), cpu_s(server_pid)
            try:
                body = b"".join(reader.stream(hunt.sql, {**defaults, **values}, "JSON"))
            except TachoError:
                times.append(math.inf)  # over the limits of a reader
                break
            times.append(time.perf_counter() - began_s)
            spent.append(cpu_s(server_pid) - began_cpu_s)
            one = msgspec.json.decode(body, type=_Answer).statistics
            read = max(read, one, key=lambda each: each.rows_read)
        times.sort()
        yield Answered(
            hunt=asked.hunt,
            p50_s=times[len(times) // 2],
            p95_s=times[-1],
            cpu_s=max(spent, default=0.0),
            rows_read=read.rows_read,
            bytes_read=read.bytes_read,
        )


def at_rest(reader: Reader) -> tuple[float, float]:
    """Bytes an action on disk: without ids, and with them."""
    rows = reader.rows(
        "SELECT name, sum(data_compressed_bytes) AS bytes FROM system.columns"
        " WHERE database = 'tacho' AND table = 'actions_data' GROUP BY name"
    )
    [counted] = reader.rows("SELECT count() AS n FROM tacho.actions_data")
    total = int(counted["n"])
    ids = sum(int(row["bytes"]) for row in rows if row["name"] in IDS)
    return (sum(int(row["bytes"]) for row in rows) - ids) / total, ids / total


def roll(settings: ClickHouseSettings) -> None:
    """Roll up all there is; nothing is under way that would have to settle."""
    with Connection(settings, answer_timeout_s=ROLL_TIMEOUT_S) as connection:
        while roll_up(connection, settled_s=0):
            pass


def rolled_at_rest(reader: Reader) -> int:
    """Bytes of the roll-ups on disk."""
    [row] = reader.rows(
        "SELECT sum(data_compressed_bytes) AS bytes FROM system.columns WHERE database = 'tacho'"
        " AND table IN ('touched_data', 'minutes_data', 'hours_data')"
    )
    return int(row["bytes"])


def figures(total: int) -> Iterator[Figure]:
    """Fill, roll up, ask: lines for what is at rest, and one for each question."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedClickHouse(Path(folder)) as server:
        writer = ClickHouseSettings(
            url=server.url, user=server.writer_user, password=server.writer_password
        )
        began_s, began_cpu_s = time.perf_counter(), cpu_s(server.pid)
        with Connection(writer, answer_timeout_s=ANSWER_TIMEOUT_S) as connection:
            apply(connection, Layout())
        fill(writer, total)
        filled_s = time.perf_counter() - began_s
        with Reader(ClickHouseSettings(url=server.url)) as reader:
            plain, ids = at_rest(reader)
            yield Figure(
                name="at rest", per_s=total / filled_s, bytes_each=plain + ids,
                core_us=(cpu_s(server.pid) - began_cpu_s) / total * 1e6,
                note=f"{total:,} actions; bytes an action: {plain:.1f}, and {ids:.1f} of ids",
            )  # fmt: skip
            began_s, began_cpu_s = time.perf_counter(), cpu_s(server.pid)
            roll(writer)
            yield Figure(
                name="rolled up", per_s=total / (time.perf_counter() - began_s),
                bytes_each=rolled_at_rest(reader) / total,
                core_us=(cpu_s(server.pid) - began_cpu_s) / total * 1e6,
                note="touches by hour, minutes of agents",
            )  # fmt: skip
            for one in answers(reader, server.pid):
                yield Figure(
                    name=one.hunt, per_s=0, core_us=0, bytes_each=one.bytes_read / total,
                    note=f"p50 {one.p50_s:.2f} s, p95 {one.p95_s:.2f} s, {one.cpu_s:.2f} core-s;"
                    f" read {one.rows_read:,} rows, {one.bytes_read / 1e6:,.0f} MB",
                )  # fmt: skip
