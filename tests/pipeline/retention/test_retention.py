"""What has had its time goes with a signed note, what is held stays, and the evidence verifies."""

import io
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.config_log import Said
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.migrate import Layout, apply
from tachograph.pipeline.notarize.files import read_lines
from tachograph.pipeline.retention import holds
from tachograph.pipeline.retention.classes import CLASSES, Retention, retention_from
from tachograph.pipeline.retention.holds import Held, Hold
from tachograph.pipeline.retention.keeper import DELETIONS_FILE, Keeper, stretches
from tachograph.pipeline.retention.sql import lifetime
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.sink import insert
from tachograph.pipeline.verify.findings import text_of
from tachograph.schemas import codec
from tachograph.schemas.records import Activation, Deletion
from tests.pipeline.notarize.evidence import record
from tests.pipeline.verify.world import (
    CLUSTER,
    PLACE,
    key_of,
    notarized,
    outside,
    put,
    stored,
    told,
    values,
    verified,
)

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TREE = (CLUSTER, *PLACE)


class Config:
    """agent.config, with what is said on it."""

    def __init__(self, *words: Hold) -> None:
        self.words = list(words)

    def whole(self) -> list[Said]:
        found, self.words = self.words, []
        return [Said(activation_of(word), 0, NOON) for word in found]


def activation_of(word: Hold) -> Any:
    content = codec.canonical(word).decode()
    return Activation(
        subject="hold", name=word.name, tenant="*", content_hash="", effective_from=word.at,
        content=content,
    )  # fmt: skip


def hold(name: str, **fields: Any) -> Hold:
    return Hold(name=name, reason="a case", by="ann", **{"at": NOON, **fields})


def keeper(home: Path, *words: Hold, of: str = "evidence") -> Keeper:
    retention = Retention(classes={of: 365})
    return Keeper(Config(*words), retention, home / DELETIONS_FILE)  # type: ignore[arg-type]


def aged(owner: Connection, offsets: str, table: str = "dispositions_log") -> None:
    """Let rows be older than a year."""
    owner.command(
        f"ALTER TABLE tacho.{table} UPDATE stored_at = now() - toIntervalDay(400)"
        f" WHERE log_offset IN ({offsets}) SETTINGS mutations_sync = 2"
    )


@pytest.fixture(autouse=True)
def _nothing_held(owner: Connection) -> None:
    owner.command("TRUNCATE TABLE tacho.holds_log")


def left(reader: Connection, table: str = "dispositions_log") -> list[int]:
    rows = reader.rows(f"SELECT log_offset FROM tacho.{table} ORDER BY log_offset")
    return [int(offset) for (offset,) in rows]


def test_old_records_go_with_a_signed_note_and_the_evidence_still_verifies(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    key, sent = key_of(tmp_path), list[Deletion]()
    found = notarized(key, values(9), [4])
    put(owner, found.rows, found.leaves, found.heads)
    aged(owner, "0, 1, 3, 8")
    keeper(tmp_path).step(owner, {TREE: 8}, key, sent.append, 0)
    assert left(reader) == [2, 4, 5, 6, 7, 8]  # no head covers the last
    assert [note.offsets for note in sent] == [[[0, 1], [3, 3]]]
    assert [codec.decode(Deletion, line) for line in read_lines(tmp_path / DELETIONS_FILE)] == sent
    report = verified(reader, outside(tmp_path, found.heads))
    assert (report.verdict, report.deleted) == ("holds", 3), text_of(report)
    owner.command("ALTER TABLE tacho.dispositions_log DELETE WHERE log_offset = 5"
                  " SETTINGS mutations_sync = 2")  # fmt: skip
    assert told(verified(reader, outside(tmp_path, found.heads))) == {("removed", 5)}


def test_what_people_looked_at_goes_by_days_of_its_own_and_is_held_with_its_alert(
    owner: Connection, tmp_path: Path
) -> None:
    key, sent, place = key_of(tmp_path), list[Deletion](), ("agent.audit", 0)
    found = notarized(key, values(3), [])
    put(owner, found.rows, found.leaves, found.heads)
    looks = [(offset, record("agent.audit", offset)) for offset in range(3)]
    looks[1] = (1, looks[1][1].replace(b'"name":"', b'"name":"case'))
    insert(owner, "audit_log", stored(looks, place=place))
    aged(owner, "0, 1, 2")
    aged(owner, "0, 1", "audit_log")
    held = hold("case-17", alerts=[str(msgspec.json.decode(looks[1][1])["name"])])
    covered = {TREE: 3, (CLUSTER, *place): 3}
    keeper(tmp_path, held, of="audit").step(owner, covered, key, sent.append, 0)
    assert left(owner) == [0, 1, 2]
    assert left(owner, "audit_log") == [1, 2]
    assert [(note.topic, note.offsets) for note in sent] == [("agent.audit", [[0, 0]])]


def test_a_note_that_the_notary_did_not_sign_excuses_nothing(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    key = key_of(tmp_path)
    found = notarized(key, values(5), [])
    put(owner, found.rows, found.leaves, found.heads)
    aged(owner, "1")
    keeper(tmp_path).step(owner, {TREE: 5}, key, lambda _: None, 0)
    path = tmp_path / DELETIONS_FILE
    note = codec.decode(Deletion, path.read_bytes())
    path.write_bytes(codec.encode(msgspec.structs.replace(note, offsets=[[0, 4]])) + b"\n")
    report = verified(reader, outside(tmp_path, found.heads))
    assert report.verdict == "broken"
    assert ("removed", 1) in told(report)


def test_what_is_held_stays_until_it_is_released(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    key = key_of(tmp_path)
    found = notarized(key, values(4), [])
    put(owner, found.rows, found.leaves, found.heads)
    aged(owner, "0, 1, 2, 3")
    alert = str(msgspec.json.decode(found.rows[0][1])["alert_id"])
    held = hold("case-17", alerts=[alert])
    keeper(tmp_path, held).step(owner, {TREE: 4}, key, lambda _: None, 0)
    assert left(reader) == [0, 1, 2, 3]
    # Another process, whose log has forgotten: the table has not.
    keeper(tmp_path).step(owner, {TREE: 4}, key, lambda _: None, 0)
    assert left(reader) == [0, 1, 2, 3]
    assert reader.rows("SELECT name FROM tacho.holds") == [("case-17",)]
    over = msgspec.structs.replace(held, released=True, at=NOON.replace(hour=13))
    keeper(tmp_path, over).step(owner, {TREE: 4}, key, lambda _: None, 0)
    assert left(reader) == []
    assert reader.rows("SELECT name FROM tacho.holds") == []
    assert verified(reader, outside(tmp_path, found.heads)).verdict == "holds"


def test_a_hold_changes_the_lifetime_of_tables_and_migrate_leaves_it_so(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    key = key_of(tmp_path)
    keeper(tmp_path, hold("case", agents=["agent'1"])).step(owner, {}, key, lambda _: None, 0)
    text = _created(owner, "actions_data")
    assert ") WHERE NOT " in text
    assert r"agent\'1" in text
    apply(owner, Layout(days=7))
    assert _created(owner, "actions_data") == text
    assert "toIntervalDay(7)" in _created(owner, "health_data")
    over = hold("case", agents=["agent'1"], released=True)
    keeper(tmp_path, over).step(owner, {}, key, lambda _: None, 0)
    assert ") WHERE NOT " not in _created(owner, "actions_data")


class Cluster:
    """A sharded cluster without rows, and what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [("health_data",), ("health_data_local",)] if "system.tables" in query else []

    def insert(self, *_: Any, **__: Any) -> None:
        """A word on a hold."""

    def command(self, statement: str) -> None:
        self.told.append(statement)


def test_on_a_sharded_cluster_lifetimes_are_those_of_the_tables_that_hold_the_rows(
    tmp_path: Path,
) -> None:
    cluster, layout = Cluster(), Layout(cluster="main", sharded=True)
    config: Any = Config(hold("case", agents=["a1"]))
    keeper = Keeper(config, Retention(days=7), tmp_path / DELETIONS_FILE, layout)
    keeper.step(cluster, {}, key_of(tmp_path), lambda _: None, 0)  # type: ignore[arg-type]
    changed = [statement.split()[2:5] for statement in cluster.told]
    assert changed == [
        [f"tacho.{table}_local", "ON", "CLUSTER"]
        for tables in CLASSES.values()
        for table in tables
        if table != "health_data"
    ]


def _created(owner: Connection, table: str) -> str:
    rows = owner.rows(
        "SELECT create_table_query FROM system.tables"
        f" WHERE database = 'tacho' AND name = '{table}'"
    )
    return str(rows[0][0])


def test_rows_that_are_held_outlive_the_lifetime_of_their_table(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    keeper(tmp_path, hold("case", agents=["a1"])).step(
        owner, {}, key_of(tmp_path), lambda _: None, 0
    )
    owner.command("TRUNCATE TABLE tacho.agent_state_data")
    owner.command(
        "INSERT INTO tacho.agent_state_data (snapshot_id, agent_id, stored_at) VALUES"
        " ('one', 'a1', now() - toIntervalDay(400)), ('two', 'a2', now() - toIntervalDay(400))"
    )
    owner.command("OPTIMIZE TABLE tacho.agent_state_data FINAL")
    assert reader.rows("SELECT snapshot_id FROM tacho.agent_state_data") == [("one",)]
    owner.command("TRUNCATE TABLE tacho.agent_state_data")


def test_what_was_denied_is_held_with_the_actions() -> None:
    what, sessions = Held(("alert",), ("a1",)), ["s1"]
    held = lifetime("denials_data", 9, what, sessions)
    assert held == lifetime("actions_data", 9, what, sessions)
    assert "'a1'" in held
    assert "'s1'" in held


@given(st.lists(st.sampled_from(["a", "b", "c"]), max_size=8), st.randoms(use_true_random=False))
def test_the_newest_word_on_a_hold_counts_in_whatever_order_words_come(
    names: list[str], chance: Any
) -> None:
    words = [
        hold(name, alerts=[name], at=NOON.replace(minute=at), released=bool(names[:at].count(name)))
        for at, name in enumerate(names)
    ]
    lasting = {name for name in names if names.count(name) == 1}
    mixed = [*words, *words]
    chance.shuffle(mixed)
    assert set(holds.held(mixed).alerts) == lasting


@given(st.sets(st.integers(0, 30), min_size=1))
def test_stretches_cover_just_the_offsets(offsets: set[int]) -> None:
    found = stretches(sorted(offsets))
    assert {at for first, last in found for at in range(first, last + 1)} == offsets
    assert all(b[0] > a[1] + 1 for a, b in pairwise(found))


def test_a_hold_is_said_listed_and_released(tmp_path: Path) -> None:
    with MockBroker(1, ("agent.config",)) as broker:
        settings = Settings(
            kafka=KafkaSettings(bootstrap=broker.bootstrap_servers),
            clickhouse=ClickHouseSettings(url="http://127.0.0.1:9"),
            home=tmp_path,
        )
        sink = io.StringIO()
        a1 = "a1" * 16
        holds.run_add("case-17", settings, [], ids=([a1], ["x"]), reason="a suit", sink=sink)
        known = holds.in_log(settings)
        holds.run_list(known, past=False, as_json=False, sink=sink)
        with pytest.raises(ConfigError, match="names are given once"):
            holds.run_add("case-17", settings, known, ids=([a1], []), reason="", sink=sink)
        holds.run_release("case-17", settings, known, reason="settled", sink=sink)
        after = holds.in_log(settings)
        holds.run_list(after, past=False, as_json=False, sink=sink)
        with pytest.raises(ConfigError, match="no hold case-17"):
            holds.run_release("case-17", settings, after, reason="", sink=sink)
    said = sink.getvalue().splitlines()
    assert said[1].startswith(f"holds case-17: alert={a1}, agent=x; ")
    assert said[1].endswith(": a suit")
    assert said[3] == "Nothing is held."


def test_a_hold_of_nothing_is_refused(tmp_path: Path) -> None:
    nowhere = Settings(
        kafka=KafkaSettings(bootstrap="127.0.0.1:9"),
        clickhouse=ClickHouseSettings(url="http://127.0.0.1:9"),
        home=tmp_path,
    )
    with pytest.raises(ConfigError, match="say what is held"):
        holds.run_add("x", nowhere, [], ids=([], []), reason="", sink=io.StringIO())
    with pytest.raises(ConfigError, match="'5fe93e0f8a51' is no id of an alert"):
        holds.run_add("x", nowhere, [], ids=(["5fe93e0f8a51"], []), reason="", sink=io.StringIO())


def test_classes_of_data_have_days_of_their_own() -> None:
    found = retention_from(
        {"TACHO_RETENTION_DAYS": "60", "TACHO_RETENTION": "alerts=365, actions=7"}
    )
    assert [found.of_table(t) for t in ("alerts_data", "actions_data", "health_data")] == [
        365,
        7,
        60,
    ]
    logs = ("alerts_log", "audit_log")
    assert [found.of_log(table) for table in logs] == [None, None]
    named = retention_from({"TACHO_RETENTION": "audit=400"})
    assert [named.of_log(table) for table in logs] == [None, 400]
    assert lifetime("health_data", 60, Held(("a",), ("b",)), ()) == "stored_at + toIntervalDay(60)"


@pytest.mark.parametrize("text", ["alarms=3", "alerts", "alerts=0", "alerts=many"])
def test_a_class_that_cannot_be_is_refused_with_the_name_of_the_setting(text: str) -> None:
    with pytest.raises(ConfigError, match="TACHO_RETENTION"):
        retention_from({"TACHO_RETENTION": text})
