"""Each role does its work on the real engine, and nothing beyond it."""

import json
import subprocess
import sys
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from infra.clickhouse.roles import grants, policies, shown, statements, statements_of
from tachograph.pipeline.migrate import Layout, migrations
from tachograph.pipeline.migrate import statements as parted
from tachograph.pipeline.store.catalogue import TABLES
from tachograph.pipeline.store.shards import LOCAL

# The engine has one user, so each role is that user for once, in a process of its own.
PROGRAM = """
import json, sys
import chdb
connection = chdb.connect("data?config-file=config/engine.xml")
found = []
for statement in json.load(sys.stdin):
    try:
        found.append(str(connection.query(statement, "TSV")).strip())
    except Exception as error:
        found.append("denied" if "ACCESS_DENIED" in str(error) else f"failed: {error}"[:300])
print(json.dumps(found))
"""
USERS = """<clickhouse><profiles><default/></profiles><quotas><default/></quotas>
<users><default><password></password><networks><ip>::/0</ip></networks><profile>default</profile>
<quota>default</quota>{grants}{rows}</default></users></clickhouse>"""
EVERYTHING = [
    "SELECT, INSERT, ALTER, CREATE, DROP, SHOW, SYSTEM FLUSH ON *.*", "TABLE ENGINE ON *",
]  # fmt: skip


def ask(
    home: Path, rights: list[str], asked: list[str], rows: dict[str, str] | None = None
) -> list[str]:
    """What the engine answers to somebody with these rights."""
    (home / "config").mkdir(exist_ok=True)
    queries = "".join(f"<query>GRANT {escape(right)}</query>" for right in rights)
    filters = "".join(
        f"<{table}><filter>{escape(condition)}</filter></{table}>"
        for table, condition in (rows or {}).items()
    )
    shown = f"<databases><tacho>{filters}</tacho></databases>" if rows else ""
    users = USERS.format(grants=f"<grants>{queries}</grants>", rows=shown)
    (home / "config" / "users.xml").write_text(users)
    (home / "config" / "engine.xml").write_text(
        "<clickhouse><users_config>config/users.xml</users_config></clickhouse>"
    )
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(asked), cwd=home,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(answer.stdout)
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all tables, and dispositions of two tenants."""
    folder: Path = tmp_path_factory.mktemp("engine")
    layout = Layout()
    made = [text for one in migrations() for text in parted(layout.fill(one.text))]
    made += [
        "INSERT INTO tacho.dispositions_log (tenant, alert_id, action, log_offset) VALUES"
        " ('acme', 'a', 'close', 1), ('other', 'b', 'close', 2)",
    ]
    assert [text for text in ask(folder, EVERYTHING, made) if text] == []
    return folder


INSERT = "INSERT INTO tacho.dispositions_log (tenant, log_offset) VALUES ('t', 3)"
LEAF = "INSERT INTO tacho.leaves_log (leaf_index) VALUES (0)"
DELETE = "ALTER TABLE tacho.dispositions_log DELETE WHERE log_offset = 3"
UPDATE = "ALTER TABLE tacho.dispositions_log UPDATE record = 'x' WHERE 1"
DROP = "DROP TABLE tacho.leaves_log"
ACTIONS = "SELECT count() FROM tacho.actions"
LOG = "SELECT count() > 0 FROM tacho.dispositions_log"
STATEMENTS = [INSERT, LEAF, DELETE, UPDATE, DROP, ACTIONS, LOG]


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("tacho_writer", {INSERT, LOG}),
        ("tacho_notary", {LEAF, DELETE, LOG}),
        ("tacho_auditor", {LOG}),
    ],
)
def test_a_role_does_its_work_and_nothing_else(home: Path, role: str, may: set[str]) -> None:
    answers = dict(zip(STATEMENTS, ask(home, grants()[role], STATEMENTS), strict=True))
    assert {asked for asked, answer in answers.items() if answer != "denied"} == may
    assert not [answer for answer in answers.values() if answer.startswith("failed")]


def test_an_analyst_of_a_tenant_sees_its_rows_alone(home: Path) -> None:
    asked = ["SELECT tenant, alert_id FROM tacho.dispositions WHERE alert_id != ''", *STATEMENTS]
    seen, *answers = ask(home, shown(), asked, policies("acme"))
    assert seen == "acme\ta"
    may = {one for one, answer in zip(STATEMENTS, answers, strict=True) if answer != "denied"}
    assert may == {ACTIONS, LOG}
    # What has no policy yet is of all tenants.
    later = "CREATE TABLE tacho.later (tenant String) ENGINE = MergeTree ORDER BY tenant"
    assert ask(home, EVERYTHING, [later]) == [""]
    assert ask(home, shown(), ["SELECT * FROM tacho.later"], policies("acme")) == ["denied"]


def test_every_table_has_a_policy_and_one_without_tenants_shows_nothing() -> None:
    found = policies("acme")
    assert set(found) == set(TABLES)
    assert found["alerts_data"] == "tenant = 'acme'"
    assert found["leaves_log"] == "0"


def test_only_the_notary_writes_what_proves_the_logs() -> None:
    writers = {
        role
        for role, rights in grants().items()
        if any("INSERT" in right and "leaves_log" in right for right in rights)
    }
    assert writers == {"tacho_notary"}


def test_on_a_sharded_cluster_rows_are_guarded_where_they_are() -> None:
    local = {name + LOCAL for name in TABLES}
    assert set(policies("acme", sharded=True)) == local
    rights = grants(sharded=True)
    altered = [one.split("tacho.")[1] for one in rights["tacho_notary"] if " ALTER " in one]
    assert set(altered) <= local
    assert len(altered) == len([one for one in grants()["tacho_notary"] if " ALTER " in one])
    writes = {one.split("tacho.")[1] for one in rights["tacho_writer"] if "INSERT" in one}
    assert {name for name in writes if name not in local} == writes & set(TABLES)
    assert {name + LOCAL for name in writes & set(TABLES)} == writes & local
    assert not [name for name in writes if name.startswith(("leaves_log", "tree_heads_log"))]


def test_a_tenant_is_a_name_and_nothing_else() -> None:
    assert "CREATE ROLE IF NOT EXISTS tacho_analyst" in statements()
    assert statements_of("acme")[0] == "CREATE ROLE IF NOT EXISTS tacho_analyst_acme"
    assert not [one for one in statements_of("acme") if "GRANT SELECT ON tacho.*" in one]
    with pytest.raises(ValueError, match="no name of a tenant"):
        statements_of("acme'; DROP")
