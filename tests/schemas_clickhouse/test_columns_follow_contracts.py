"""Contracts, tables and views say the same, column by column."""

import pytest

from tachograph.pipeline.store.catalogue import TABLES, VIEWS, written
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import Column, columns_of
from tachograph.schemas import batch
from tachograph.schemas.action import Action
from tachograph.schemas.alert import Alert, Signal, StateSnapshot
from tachograph.schemas.fields import Record

Described = dict[str, tuple[str, str]]


def described(connection: Connection, table: str) -> Described:
    """Column → (type, comment) as the server has it."""
    rows = connection.rows(
        "SELECT name, type, comment FROM system.columns"
        f" WHERE database = 'tacho' AND table = '{table}' ORDER BY position"
    )
    return {str(name): (str(kind), str(comment)) for name, kind, comment in rows}


def wanted(columns: list[Column]) -> Described:
    """The same, as the contracts say it."""
    return {column.name: (column.type, column.comment) for column in columns}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_table_has_just_the_columns_that_its_contract_asks_for(
    migrated: Connection, name: str
) -> None:
    assert described(migrated, name) == wanted(list(TABLES[name].columns))


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_a_view_shows_just_the_columns_that_its_contract_asks_for(
    migrated: Connection, name: str
) -> None:
    assert described(migrated, name) == wanted(list(VIEWS[name].columns))


@pytest.mark.parametrize(
    ("contract", "view"),
    [(Action, "actions"), (Signal, "signals"), (Alert, "alerts"), (StateSnapshot, "agent_state")],
)
def test_every_field_of_a_contract_is_a_column_analysts_can_read(
    contract: type[Record], view: str
) -> None:
    assert set(contract.__struct_fields__) <= {column.name for column in VIEWS[view].columns}


def test_every_column_of_every_table_and_view_has_a_comment(migrated: Connection) -> None:
    silent = migrated.rows(
        "SELECT table, name FROM system.columns WHERE database = 'tacho' AND comment = ''"
    )
    assert silent == []


def test_every_table_and_view_has_a_comment(migrated: Connection) -> None:
    silent = migrated.rows(
        "SELECT name FROM system.tables WHERE database = 'tacho' AND comment = ''"
    )
    assert silent == []


def test_columns_of_actions_stand_in_the_order_and_types_of_an_action_batch() -> None:
    columns = columns_of(Action)
    assert [column.name for column in columns] == list(batch.COLUMNS)
    for column in columns:
        texts = batch.COLUMNS[column.name] == batch.COLUMNS["tool_name"]
        assert texts == (column.type in ("String", "LowCardinality(String)")), column.name


def test_a_field_that_no_migration_adds_is_noticed() -> None:
    table = TABLES["actions_data"]
    assert sorted(written(table.name)) == sorted(column.name for column in table.columns)


def test_absent_numbers_flags_and_times_stay_null_and_absent_text_is_empty() -> None:
    kinds = {column.name: column.type for column in columns_of(Action)}
    assert kinds["usage_input_tokens"] == "Nullable(Int64)"
    assert kinds["late"] == "Nullable(Bool)"
    assert kinds["start_time"] == "Nullable(DateTime64(6, 'UTC'))"
    assert kinds["tool_args"] == "String"
    assert kinds["recipients"] == "Array(String)"
    assert kinds["attributes"] == "Map(String, String)"
