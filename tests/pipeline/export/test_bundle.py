"""A bundle is checked by a program that knows nothing of us, and a tampered one is refused."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachograph.pipeline.errors import ConfigError, Refused
from tachograph.pipeline.export.bundle import Bundle, bundle_of, write
from tachograph.pipeline.export.select import alerts_since, records_of
from tachograph.pipeline.notarize.keys import Keys
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.verify.anchors import anchors
from tachograph.pipeline.verify.findings import Report
from tests.pipeline.export import independent_verifier
from tests.pipeline.verify.world import key_of, notarized, outside, put, values

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ALERT = str(json.loads(values(1)[0])["alert_id"])


def made(
    owner: Connection, reader: Connection, home: Path, log: list[bytes], cuts: list[int]
) -> Bundle:
    """The bundle of an alert whose records are the log."""
    first = notarized(key_of(home), log, cuts)
    rotated = Keys(home, {}).rotate()
    whole = notarized(key_of(home), log, cuts)
    heads = [*first.heads[:-1], whole.heads[-1]]
    assert heads[-1].key_id == rotated.key_id
    put(owner, whole.rows, whole.leaves, heads)
    sources, report = outside(home, heads), Report()
    trees = anchors(sources.heads, None, sources.ring, report)
    assert report.findings == []
    chosen = records_of(reader, [ALERT])
    return bundle_of(reader, chosen, trees, sources.ring, asked=f"alerts {ALERT}", at=NOON)


def test_a_stranger_checks_a_bundle_as_a_folder_and_as_a_zip_file(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    bundle = made(owner, reader, tmp_path, values(13), [3, 8])
    assert (bundle.records, bundle.newer) == (13, 0)
    for name in ("case", "case.zip"):
        write(bundle, tmp_path / name)
        program = [sys.executable, independent_verifier.__file__, str(tmp_path / name)]
        answer = subprocess.run(program, capture_output=True, text=True, check=True)
        assert answer.stdout == "13 records hold\n"
        with pytest.raises(ConfigError, match="written once"):
            write(bundle, tmp_path / name)
    report = bundle.files["report.md"].decode()
    assert "13 records" in report
    assert "agent.dispositions: 13" in report


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(size=st.integers(1, 40), cuts=st.lists(st.integers(1, 40), max_size=4))
def test_every_bundle_holds_whatever_the_size_of_its_trees(
    owner: Connection, reader: Connection, tmp_path: Path, size: int, cuts: list[int]
) -> None:
    bundle = made(owner, reader, tmp_path, values(size), cuts)
    assert independent_verifier.check(bundle.files) == size


def edited(
    files: dict[str, bytes], name: str, edit: Callable[[list[Any]], None]
) -> dict[str, bytes]:
    """The files with lines of one changed, and a manifest that says so."""
    lines = [json.loads(line) for line in files[name].splitlines()]
    edit(lines)
    body = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()
    manifest = json.loads(files["manifest.json"])
    manifest["sha256"][name] = hashlib.sha256(body).hexdigest()
    return {**files, name: body, "manifest.json": json.dumps(manifest).encode()}


def changed(**fields: Any) -> Callable[[list[Any]], None]:
    return lambda lines: lines[1].update(fields)


def exchanged(lines: list[Any]) -> None:
    lines[1]["record"], lines[2]["record"] = lines[2]["record"], lines[1]["record"]


def shortened(lines: list[Any]) -> None:
    lines[0]["inclusion"].pop()


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("records.ndjson", changed(record="{}")),
        ("records.ndjson", changed(offset=9)),
        ("records.ndjson", changed(partition=2)),
        ("records.ndjson", changed(topic="agent.alerts")),
        ("records.ndjson", changed(cluster="another")),
        ("records.ndjson", changed(leaf_index=2)),
        ("records.ndjson", changed(leaf_index=13)),
        ("records.ndjson", exchanged),
        ("records.ndjson", shortened),
        ("heads.ndjson", changed(root="00" * 32)),
        ("heads.ndjson", changed(size=12)),
        ("heads.ndjson", changed(signed_at="2026-11-21T00:00:00Z")),
        ("consistency.ndjson", lambda lines: lines.clear()),
        ("consistency.ndjson", changed(consistency=["00" * 32])),
        ("keys.ndjson", lambda lines: lines.pop(0)),
        ("keys.ndjson", changed(public_key="aGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGhoaGg=")),
    ],
)
def test_a_stranger_refuses_a_bundle_that_was_tampered_with(
    owner: Connection,
    reader: Connection,
    bundle: Bundle,
    name: str,
    edit: Callable[[list[Any]], None],
) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - a stranger raises what it likes
        independent_verifier.check(edited(bundle.files, name, edit))


@pytest.fixture(scope="module")
def bundle(
    owner: Connection, reader: Connection, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """A bundle of three heads and two keys."""
    found = made(owner, reader, tmp_path_factory.mktemp("home"), values(13), [3, 8])
    unchanged = edited(found.files, "records.ndjson", lambda _: None)
    assert independent_verifier.check(unchanged) == 13
    return found


def test_a_stranger_refuses_a_bundle_of_another_notary(bundle: Bundle) -> None:
    first = json.loads(bundle.files["keys.ndjson"].splitlines()[0])["key_id"]
    assert independent_verifier.check(bundle.files, first) == 13
    with pytest.raises(ValueError, match="the first key is another one"):
        independent_verifier.check(bundle.files, "0" * 16)


def test_what_was_tampered_with_in_the_tables_is_not_exported(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    found = notarized(key_of(tmp_path), values(6), [])
    sources = outside(tmp_path, found.heads)
    trees = anchors(sources.heads, None, sources.ring, Report())
    rows = [*found.rows[:2], (2, values(1, 50)[0]), *found.rows[3:]]
    put(owner, rows, found.leaves, found.heads)
    with pytest.raises(Refused, match="offset 2 is not what was notarized"):
        bundle_of(reader, records_of(reader, [ALERT]), trees, sources.ring, asked="", at=NOON)
    put(owner, found.rows, found.leaves[:-1], found.heads)
    with pytest.raises(Refused, match="do not make the root"):
        bundle_of(reader, records_of(reader, [ALERT]), trees, sources.ring, asked="", at=NOON)


def test_records_that_no_head_covers_yet_are_left_out_and_counted(
    owner: Connection, reader: Connection, tmp_path: Path
) -> None:
    found = notarized(key_of(tmp_path), values(4), [])
    sources = outside(tmp_path, found.heads)
    trees = anchors(sources.heads, None, sources.ring, Report())
    put(owner, [*found.rows, (4, values(1, 4)[0])], found.leaves, found.heads)
    made = bundle_of(reader, records_of(reader, [ALERT]), trees, sources.ring, asked="", at=NOON)
    assert (made.records, made.newer) == (4, 1)
    with pytest.raises(Refused, match="nothing to export"):
        bundle_of(reader, records_of(reader, ["f" * 32]), trees, sources.ring, asked="", at=NOON)


def test_alerts_are_chosen_by_when_they_were_updated(owner: Connection, reader: Connection) -> None:
    owner.command("TRUNCATE TABLE tacho.alerts_log")
    for day in (20, 21, 22):
        owner.command(
            "INSERT INTO tacho.alerts_log (log_topic, log_offset, alert_id, updated_at) VALUES"
            f" ('agent.alerts', {day}, 'alert-{day}', '2026-11-{day} 12:00:00')"
        )
    since = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert alerts_since(reader, since, None) == ["alert-21", "alert-22"]
    assert alerts_since(reader, since, datetime(2026, 11, 22, 12, tzinfo=UTC)) == ["alert-21"]
