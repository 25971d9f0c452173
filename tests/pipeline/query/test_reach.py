"""What somebody touched is asked within a reader's memory, however much it was."""

import pytest

from tachograph.pipeline.query import reader as asking
from tachograph.pipeline.query.hunts import found
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.tables_texts import hour_named

FILES, AGENTS = 300_000, 7
# A tenth of what an embedded reader has.
MEMORY_BYTES = 72 << 20
BUSY = "ops@acme.example"
HOUR = "toDateTime('2026-11-20 00:00:00', 'UTC') + number % 168 * 3600"
TO = "toDateTime64('2026-11-28 00:00:00', 6, 'UTC')"


@pytest.fixture(scope="module")
def busy(clickhouse: ClickHouseSettings) -> ClickHouseSettings:
    """A week that is rolled up, of a principal that touched every file once by one of its agents,
    and one of them once more by all.
    """
    with Connection(clickhouse) as connection:
        for what, at in (("changed", "hour"), ("reached", TO)):
            connection.command(
                "INSERT INTO tacho.hours_data (tenant, hour, what, at)"
                f" SELECT 'acme', {HOUR} AS hour, '{what}', {at} FROM numbers(168)"
            )
        rolled = hour_named(HOUR, TO)
        for rows, name in ((FILES, "number"), (AGENTS, "0")):
            connection.command(
                "INSERT INTO tacho.reached_data (tenant, agent_id, principal_id, touched_type,"
                " touched, rolled, actions, began_us)"
                f" SELECT 'acme', concat('agent-', toString(number % {AGENTS})), '{BUSY}', 'file',"
                f" concat('/srv/data/of/the/department/', toString({name}), '.json'), {rolled},"
                f" 1, 5000000 FROM numbers({rows})"
            )
    return clickhouse


@pytest.mark.parametrize("whose", ["principal", "agent"])
def test_who_touched_very_much_is_told_within_little_memory(
    busy: ClickHouseSettings, whose: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(asking.LIMITS, "max_memory_usage", MEMORY_BYTES)
    hunt = found("blast-radius")
    given = {one.name: one.default for one in hunt.parameters} | {"each": "3"}
    given |= {"principal": BUSY} if whose == "principal" else {"agent": "agent-0"}
    with Reader(busy) as reader:
        rows = reader.rows(hunt.sql, given)
    assert rows[0]["touched"].endswith("/0.json")
    assert int(rows[0]["actions"]) == (1 + AGENTS if whose == "principal" else 2)
    assert len(rows[0]["agents"]) == (5 if whose == "principal" else 1)
    assert {int(row["different"]) for row in rows} == {
        FILES if whose == "principal" else -(-FILES // AGENTS)
    }
    assert len(rows) == 3
