"""`tacho up` as a newcomer runs it: one command in an empty folder, nothing else running."""

import re
import signal
from pathlib import Path

import httpx
import pytest

from infra.kafka.broker import free_ports
from tachograph.pipeline.query.hunts import hunts
from tachograph.pipeline.query.place import served
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import Settings
from tests.e2e import running
from tests.transcripts import ROOT, says, transcripts

# Until its end there must be an alert, however busy the machine is.
FOR_S = 45
COUNT = "SELECT count(), uniqExact(alert_id) FROM tacho.alerts"


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
    with running.tacho(tmp_path, "up", "--for", str(FOR_S), "--plain", *_ports()) as up:
        code = up.wait(running.WITHIN_S)
    said = running.said(tmp_path)
    assert code == 0, said[-3_000:]
    assert re.search(r"Stored: [\d,]+ actions, [1-9][\d,]* alerts", said), said[-3_000:]
    [shown] = [one for one in transcripts(ROOT / "README.md") if one.command.startswith("make run")]
    says(said, shown.output)
    running.ended_cleanly(tmp_path)
    _every_hunt_runs(tmp_path)

    [port] = free_ports(1)
    with running.tacho(tmp_path, "clickhouse", "--port", str(port)) as server:
        running.wait_for(tmp_path, re.compile("ClickHouse on"), server)
        url = f"http://127.0.0.1:{port}"
        stored, distinct = httpx.post(url, content=COUNT, timeout=running.WITHIN_S).text.split()
        assert int(stored) == int(distinct) > 0
        refused = httpx.post(url, content="DROP TABLE tacho.alerts_data", timeout=running.WITHIN_S)
        assert refused.status_code != 200, "a reader without a name changes nothing"
        server.send_signal(signal.SIGINT)
        assert server.wait(running.WITHIN_S) == 0
    running.ended(tmp_path)
