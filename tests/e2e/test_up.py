"""`tacho up` as a newcomer runs it: one command in an empty folder, nothing else running."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infra.kafka.broker import free_ports
from tachograph.pipeline.query.hunts import hunts
from tachograph.pipeline.query.place import served
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import Settings
from tests.transcripts import ROOT, says, transcripts

# Until its end there must be an alert, however busy the machine is.
FOR_S = 45
# Far more than it takes: a loaded machine must not fail this.
WITHIN_S = 600.0
# A line of numbers with an alert among them: without any, it ends with another code.
ALERTED = re.compile(r'"alerts": \{[^}]*[1-9]')
COUNT = "SELECT count(), uniqExact(alert_id) FROM tacho.alerts"


def _clean() -> dict[str, str]:
    ours = ("TACHO_", "KAFKA_", "CLICKHOUSE_", "PROMETHEUS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


@contextmanager
def _tacho(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`tacho …` in a folder, its output in the file `out` there."""
    with (folder / "out").open("w") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "tachograph.pipeline.cli", *arguments],
            cwd=folder,
            env=_clean(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _said(folder: Path) -> str:
    return (folder / "out").read_text()


def _wait_for(folder: Path, words: re.Pattern[str], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + WITHIN_S
    while not words.search(_said(folder)):
        assert process.poll() is None, _said(folder)[-3_000:]
        assert time.monotonic() < end, f"no {words.pattern!r} in {_said(folder)[-3_000:]}"
        time.sleep(0.2)


def _left_over(folder: Path) -> list[str]:
    """Command lines of processes that still work in the folder."""
    found = []
    for place in Path("/proc").iterdir():
        if not place.name.isdigit():
            continue
        try:
            environment = (place / "environ").read_bytes()
            command = (place / "cmdline").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        if f"TACHO_HOME={folder}".encode() in environment or str(folder).encode() in command:
            found.append(command.replace(b"\0", b" ").decode(errors="replace"))
    return found


def _ended(folder: Path) -> None:
    """No child of it is left; one that is just ending gets a moment."""
    end = time.monotonic() + WITHIN_S
    while (left := _left_over(folder)) and time.monotonic() < end:
        time.sleep(0.2)
    assert left == []


def _ports() -> tuple[str, str]:
    door, clickhouse = free_ports(2)
    return f"--door-port={door}", f"--clickhouse-port={clickhouse}"


def _every_hunt_runs(folder: Path) -> None:
    """What a run stored is asked, while nothing else runs, with every hunt that ships."""
    settings = Settings.from_env({"TACHO_HOME": str(folder / ".tacho")})
    with served(settings, {}) as place, Reader(place) as reader:
        for hunt in hunts().values():
            rows = reader.rows(hunt.sql, {one.name: one.default for one in hunt.parameters})
            assert [row for row in rows if list(row) != hunt.columns] == [], hunt.name
        assert reader.rows(hunts()["alerts-open"].sql, {"hours": "1", "severity": "low"})


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_run_of_some_seconds_stores_alerts_and_what_it_stored_can_be_asked_for_again(
    tmp_path: Path,
) -> None:
    with _tacho(tmp_path, "up", "--for", str(FOR_S), "--plain", *_ports()) as up:
        code = up.wait(WITHIN_S)
    said = _said(tmp_path)
    assert code == 0, said[-3_000:]
    assert re.search(r"Stored: [\d,]+ actions, [1-9][\d,]* alerts", said), said[-3_000:]
    [shown] = [one for one in transcripts(ROOT / "README.md") if one.command.startswith("make run")]
    says(said, shown.output)
    _ended(tmp_path)
    _every_hunt_runs(tmp_path)

    [port] = free_ports(1)
    with _tacho(tmp_path, "clickhouse", "--port", str(port)) as server:
        _wait_for(tmp_path, re.compile("ClickHouse on"), server)
        url = f"http://127.0.0.1:{port}"
        stored, distinct = httpx.post(url, content=COUNT, timeout=WITHIN_S).text.split()
        assert int(stored) == int(distinct) > 0
        refused = httpx.post(url, content="DROP TABLE tacho.alerts_data", timeout=WITHIN_S)
        assert refused.status_code != 200, "a reader without a name changes nothing"
        server.send_signal(signal.SIGINT)
        assert server.wait(WITHIN_S) == 0
    _ended(tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ctrl_c_in_the_middle_ends_everything_cleanly(tmp_path: Path) -> None:
    with _tacho(tmp_path, "up", "--plain", *_ports()) as up:
        _wait_for(tmp_path, ALERTED, up)
        up.send_signal(signal.SIGINT)
        assert up.wait(WITHIN_S) == 0, _said(tmp_path)[-3_000:]
    assert "Traceback" not in _said(tmp_path)
    for log in (tmp_path / ".tacho" / "logs").glob("*.log"):
        assert "Traceback" not in log.read_text(errors="replace"), log.name
    _ended(tmp_path)
