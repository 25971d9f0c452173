"""What analysts wait for: the commonest questions over many actions, with what each reads, and
what an action takes at rest.

    make bench ARGS="--only analyst --actions 100000000 --store FOLDER"

With a folder the actions stay there: the same line asks again later, and goes on making where it
was stopped. `--make-only` asks nothing. How they are made: stock.py.
"""

import contextlib
import math
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from infra.bench.gauge import cpu_s
from infra.bench.stock import Stock
from infra.bench.table import Figure
from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.query.hunts import hunts
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse

# A question is asked of so many agents, sessions or tools.
ASKED = 10
IDS = ("event_id", "session_id", "trace_id", "span_id", "tool_call_id", "tool_args_hash",
       "tool_result_hash", "content_hash", "raw_offset")  # fmt: skip


class Asked(msgspec.Struct, frozen=True):
    """A hunt, and where the values of one parameter come from."""

    hunt: str
    parameter: str = ""
    values: str = ""
    of: str = ""

    @property
    def name(self) -> str:
        """What is asked, and of whom where it is asked of several kinds."""
        return f"{self.hunt} {self.of}".strip()


# One of a thousand principals has a twelfth of all actions.
_PRINCIPALS = "SELECT principal_id FROM tacho.actions_data GROUP BY 1 ORDER BY count() DESC LIMIT"
_AGENTS = "SELECT agent_id FROM tacho.actions_data GROUP BY 1 ORDER BY cityHash64(agent_id) LIMIT"
_SESSIONS = "SELECT session_id FROM tacho.actions_data WHERE raw_offset % 40000 = 0 LIMIT"
_HOSTS = "SELECT target_domain FROM tacho.actions_data WHERE target_domain != '' LIMIT"
QUESTIONS = (
    Asked("agent-timeline", "agent", _AGENTS),
    Asked("conversation", "session", _SESSIONS),
    Asked("blast-radius", "agent", _AGENTS),
    Asked("blast-radius", "principal", _PRINCIPALS, "of the busiest principals"),
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


def answers(reader: Reader, server_pid: int, age_hours: int) -> Iterator[Answered]:
    """Each question, asked several times; one that is over a reader's limits takes for ever. Hours
    are counted back from the newest action.
    """
    for asked in QUESTIONS:
        hunt = hunts()[asked.hunt]
        defaults = {one.name: one.default for one in hunt.parameters}
        if "hours" in defaults:
            defaults["hours"] = str(int(defaults["hours"]) + age_hours)
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
            hunt=asked.name,
            p50_s=times[len(times) // 2],
            p95_s=times[-1],
            cpu_s=max(spent, default=0.0),
            rows_read=read.rows_read,
            bytes_read=read.bytes_read,
        )


def at_rest(reader: Reader) -> tuple[float, float, float]:
    """Bytes an action on disk: of what is no id, of ids, and of indexes over both. Of columns none
    is told where a part is small enough to be one file, so its rows do not count.
    """
    rows = reader.rows(
        "SELECT name, sum(data_compressed_bytes) AS bytes FROM system.columns"
        " WHERE database = 'tacho' AND table = 'actions_data' GROUP BY name"
    )
    [more] = reader.rows(
        "SELECT (SELECT sum(rows) FROM system.parts WHERE active AND part_type = 'Wide' AND"
        " database = 'tacho' AND table = 'actions_data') AS n, sum(data_compressed_bytes) AS bytes"
        " FROM system.data_skipping_indices WHERE database = 'tacho' AND table = 'actions_data'"
    )
    total, every = max(1, int(more["n"])), sum(int(row["bytes"]) for row in rows)
    ids = sum(int(row["bytes"]) for row in rows if row["name"] in IDS)
    return (every - ids) / total, ids / total, int(more["bytes"]) / total


def rolled_at_rest(reader: Reader) -> int:
    """Bytes of the roll-ups on disk, and of what was denied."""
    [row] = reader.rows(
        "SELECT sum(data_compressed_bytes) AS bytes FROM system.parts WHERE active AND"
        " database = 'tacho' AND table IN ('touched_data', 'minutes_data', 'hours_data',"
        " 'denials_data', 'delegated_data', 'destinations_data', 'texts_data', 'reached_data')"
    )
    return int(row["bytes"])


def figures(total: int, kept: Path | None = None, *, ask: bool = True) -> Iterator[Figure]:
    """Make actions, or what is missing of them in the folder `kept`; roll up; ask. Lines for what
    is at rest, and one for each question.
    """
    with contextlib.ExitStack() as stack:
        folder = kept or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        server = stack.enter_context(EmbeddedClickHouse(folder / "clickhouse"))
        writer = ClickHouseSettings(
            url=server.url, user=server.writer_user, password=server.writer_password
        )
        stock = Stock(writer, folder, total)
        began_s, began_cpu_s = time.perf_counter(), cpu_s(server.pid)
        made = stock.fill()
        filled_s = time.perf_counter() - began_s
        with Reader(ClickHouseSettings(url=server.url)) as reader:
            plain, ids, indexes = at_rest(reader)
            yield Figure(
                name="at rest", per_s=made / filled_s, bytes_each=plain + ids,
                core_us=(cpu_s(server.pid) - began_cpu_s) / made * 1e6 if made else 0,
                note=f"{total:,} actions; bytes an action: {plain:.1f}, and {ids:.1f} of ids;"
                f" indexes {indexes:.1f} beside them",
            )  # fmt: skip
            began_s, began_cpu_s = time.perf_counter(), cpu_s(server.pid)
            stock.roll()
            yield Figure(
                name="rolled up", per_s=total / (time.perf_counter() - began_s),
                bytes_each=rolled_at_rest(reader) / total,
                core_us=(cpu_s(server.pid) - began_cpu_s) / total * 1e6,
                note="touches and texts by hour, minutes of agents, denials",
            )  # fmt: skip
            if not ask:
                return
            for one in answers(reader, server.pid, stock.age_hours):
                yield Figure(
                    name=one.hunt, per_s=0, core_us=0, bytes_each=one.bytes_read / total,
                    note=f"p50 {one.p50_s:.2f} s, p95 {one.p95_s:.2f} s, {one.cpu_s:.2f} core-s;"
                    f" read {one.rows_read:,} rows, {one.bytes_read / 1e6:,.0f} MB",
                )  # fmt: skip
