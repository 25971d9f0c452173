"""What was backed up is there again on another server, once, or nothing of it is."""

import hashlib
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from tachograph.pipeline.backup import files
from tachograph.pipeline.errors import ConfigError, Refused
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.verbs import app
from tests.warehouse import KINDS, Server, environment, reader_of, served, writer_of

# What people look at, and what the evidence rests on: all columns, in a fixed order.
SHOWN = (
    "tacho.alerts", "tacho.dispositions", "tacho.incidents", "tacho.directives",
    "tacho.agent_state", "tacho.agent_minutes",
    "tacho.alerts_log FINAL", "tacho.dispositions_log FINAL", "tacho.directives_log FINAL",
    "tacho.snapshots_log FINAL", "tacho.acks_log FINAL",
)  # fmt: skip


def _all(reader: Reader, name: str) -> list[str]:
    rows = reader.rows(f"SELECT * EXCEPT (stored_at) FROM {name}")
    return sorted(map(str, rows))


@pytest.fixture(scope="module")
def backup(world: ClickHouseSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backup") / "monday"
    told = CliRunner().invoke(app, ["backup", str(folder), "--all"], env=environment(world))
    assert told.exit_code == 0, told.output
    return folder


@pytest.fixture(params=KINDS)
def fresh(request: pytest.FixtureRequest, world_server: Server, tmp_path: Path) -> Iterator[Server]:
    """A server to restore into. The real one is one."""
    if request.param == "real" and not isinstance(world_server, EmbeddedClickHouse):
        pytest.skip("what is backed up is on it")
    with served(request.param, tmp_path / "clickhouse") as server:
        yield server


def test_a_restored_server_shows_the_same_alerts_words_and_evidence_once(
    world: ClickHouseSettings, backup: Path, fresh: Server
) -> None:
    for _ in range(2):
        told = CliRunner().invoke(app, ["restore", str(backup)], env=environment(writer_of(fresh)))
        assert told.exit_code == 0, told.output
    with Reader(world) as old, Reader(reader_of(fresh)) as new:
        for name in SHOWN:
            before = _all(old, name)
            assert _all(new, name) == before, name
        assert len(_all(new, "tacho.alerts")) == 2
        assert len(_all(new, "tacho.actions")) == len(_all(old, "tacho.actions")) > 40


def test_a_backup_with_a_changed_file_is_refused_before_anything_is_put_back(
    backup: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "changed"
    copy.mkdir()
    for file in backup.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    part = next(copy.glob("alerts_log.*"))
    whole = bytearray(part.read_bytes())
    whole[len(whole) // 2] ^= 1
    part.write_bytes(whole)
    with pytest.raises(Refused, match=r"alerts_log\.0000\.parquet is not what was backed up"):
        files.read(copy)
    part.unlink()
    with pytest.raises(Refused, match="cannot be read"):
        files.read(copy)


def test_a_manifest_that_names_a_file_elsewhere_is_refused(backup: Path, tmp_path: Path) -> None:
    manifest = (backup / files.MANIFEST).read_text()
    (tmp_path / files.MANIFEST).write_text(
        manifest.replace("alerts_log.0000", "../alerts_log.0000")
    )
    with pytest.raises(Refused, match="no table of ours"):
        files.read(tmp_path)
    with pytest.raises(ConfigError, match="is no backup"):
        files.read(tmp_path / "nowhere")


class Receiving:
    """A server that is put nothing back into."""

    def insert(self, table: str, *_: object, **__: object) -> None:
        raise AssertionError(table)


def test_roll_ups_of_an_older_backup_are_left_to_be_made_again(tmp_path: Path) -> None:
    (tmp_path / "old.parquet").write_bytes(b"rows of another shape")
    digest = hashlib.sha256(b"rows of another shape").hexdigest()
    parts = [
        files.Part(table, "old.parquet", 1, digest) for table in ("touches_data", "hours_data")
    ]
    manifest = files.Manifest(datetime.now(UTC), parts)
    (tmp_path / files.MANIFEST).write_bytes(msgspec.json.encode(manifest))
    assert files.read(tmp_path) == manifest
    files.put_back(Receiving(), tmp_path, manifest)  # type: ignore[arg-type]
    assert not files.ROLL_UPS & set(files.tables(everything=True))


def test_a_backup_is_its_owners_alone(backup: Path) -> None:
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700


def test_a_backup_never_overwrites_another(world: ClickHouseSettings, backup: Path) -> None:
    with Reader(world) as reader, pytest.raises(ConfigError, match="is not empty"):
        files.write(reader, backup, ["alerts_data"])


def test_without_all_what_can_be_made_again_is_left_out() -> None:
    kept = set(files.tables(everything=False))
    assert {"alerts_log", "dispositions_log", "snapshots_log", "leaves_log", "tree_heads_log",
            "incidents_data", "alerts_data", "holds_log"} <= kept  # fmt: skip
    assert not {"actions_data", "signals_data"} & kept
