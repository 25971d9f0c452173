"""Killed, or asleep for longer than its session: triage says what an undisturbed run says."""

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.triage import incomplete
from tachograph.pipeline.triage.app import ALERTS_TOPIC, GROUPS_TOPIC
from tachograph.pipeline.triage.entry import TriageRecord
from tachograph.schemas.alert import Alert
from tachograph.schemas.codec import encode
from tests.pipeline.triage import kafka

SEED = int(os.environ.get("TACHO_TEST_SEED", "20261122"))
# Of the processes that are killed one after the other, those that slept before, until another had
# their partitions, and were killed together with that one: seven deaths.
DEATHS = (False, True, False, True, False)
# Of the records each start has a share of its own, so that there is always news to tell.
SHARE = 500
RECORDS = 4_000
# So many that every third record is the last word about its agent: an alert that is lost is missed,
# for no later one of the agent tells it all again.
AGENTS = 1_000
RULES = 2
PARTITIONS = 3


def _send(writer: Writer, records: list[TriageRecord], pause_s: float) -> None:
    """In small bursts."""
    for start in range(0, len(records), 20):
        for record in records[start : start + 20]:
            kafka.send(writer, record)
        writer.flush()
        time.sleep(pause_s)


def _content(alert: Alert) -> dict[str, object]:
    return {
        "id": alert.alert_id,
        "members": [(hit.rule_id, hit.count) for hit in alert.rules],
        "severity": alert.severity,
        "risk": alert.risk,
        "status": alert.status,
        "signals": alert.signal_ids,
        "state": kafka.settled(alert.state),
    }


class Story:
    """A broker on which the same story is being told all through the test."""

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings, self._log = settings, log
        self._writer = kafka.prepare(settings, PARTITIONS)
        self._records = kafka.story(SEED, RECORDS, AGENTS, RULES)
        self._sending: list[threading.Thread] = []

    def _tell(self, count: int, pause_s: float) -> None:
        """So much more of the story, after what is being told, on a thread of its own."""
        self._told()
        share, self._records = self._records[:count], self._records[count:]
        given = (self._writer, share, pause_s)
        self._sending.append(threading.Thread(target=_send, args=given, daemon=True))
        self._sending[-1].start()

    def _told(self) -> None:
        """Wait until what is being told is in the log."""
        while self._sending:
            self._sending.pop().join()

    def start(self) -> kafka.Process:
        """A process that has written something since it was started."""
        seen = kafka.written(self.settings, ALERTS_TOPIC)
        process = kafka.Process(self.settings, self._log)
        self._tell(SHARE, pause_s=0.2)
        kafka.wait_until_told(self.settings, process, beyond=seen)
        return process

    def finish(self) -> None:
        """Let the story end, and one process read all of it."""
        self._tell(len(self._records), pause_s=0.0)
        self._told()
        process = kafka.Process(self.settings, self._log)
        kafka.wait_until_read(self.settings, process)
        assert process.stop() == 0, self._log.read_text()[-2_000:]

    def check(self) -> None:
        """What was said in the end is what an undisturbed run says."""
        final: dict[str, Alert] = {}
        bytes_of: dict[tuple[str, int], bytes] = {}
        for alert in kafka.alerts_of(self.settings):
            same = bytes_of.setdefault((alert.alert_id, alert.revision), encode(alert))
            assert same == encode(alert), "one revision of an alert says two things"
            if alert.alert_id not in final or alert.revision >= final[alert.alert_id].revision:
                final[alert.alert_id] = alert
        expected = kafka.undisturbed(kafka.read_all(self.settings, GROUPS_TOPIC))
        told_of = {alert.entity for alert in expected.values()} - {incomplete.ENTITY}
        assert len(told_of) > AGENTS * 3 // 4
        assert _open(final) == _open(expected)


def _open(alerts: dict[str, Alert]) -> dict[str, dict[str, object]]:
    """Content by id. What tells of agents that did not answer comes when their time is over, which
    may be after the last look.
    """
    kept = (a for a in alerts.values() if a.status != "retracted" and a.entity != incomplete.ENTITY)
    return {alert.alert_id: _content(alert) for alert in kept}


@pytest.fixture
def story(
    private_kafka: Callable[..., KafkaBroker],
    settings_for: Callable[[str], Settings],
    tmp_path: Path,
) -> Story:
    return Story(settings_for(private_kafka().bootstrap_servers), tmp_path / "triage.log")


@pytest.mark.slow
def test_kills_and_sleep_beyond_a_session_lose_no_alert_and_change_none(story: Story) -> None:
    chance = random.Random(SEED)
    for sleeps in DEATHS:
        process = story.start()
        time.sleep(chance.uniform(0, 1.5))
        if sleeps:
            process.pause()
            heir = story.start()
            process.go_on()
            time.sleep(chance.uniform(0, 2))
            heir.kill()
        process.kill()
    story.finish()
    story.check()
