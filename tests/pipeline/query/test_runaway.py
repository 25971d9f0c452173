"""An analyst's runaway query takes nothing from `store`: rows go in while it runs, and its limit
ends it by name.
"""

import threading

import polars as pl
import pytest

from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tests.detectors.made import frame
from tests.pipeline.stored import Ask, Store

ENDLESS = "SELECT /*runaway*/ count() FROM system.numbers WHERE NOT ignore(sipHash64(number))"
GREEDY = "SELECT /*runaway*/ length(groupArray(number)) FROM numbers(2000000000)"
BATCHES, ROWS = 5, 50
# Of batches: a machine may be so slow that a query has its time before a batch is stored.
MOST_TRIES = 20


class Runaway:
    """A reader's query on a thread of its own, and what it was told in the end."""

    def __init__(self, clickhouse: ClickHouseSettings, sql: str) -> None:
        self.told = ""
        self._reader = Reader(ClickHouseSettings(url=clickhouse.url))
        self._thread = threading.Thread(target=self._run, args=(sql,), daemon=True)
        self._thread.start()

    @property
    def runs(self) -> bool:
        return self._thread.is_alive()

    def _run(self, sql: str) -> None:
        try:
            self.told = str(self._reader.rows(sql))
        except TachoError as error:
            self.told = str(error)
        finally:
            self._reader.close()

    def wait(self) -> str:
        self._thread.join()
        return self.told


def rows(tenant: str, batch: int) -> pl.DataFrame:
    made = [
        {"event_id": f"e{batch}-{number}", "event_time": number, "kind": "tool_call"}
        for number in range(ROWS)
    ]
    return frame(made).with_columns(tenant=pl.lit(tenant))


def started(clickhouse: ClickHouseSettings, ask: Ask) -> Runaway:
    """A runaway query that the engine is at work on."""
    found = Runaway(clickhouse, ENDLESS)
    at_work = "SELECT count() FROM system.processes WHERE query LIKE 'SELECT /*runaway*/ count()%'"
    while found.runs and ask(at_work) == [(0,)]:
        pass
    return found


@pytest.mark.slow
def test_rows_are_stored_while_a_runaway_query_runs_and_a_greedy_one_is_ended_by_name(
    clickhouse: ClickHouseSettings, store: Store, ask: Ask, tenant: str
) -> None:
    runaway, greedy = started(clickhouse, ask), Runaway(clickhouse, GREEDY)
    stored = beside = 0
    while beside < BATCHES and stored < MOST_TRIES:
        if not runaway.runs:
            assert "TIMEOUT_EXCEEDED" in runaway.told
            runaway = started(clickhouse, ask)
        store(rows(tenant, stored))
        stored += 1
        beside += runaway.runs
    assert beside == BATCHES
    assert "MEMORY_LIMIT_EXCEEDED" in greedy.wait()
    found = ask(f"SELECT count(), uniqExact(event_id) FROM tacho.actions WHERE tenant = '{tenant}'")
    assert found == [(stored * ROWS, stored * ROWS)]
