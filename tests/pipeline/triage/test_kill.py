"""Killed at any moment and started again, triage says what an undisturbed run says."""

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.triage.app import ALERTS_TOPIC, GROUPS_TOPIC
from tachograph.pipeline.triage.entry import TriageRecord
from tachograph.schemas.alert import Alert
from tachograph.schemas.codec import encode
from tests.pipeline.triage import kafka

SEED = 20261122
KILLS = 5
RECORDS = 4_000
AGENTS = 40
PARTITIONS = 3


def _load(writer: Writer, records: list[TriageRecord], end: threading.Event) -> None:
    """Records all through the kills, in small bursts."""
    for start in range(0, len(records), 40):
        for record in records[start : start + 40]:
            kafka.send(writer, record)
        writer.flush()
        if not end.is_set():
            time.sleep(0.4)


def _content(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.alert_id,
        "members": [(hit.rule_id, hit.count) for hit in alert.rules],
        "severity": alert.severity,
        "risk": alert.risk,
        "status": alert.status,
        "signals": alert.signal_ids,
        "state": alert.state,
    }


def _progress(settings: Settings, seen: int, process: kafka.Process) -> None:
    """Wait until the process has written something since it was started."""
    deadline = time.monotonic() + kafka.WAIT_S
    while len(kafka.read_all(settings, ALERTS_TOPIC)) == seen:
        assert process.running()
        assert time.monotonic() < deadline, "triage does not start"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.xfail(
    strict=False,
    reason="open fault: on a quiet machine a few of 40 alerts end on an older state of a group",
)
def test_five_kills_lose_no_alert_and_change_none(
    private_kafka: Callable[..., KafkaBroker],
    settings_for: Callable[[str], Settings],
    tmp_path: Path,
) -> None:
    settings = settings_for(private_kafka().bootstrap_servers)
    writer = kafka.prepare(settings, PARTITIONS)
    records = kafka.story(SEED, RECORDS, AGENTS)
    chance = random.Random(SEED)
    end = threading.Event()
    load = threading.Thread(target=_load, args=(writer, records, end), daemon=True)
    load.start()
    log = tmp_path / "triage.log"
    for _ in range(KILLS):
        seen = len(kafka.read_all(settings, ALERTS_TOPIC))
        process = kafka.Process(settings, log)
        _progress(settings, seen, process)
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
    end.set()
    load.join()
    process = kafka.Process(settings, log)
    kafka.wait_until_read(settings, process)
    assert process.stop() == 0, log.read_text()[-2_000:]

    said = kafka.alerts_of(settings)
    final: dict[str, Alert] = {}
    bytes_of: dict[tuple[str, int], bytes] = {}
    for alert in said:
        same = bytes_of.setdefault((alert.alert_id, alert.revision), encode(alert))
        assert same == encode(alert), "one revision of an alert says two things"
        if alert.alert_id not in final or alert.revision >= final[alert.alert_id].revision:
            final[alert.alert_id] = alert
    expected = kafka.undisturbed(kafka.read_all(settings, GROUPS_TOPIC))
    assert len(expected) == AGENTS
    open_now = {key: _content(a) for key, a in final.items() if a.status != "retracted"}
    assert open_now == {key: _content(a) for key, a in expected.items() if a.status != "retracted"}
