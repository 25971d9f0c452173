# ruff: noqa: S608 - names of ours and numbers
"""Rolling up hours of actions in which nothing has been stored for a while.

One store process does it: the one that owns the first partition of actions. An hour is counted
whole and anew, never added to; so whatever was repeated, came late or was written again, the
roll-up is what the actions say. What fails or is cut off half-way counts nothing: an hour's
`rolled_to` is noted last, and rows of another `rolled_to` are passed over.
"""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from tachograph.pipeline import metrics
from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store import tables_reached as reached
from tachograph.pipeline.store import tables_rollups as tables
from tachograph.pipeline.store import tables_texts as texts
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.pending import STAGE
from tachograph.pipeline.store.records import ACTIONS_TOPIC

log = get("store.rollups")

FIRST = (ACTIONS_TOPIC, 0)
EVERY_S = 60.0
# Rests so many times as long as it worked: who sends late actions to many hours costs no more.
REST = 9.0
# Longer than an insert takes: what is under way is noted before its hour is rolled up.
SETTLED_S = 120
HOURS_A_ROUND = 240
# Of a statement. An hour lies scattered: the fewer its actions, the more is read beside them, so
# that many small hours go together; of large ones no more than memory is there for.
ACTIONS_A_STATEMENT = 4_000_000
ANSWER_TIMEOUT_S = 600
END_WITHIN_S = 1.0
# One thread, little memory: nobody waits for it, and inserts and analysts go first.
_MODEST = (
    f"SETTINGS max_execution_time = {ANSWER_TIMEOUT_S - 20}, max_threads = 1,"
    " max_bytes_before_external_group_by = 268435456"
)
# How it is noted of an hour that it is rolled up → into which tables, by which query.
_SELECTED = {
    tables.NOTED: ((tables.TOUCHED_DATA, tables.touches), (tables.MINUTES_DATA, tables.minutes)),
    texts.NOTED: ((texts.TEXTS_DATA, texts.texts),),
    reached.NOTED: ((reached.REACHED_DATA, reached.reached),),
}
_UTC = "'UTC'"


def roll_up(
    connection: Connection, settled_s: float = SETTLED_S, share: tuple[int, int] = (0, 1)
) -> int:
    """Roll up what has settled, the newest hours first; how many hours. `share`: (which, of how
    many) where several do it at a time, each every so many hours. Raises RetryLater, Refused.
    """
    done: set[int] = set()
    for noted in _SELECTED:
        hours, rolled_to_us = _settled(connection, noted, settled_s, share)
        together = _together(connection) if hours else 1
        for begin in range(0, len(hours), together):
            _roll(connection, noted, hours[begin : begin + together], rolled_to_us)
        done.update(hours)
    return len(done)


def _settled(
    connection: Connection, noted: str, settled_s: float, share: tuple[int, int]
) -> tuple[list[int], int]:
    """Hours that have settled and are not in the roll-up [s], and until when they have [µs]."""
    which, of = share
    found = connection.rows(
        f"""SELECT toUnixTimestamp(hour) AS at, toUnixTimestamp64Micro(settled)
FROM (SELECT hour, maxIf(at, what = '{noted}') AS rolled, maxIf(at, what = 'changed') AS changed,
    now64(6, 'UTC') - toIntervalMicrosecond({round(settled_s * 1e6)}) AS settled
    FROM tacho.hours_data GROUP BY hour)
WHERE rolled < changed AND changed <= settled AND intDiv(at, 3600) % {of} = {which}
ORDER BY hour DESC LIMIT {HOURS_A_ROUND}"""
    )
    return [int(row[0]) for row in found], int(found[0][1]) if found else 0


def _together(connection: Connection) -> int:
    """How many hours of the usual size go into a statement."""
    [(actions, hours)] = connection.rows(
        "SELECT (SELECT count() FROM tacho.actions_data), uniqExact(hour) FROM tacho.hours_data"
    )
    return max(1, ACTIONS_A_STATEMENT * int(hours) // max(1, int(actions)))


def _roll(connection: Connection, noted: str, hours: Sequence[int], rolled_to_us: int) -> None:
    among = f"IN ({', '.join(f'toDateTime({hour}, {_UTC})' for hour in hours)})"
    rolled_to = f"fromUnixTimestamp64Micro({rolled_to_us}, {_UTC})"
    for table, selected in _SELECTED[noted]:
        columns = list(table.columns)
        # Rows expire when the last of what they count does.
        more = {"rolled_to": rolled_to, "stored_at": "max(a.stored_at)"}
        names = ", ".join(column.name for column in columns)
        query = selected(columns, among, more)
        connection.command(f"INSERT INTO tacho.{table.name} ({names})\n{query}\n{_MODEST}")
    connection.command(
        f"INSERT INTO tacho.{tables.HOURS_DATA.name} (tenant, hour, what, at)"
        f" SELECT DISTINCT tenant, hour, '{noted}', {rolled_to}"
        f" FROM tacho.{tables.HOURS_DATA.name} WHERE hour {among}"
    )


class Rolling:
    """A thread of its own that rolls up now and then, while `owns` says that it is ours to do.

    Use as a context manager. Its failures are told and tried again; they hold nothing up.
    """

    def __init__(
        self,
        settings: Settings,
        stop: threading.Event,
        owns: Callable[[], bool],
        *,
        connect: Callable[[], Connection] | None = None,
        every_s: float = EVERY_S,
    ) -> None:
        self._stop, self._ended, self._owns = stop, threading.Event(), owns
        self._connect = connect or (
            lambda: Connection(settings.clickhouse, answer_timeout_s=ANSWER_TIMEOUT_S)
        )
        self._every_s = every_s
        self._thread = threading.Thread(target=self._run, name="store-rollups", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        # A statement under way is left alone: it counts nothing unless it ends well.
        self._thread.join(END_WITHIN_S)

    def _run(self) -> None:
        wait_s = self._every_s
        while not self._ended.wait(wait_s) and not self._stop.is_set():
            began_s = time.monotonic()
            if self._owns():
                self._round()
            wait_s = max(self._every_s, REST * (time.monotonic() - began_s))

    def _round(self) -> None:
        try:
            with self._connect() as connection:
                hours = roll_up(connection)
        except (RetryLater, Refused) as problem:
            metrics.RETRIES.labels(STAGE, "roll_up").inc()
            log.warning("not rolled up", reason=str(problem))
            return
        if hours:
            log.info("rolled up", hours=hours)
