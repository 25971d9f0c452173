"""What analysts see of alerts and captured state is what its record says, or it is told."""

import pytest

from tachograph.pipeline.notarize.keys import Ring
from tachograph.pipeline.store import records
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.records import Origin
from tachograph.pipeline.store.sink import insert
from tachograph.pipeline.verify.anchors import Deleted
from tachograph.pipeline.verify.findings import Report, text_of
from tachograph.pipeline.verify.views import check_shown
from tachograph.schemas import contracts

TABLES = ("alerts_log", "alerts_data", "agent_state_data", "snapshots_log")


@pytest.fixture
def _stored(owner: Connection) -> None:
    """Every example of an alert and of a snapshot, as the store stage writes them."""
    for table in TABLES:
        owner.command(f"TRUNCATE TABLE tacho.{table}")
    for topic, record in (("agent.alerts", "alert"), ("agent.state", "state_snapshot")):
        for offset, value in enumerate(contracts.examples(record).valid.values()):
            for row in records.rows_of(Origin((topic, 2), offset, value, "one"), str):
                insert(owner, row.table, records.table_of(row.table, [row]))


def shown(reader: Connection) -> Report:
    report = Report()
    check_shown(reader, Deleted((), Ring([]), report), report, sleep=lambda _: None)
    return report


@pytest.mark.usefixtures("_stored")
def test_what_the_store_wrote_is_what_the_records_say(reader: Connection) -> None:
    assert shown(reader).findings == [], text_of(shown(reader))


@pytest.mark.usefixtures("_stored")
@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("alerts_data", "title = 'nothing to see'"),
        ("alerts_data", "severity = 'low', status = 'closed'"),
        ("alerts_data", "risk = 1"),
        ("alerts_data", "versions = map('rules', 'x')"),
        ("alerts_data", "event_ids = []"),
        ("agent_state_data", "session_id = 'another'"),
        ("agent_state_data", "taken_at = now64(6)"),
    ],
)
def test_a_row_that_says_something_else_is_told(
    owner: Connection, reader: Connection, table: str, change: str
) -> None:
    owner.command(
        f"ALTER TABLE tacho.{table} UPDATE {change} WHERE log_offset = 1 AND log_topic ="
        f" '{'agent.alerts' if table == 'alerts_data' else 'agent.state'}'"
        " SETTINGS mutations_sync = 2"
    )
    found = shown(reader).findings
    assert {(one.kind, one.table, one.first) for one in found} == {("changed", table, 1)}


@pytest.mark.usefixtures("_stored")
def test_a_row_without_a_record_is_told(owner: Connection, reader: Connection) -> None:
    owner.command("INSERT INTO tacho.alerts_data (alert_id, log_topic, log_partition, log_offset)"
                  " VALUES ('made-up', 'agent.alerts', 2, 77)")  # fmt: skip
    assert [one.id for one in shown(reader).findings] == ["made-up"]
    owner.command("INSERT INTO tacho.alerts_data (alert_id) VALUES ('of no log')")
    assert sorted(one.kind for one in shown(reader).findings) == ["added", "changed"]
