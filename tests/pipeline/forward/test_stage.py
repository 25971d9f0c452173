"""The forward stage on a broker: killed, restarted, with destinations that are away or refuse."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from confluent_kafka import Consumer, TopicPartition

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.forward import stage
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas import codec
from tachograph.schemas.alert import Alert
from tachograph.schemas.fields import Record
from tachograph.schemas.records import DeadLetter, Health
from tests.pipeline.forward import alerts
from tests.pipeline.forward.receivers import Rsyslog, WebhookReceiver
from tests.waiting import WAIT_S, eventually

TOPICS = dict.fromkeys(("agent.alerts", "agent.health", "agent.dead_letters"), 1)
SECRET = "a secret of at least 16 bytes"
StartRsyslog = Callable[..., Rsyslog]
R = TypeVar("R", bound=Record)


class Ground:
    """A broker, a home folder and a configuration, as the stage finds them."""

    def __init__(self, bootstrap: str, home: Path) -> None:
        self.home = home
        self.environ = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "TACHO_HOME": str(home),
            "HOOK_SECRET": SECRET,
        }
        self.settings = Settings.from_env(self.environ)
        self.writer = Writer(self.settings)

    def configure(self, *destinations: str) -> None:
        self.home.mkdir(exist_ok=True)
        (self.home / "forward.toml").write_text("\n".join(destinations))

    def post(self, *posted: Alert) -> None:
        for alert in posted:
            self.writer.send("agent.alerts", codec.encode(alert), key=b"acme/agent")
        self.writer.flush()

    def read(self, topic: str, kind: type[R]) -> list[R]:
        """Everything on a topic so far."""
        consumer = Consumer({**self.settings.kafka.client_config(), "group.id": "test"})
        place = TopicPartition(topic, 0, 0)
        _, end = consumer.get_watermark_offsets(place, timeout=WAIT_S)
        consumer.assign([place])
        found: list[R] = []
        while len(found) < end:
            [message] = consumer.consume(1, WAIT_S)
            found.append(codec.decode(kind, message.value() or b""))
        consumer.close()
        return found


def hook(receiver: WebhookReceiver, name: str = "hook", more: str = "") -> str:
    return (
        f'[[destination]]\nname = "{name}"\ntype = "webhook"\nurl = "{receiver.url}"\n'
        f'secret_env = "HOOK_SECRET"\nhealth_every_s = 0\ndeadline_s = 2.0\n{more}\n'
    )


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    with MockBroker(topics=TOPICS) as broker:
        yield Ground(broker.bootstrap_servers, tmp_path / "home")


@pytest.fixture
def running(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Start the stage in a thread of this process; it is stopped at the end."""
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def start() -> None:
        threads.append(threading.Thread(target=stage.run, args=(ground.settings, stop)))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()


def committed(ground: Ground, name: str) -> int:
    config = {**ground.settings.kafka.client_config(), "group.id": f"tacho.forward.{name}"}
    consumer = Consumer(config)
    [at] = consumer.committed([TopicPartition("agent.alerts", 0)], timeout=WAIT_S)
    consumer.close()
    return int(at.offset)


def test_alerts_reach_a_destination_in_order_and_the_offset_follows(
    ground: Ground, running: Callable[[], None], webhook: WebhookReceiver
) -> None:
    ground.configure(hook(webhook))
    ground.post(*(alerts.alert(n) for n in range(40)))
    running()
    eventually(lambda: len(webhook.requests) == 40, "40 deliveries")
    assert webhook.deliveries() == [f"{n:032x}:{n}" for n in range(40)]
    eventually(lambda: committed(ground, "hook") == 40, "the offset at the end")


def test_a_destination_that_is_away_is_waited_for_and_misses_nothing(
    ground: Ground, running: Callable[[], None], webhook: WebhookReceiver
) -> None:
    webhook.answers = [(503, {"retry-after": "0"})] * 3
    ground.configure(hook(webhook))
    ground.post(*(alerts.alert(n) for n in range(20)))
    running()
    eventually(lambda: len(webhook.requests) == 23, "three tries in vain, then all")
    assert webhook.deliveries()[3:] == [f"{n:032x}:{n}" for n in range(20)]

    def degraded() -> bool:
        return any(one.status == "degraded" for one in ground.read("agent.health", Health))

    eventually(degraded, "it is told")


def test_a_refused_alert_is_kept_with_the_reason_and_the_next_go_on(
    ground: Ground, running: Callable[[], None], webhook: WebhookReceiver
) -> None:
    webhook.answers = [(204, {}), (422, {}), (204, {})]
    ground.configure(hook(webhook))
    ground.post(*(alerts.alert(n) for n in range(3)))
    ground.writer.send("agent.alerts", b"no alert at all", key=b"x")
    ground.writer.flush()
    running()
    eventually(lambda: len(webhook.requests) == 3, "three deliveries")
    eventually(lambda: committed(ground, "hook") == 4, "the offset at the end")
    refused, broken = sorted(
        ground.read("agent.dead_letters", DeadLetter), key=lambda letter: letter.offset
    )
    assert (refused.offset, refused.reason, refused.source) == (1, "refused", "forward.hook")
    assert "422" in refused.detail
    assert refused.original == codec.encode(alerts.alert(1))
    assert (broken.offset, broken.reason, broken.original) == (3, "mistyped", b"no alert at all")


def test_a_dead_destination_delays_no_other(
    ground: Ground, running: Callable[[], None], webhook: WebhookReceiver
) -> None:
    dead = WebhookReceiver()
    dead.close()
    mute = WebhookReceiver([None] * 100)
    ground.configure(hook(dead, "dead"), hook(mute, "mute"), hook(webhook))
    ground.post(*(alerts.alert(n) for n in range(100)))
    running()
    eventually(lambda: len(webhook.requests) == 100, "all at the one that is there")
    assert len(set(mute.deliveries())) <= 1
    mute.close()


@pytest.mark.slow
def test_a_second_start_sends_nothing_again(
    ground: Ground, webhook: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOOK_SECRET", SECRET)
    ground.configure(hook(webhook))
    ground.post(*(alerts.alert(n) for n in range(10)))
    for posted in (10, 11):
        stop = threading.Event()
        thread = threading.Thread(target=stage.run, args=(ground.settings, stop))
        thread.start()
        eventually(lambda posted=posted: len(webhook.requests) == posted, "the new ones")  # type: ignore[misc]
        eventually(lambda posted=posted: committed(ground, "hook") == posted, "their offset")  # type: ignore[misc]
        stop.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()
        ground.post(alerts.alert(posted))
    assert webhook.deliveries() == [f"{n:032x}:{n}" for n in range(11)]


def test_rsyslog_gets_the_alerts_of_the_topic(
    ground: Ground, running: Callable[[], None], start_rsyslog: StartRsyslog
) -> None:
    daemon = start_rsyslog()
    ground.configure(
        '[[destination]]\nname = "siem"\ntype = "syslog"\nhostname = "gw-01"\n'
        f'address = "127.0.0.1:{daemon.port}"\nmin_severity = "high"\nhealth_every_s = 1\n'
    )
    wanted = [alerts.alert(n) for n in range(30)]
    ground.post(*wanted, *(alerts.alert(n, severity="low") for n in range(30, 40)))
    running()
    eventually(lambda: len([x for x in daemon.lines() if " ALERT " in x]) == 30, "30 alerts")
    assert all(" gw-01 tacho - " in line for line in daemon.lines())
    eventually(lambda: any(" HEALTH " in line for line in daemon.lines()), "a health record")


def kill_and_restart(ground: Ground, webhook: WebhookReceiver, posted: int, kills: int) -> int:
    """Run `tacho forward` over `posted` alerts, killing it `kills` times on the way; kills done."""
    command = [sys.executable, "-m", "tachograph.pipeline.cli", "forward"]
    environ = {**os.environ, **ground.environ}
    done = 0
    seed = random.Random(7)
    while len(set(webhook.deliveries())) < posted:
        seen = len(webhook.requests)
        with (ground.home / "log").open("ab") as log:
            process = subprocess.Popen(command, env=environ, stderr=log, stdout=log)
        goal = posted if done >= kills else min(posted, seen + seed.randint(1, 2 * posted // kills))
        eventually(lambda goal=goal: len(set(webhook.deliveries())) >= goal, "more")  # type: ignore[misc]
        if len(set(webhook.deliveries())) < posted:
            done += 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return done


def assert_at_least_once(webhook: WebhookReceiver, posted: int, kills: int) -> None:
    """All arrived; what came twice is no more than the one that each kill left unconfirmed."""
    counts = Counter(webhook.deliveries())
    assert set(counts) == {f"{n:032x}:{n}" for n in range(posted)}
    assert sum(counts.values()) - posted <= kills + 1
    firsts = list(dict.fromkeys(webhook.deliveries()))
    assert firsts == [f"{n:032x}:{n}" for n in range(posted)]


@pytest.mark.slow
def test_killed_in_mid_stream_every_alert_arrives_and_only_the_unconfirmed_twice(
    ground: Ground, webhook: WebhookReceiver
) -> None:
    ground.configure(hook(webhook))
    ground.post(*(alerts.alert(n) for n in range(200)))
    kills = kill_and_restart(ground, webhook, 200, 1)
    assert_at_least_once(webhook, 200, kills)


@pytest.mark.slow
def test_killed_in_mid_stream_on_apache_kafka(
    private_kafka: Callable[..., KafkaBroker], tmp_path: Path, webhook: WebhookReceiver
) -> None:
    ground = Ground(private_kafka(partitions=1).bootstrap_servers, tmp_path / "home")
    ground.configure(hook(webhook))
    ground.post(*(alerts.alert(n) for n in range(300)))
    kills = kill_and_restart(ground, webhook, 300, 2)
    assert_at_least_once(webhook, 300, kills)
