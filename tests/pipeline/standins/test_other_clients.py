"""The embedded ClickHouse as tools of other languages see it: the JDBC driver, the Node and Go
clients.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.pipeline.standins.conftest import Door

HERE = Path(__file__).parent / "clients"
CACHE = Path(__file__).parents[3] / ".cache" / "clients"
COLUMNS = "a UInt64, s String, t DateTime64(6, 'UTC'), n Nullable(Float64)"
ROWS = (
    "SELECT number, concat('é', toString(number)),"
    " toDateTime64('2026-11-22 18:00:00.123456', 6, 'UTC'), if(number = 1, NULL, 0.5)"
    " FROM numbers(5)"
)
WAIT_S = 300


def needed(*programs: str) -> None:
    """Skip with what is missing; where CI promises it, that is a failure."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and os.environ.get("CI") == "true" and "mvn" in programs:
        pytest.fail(f"{' and '.join(missing)} must be there in CI")
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")


def run(*command: str, cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=WAIT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_jdbc_driver_reads_typed_rows_and_may_change_nothing(door: Door) -> None:
    needed("java", "mvn")
    jars = CACHE / "jdbc"
    if not list(jars.glob("clickhouse-jdbc-*.jar")):
        run("mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "dependency:copy-dependencies",
            f"-DoutputDirectory={jars}")  # fmt: skip
    table = door.table(COLUMNS, ROWS)
    url = door.server.url.replace("http://", "jdbc:clickhouse://")
    said = run("java", "-cp", f"{jars}/*", str(HERE / "Reading.java"), url, table).splitlines()
    assert said[0].startswith("version ")
    assert said[1:] == [
        "0 é0 2026-11-22T18:00:00.123456Z 0.5",
        "1 é1 2026-11-22T18:00:00.123456Z null",
        f"sum {sum(range(20_000))}",
        "refused true",
    ]


@pytest.mark.slow
def test_the_node_client_reads_and_streams_and_may_change_nothing(door: Door) -> None:
    needed("node", "npm")
    folder = CACHE / "node"
    if not (folder / "node_modules").is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        run("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts",
            "@clickhouse/client@1.23.1", cwd=folder)  # fmt: skip
    table = door.table(COLUMNS, ROWS)
    said = run("node", str(HERE / "reading.mjs"), str(folder), door.server.url, table)
    assert said.splitlines() == [
        "0 é0 2026-11-22 18:00:00.123456 0.5",
        "1 é1 2026-11-22 18:00:00.123456 null",
        "count 20000",
        "refused true",
    ]


@pytest.mark.slow
def test_the_go_client_reads_every_type_and_may_change_nothing(door: Door) -> None:
    needed("go")
    folder = CACHE / "go"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("go.mod", "go.sum", "reading.go"):
        shutil.copy(HERE / name, folder / name)
    fetched = subprocess.run(
        ["go", "mod", "download"], cwd=folder, capture_output=True, check=False
    )
    if fetched.returncode:
        pytest.skip("the modules of the Go client cannot be fetched")
    table = door.table(COLUMNS, ROWS)
    said = run("go", "run", ".", door.server.url, table, cwd=folder)
    assert said.splitlines() == [
        "0 é0 2026-11-22T18:00:00.123456Z 0.5",
        "1 é1 2026-11-22T18:00:00.123456Z null",
        "[x y] map[k:[1 2]] 1.25 low null 6ba7b810-9dad-11d1-80b4-00c04fd430c8 [] {7 z}",
        f"count 200000 sum {sum(range(200_000))}",
        "refused true",
    ]
