"""The tables of a sharded cluster, on an engine that knows a cluster of two shards.

Nobody answers there, so nothing is sent: every table is really made, with its columns, indexes and
sharding key, and every question is planned. What the shards hold is tried on tables beside each
other, which are read as a table over shards reads them: FINAL in each, then all together.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tachograph.pipeline.migrate import Layout, migrations, statements
from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.query.hunts import hunts
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.retention.holds import Held
from tachograph.pipeline.retention.sql import held_in
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store import fold
from tachograph.pipeline.store.catalogue import TABLES, VIEWS
from tachograph.pipeline.store.clickhouse import OF_SHARDS
from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.store.links import Said
from tachograph.pipeline.store.shards import EVERYWHERE, LOCAL

SHARDED = Layout(cluster="main", sharded=True)
PROGRAM = """
import json, sys
import chdb
connection = chdb.connect("data?config-file=config/engine.xml")
found = []
for statement in json.load(sys.stdin):
    try:
        found.append(connection.query(statement, "TSVRaw").bytes().decode().rstrip("\\n"))
    except Exception as error:
        found.append(f"failed: {error}"[:600])
print(json.dumps(found))
"""
SHARD = "<shard><replica><host>127.0.0.1</host><port>9</port></replica></shard>"
ENGINE_XML = f"""<clickhouse><users_config>config/users.xml</users_config>
<remote_servers><main>{SHARD}{SHARD}</main></remote_servers></clickhouse>"""
USERS_XML = """<clickhouse><profiles><default/></profiles><quotas><default/></quotas>
<users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile>
<quota>default</quota></default></users></clickhouse>"""
# What fills a table with what stands in another goes through the tables over all shards.
FILLING = "INSERT INTO tacho."
# What only servers with a keeper can do: run on all of them, and replicate.
_ALONE = re.compile(r" ON CLUSTER 'main'|(?<=ENGINE = )Replicated(?=\w)")
_PLACE = re.compile(r"(?<=MergeTree\()'[^']*', '[^']*'(, )?")


def alone(statement: str) -> str:
    """The statement for one server of the cluster that has no keeper."""
    return _PLACE.sub("", _ALONE.sub("", statement))


def everything() -> list[str]:
    return [one for migration in migrations() for one in SHARDED.statements(migration.text)]


def ask(home: Path, asked: list[str]) -> list[str]:
    """What the engine answers."""
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(asked), cwd=home,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(answer.stdout)
    return found


def failures(asked: list[str], answers: list[str]) -> list[str]:
    pairs = zip(asked, answers, strict=True)
    return [f"{text[:100]}: {said}" for text, said in pairs if said.startswith("failed")]


def unplanned(asked: list[str], answers: list[str]) -> list[str]:
    """Failures but for this one: planning had come to asking the shards for a single value."""
    return [one for one in failures(asked, answers) if "failed: Code: 279." not in one]


# What is asked of the tables once they are made. An engine that starts costs more than its answers.
QUESTIONS = {
    "engines": (
        "SELECT name, engine FROM system.tables WHERE database = 'tacho'"
        " AND engine NOT IN ('View', 'MaterializedView')"
    ),
    "noted": "SHOW CREATE TABLE tacho.hours_changed",
    "unlike": (
        "SELECT replaceOne(table, '_local', '') AS base, name, type, default_expression, comment,"
        " count() AS n FROM system.columns WHERE database = 'tacho' AND base IN"
        " (SELECT name FROM system.tables WHERE database = 'tacho' AND engine = 'Distributed')"
        " GROUP BY ALL HAVING n != 2"
    ),
    "keys": (
        "SELECT name, engine_full, sorting_key FROM system.tables WHERE database = 'tacho'"
        " AND engine != 'View' AND name != 'migrations'"
    ),
    "shapes": (
        "SELECT table, arrayStringConcat(groupArray(concat('`', name, '` ', type)), ', '),"
        " any(version) FROM (SELECT table, name, type, extract(engine_full,"
        " '^ReplacingMergeTree.(\\w*)') AS version FROM system.columns AS c JOIN system.tables AS t"
        " ON t.name = c.table AND t.database = c.database WHERE c.database = 'tacho'"
        " AND endsWith(table, '_local') ORDER BY table, position) GROUP BY table"
    ),
}


class Made(NamedTuple):
    """All tables of a sharded cluster: the folder of their engine, and what it said of them."""

    home: Path
    said: dict[str, str]


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder: Path = tmp_path_factory.mktemp("engine")
    (folder / "config").mkdir()
    (folder / "config" / "users.xml").write_text(USERS_XML)
    (folder / "config" / "engine.xml").write_text(ENGINE_XML)
    asked = [alone(one) for one in everything() if not one.startswith(FILLING)]
    asked += QUESTIONS.values()
    answers = ask(folder, asked)
    assert failures(asked, answers) == []
    return Made(folder, dict(zip(QUESTIONS, answers[-len(QUESTIONS) :], strict=True)))


def test_the_statements_for_a_sharded_cluster_are_ones_that_the_engine_reads(
    writer: ClickHouseSettings,
) -> None:
    with Reader(writer) as reader:
        for statement in everything():
            [first, *_] = reader.rows(f"EXPLAIN AST {statement}")
            assert first["explain"].startswith(("Create", "Alter", "Insert", "Drop")), statement[
                :80
            ]


def test_every_statement_runs_on_the_whole_cluster_and_every_place_is_said() -> None:
    for statement in everything():
        assert " ON CLUSTER 'main'" in statement or statement.startswith(FILLING)
        assert len(re.findall(r"\nENGINE = (?!Replicated\w+\('/|Distributed)", statement)) == 0


def test_every_table_has_one_for_the_rows_of_a_shard_and_one_over_all(tables: Made) -> None:
    engines = dict(line.split("\t") for line in tables.said["engines"].splitlines())
    local = {name + LOCAL: table.engine.split("(")[0] for name, table in TABLES.items()}
    over = dict.fromkeys(TABLES, "Distributed")
    assert engines == {**local, **over, **dict.fromkeys(EVERYWHERE, "ReplacingMergeTree")}


def test_what_comes_to_a_shard_is_noted_on_it(tables: Made) -> None:
    assert "TO tacho.hours_data_local" in tables.said["noted"]
    assert "FROM tacho.actions_data_local" in tables.said["noted"]


def test_a_table_over_shards_has_the_columns_of_those_under_it(tables: Made) -> None:
    assert not tables.said["unlike"]


def test_a_row_is_sent_to_a_shard_by_nothing_but_what_its_table_is_sorted_by(
    tables: Made,
) -> None:
    for table, (key, sorted_by) in keys(tables.said["keys"]).items():
        assert key, table
        assert set(key) <= set(sorted_by), table


def keys(said: str) -> dict[str, tuple[list[str], list[str]]]:
    """Table → what chooses the shard, and what its rows are sorted by."""
    rows = {name: (full, by) for name, full, by in (r.split("\t") for r in said.splitlines())}
    chosen = {table: re.findall(r"cityHash64\((.+)\)\)", rows[table][0]) for table in TABLES}
    return {
        table: (chosen[table][0].split(", "), rows[table + LOCAL][1].split(", "))
        for table in TABLES
    }


def test_every_view_and_every_hunt_can_be_planned_over_shards(tables: Made) -> None:
    asked = [f"EXPLAIN SELECT * FROM tacho.{view}" for view in VIEWS]
    for hunt in hunts().values():
        asked += [f"SET param_{one.name} = {quoted(one.default)}" for one in hunt.parameters]
        asked.append(f"EXPLAIN {hunt.sql}")
    assert unplanned(asked, ask(tables.home, asked)) == []


def test_what_stages_ask_of_two_tables_at_once_can_be_planned_over_shards(tables: Made) -> None:
    """As their connections ask; by default a server refuses a subquery over shards in another."""
    key = ("t", "p", "k")
    held = Held(alerts=("a",), agents=("b",))
    logs = [f"SELECT count() FROM tacho.{log} WHERE {held_in(log, held)}" for log in LOGS.values()]
    stored = [
        fold.lookup([key]),
        fold.lacking({key: Said("s", "a", "n", "p")}),
        fold.reports([key]),
    ]
    asked = [f"EXPLAIN {query}" for query in (*stored, *logs)]
    settings = [f"SET {name} = {quoted(str(value))}" for name, value in OF_SHARDS.items()]
    answers = ask(tables.home, [*asked, *settings, *asked])
    denied = unplanned(asked, answers[: len(asked)])
    assert denied, "a server that never refuses would show nothing here"
    assert all("DISTRIBUTED_IN_JOIN_SUBQUERY_DENIED" in one for one in denied)
    assert unplanned([*settings, *asked], answers[len(asked) :]) == []


def test_unsharded_statements_are_those_of_the_file() -> None:
    for layout, said in (
        (Layout(), ("", "")), (Layout(cluster="main"), ("ON CLUSTER 'main'", "Replicated")),
    ):  # fmt: skip
        for migration in migrations():
            plain = (
                migration.text.replace("${on_cluster}", said[0])
                .replace("${replicated}", said[1])
                .replace("${days}", str(layout.days))
            )
            assert layout.shown(migration.text) == plain
            assert layout.statements(migration.text) == list(statements(plain))


THINGS, COPIES = 24, 5
PLACES = ("whole", "shard_0", "shard_1", "chance_0", "chance_1")
BEFORE = (
    "SET optimize_on_insert = 0", "SET max_threads = 1", "SYSTEM STOP MERGES",
    *(f"CREATE DATABASE {place}" for place in PLACES),
)  # fmt: skip


def shapes(said: str) -> dict[str, tuple[str, str]]:
    """Table → its columns and types, and the column that says which copy of a row holds."""
    rows = (line.split("\t") for line in said.splitlines())
    return {
        name.removesuffix(LOCAL): (columns, "" if version == "PARTITION" else version)
        for name, columns, version in rows
    }


def _has_ttl(table: str) -> bool:
    return TABLES[table].expires or TABLES[table].hours > 0


def parted(table: str, key: list[str], shape: tuple[str, str]) -> list[str]:
    """Statements that make rows of any content, some copies of each, and part them in two: by the
    key, and by turns.
    """
    local, (columns, version) = table + LOCAL, shape
    newer = f" REPLACE (copy.number AS {version})" if version else ""
    made = [f"CREATE TABLE {place}.{local} AS tacho.{local}" for place in PLACES]
    made += [f"ALTER TABLE {p}.{local} REMOVE TTL" for p in PLACES if _has_ttl(table)]
    made.append(
        f"INSERT INTO whole.{local} SELECT one.*{newer} FROM (SELECT * FROM"
        f" generateRandom({quoted(columns)}, 7, 6, 2) LIMIT {THINGS}) AS one"
        f" CROSS JOIN numbers({COPIES}) AS copy"
    )
    ways = {"shard": f"cityHash64({', '.join(key)})", "chance": "rowNumberInAllBlocks()"}
    for name, way in ways.items():
        made += [
            f"INSERT INTO {name}_{at}.{local} SELECT * FROM whole.{local} WHERE {way} % 2 = {at}"
            for at in (0, 1)
        ]
        made.append(
            f"CREATE TABLE whole.{name}_{table} AS whole.{local}"
            f" ENGINE = Merge(REGEXP('^{name}_'), '^{local}$')"
        )
    return made


def test_copies_of_a_row_meet_on_one_shard_and_are_shown_once(tables: Made) -> None:
    shape, chosen = shapes(tables.said["shapes"]), keys(tables.said["keys"])
    made = [one for table in TABLES for one in parted(table, chosen[table][0], shape[table])]
    asked = [
        f"SELECT count(), sum(cityHash64(*)) FROM whole.{name} FINAL"
        for table in TABLES
        for name in (table + LOCAL, f"shard_{table}", f"chance_{table}")
    ] + [
        f"SELECT (SELECT count() FROM shard_0.{table}{LOCAL}) BETWEEN 1 AND {THINGS * COPIES - 1}"
        for table in TABLES
    ]
    answers = ask(tables.home, [*BEFORE, *made, *asked])
    assert [one for one in answers[: -len(asked)] if one] == []
    shown = answers[-len(asked) :]
    for at, table in enumerate(TABLES):
        whole, shards, chance = shown[at * 3 : at * 3 + 3]
        assert whole.startswith(f"{THINGS}\t"), table
        assert shards == whole, table
        assert int(chance.split("\t")[0]) > THINGS, table
    assert set(shown[-len(TABLES) :]) == {"1"}
