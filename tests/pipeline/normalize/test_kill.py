"""A real broker, and a stage that is killed in the middle of its work: nothing lost, nothing
twice.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.kafka.topics import provision
from tachograph.pipeline.settings import Settings
from tachograph.schemas import batch, codec
from tachograph.schemas.records import Tick
from tests.waiting import WAIT_S

ACTIONS = 4_000
KILLS = 5
PARTITIONS = 2


def start(settings: Settings) -> subprocess.Popen[bytes]:
    """The stage as a process of its own."""
    code = "from tachograph.pipeline.runner import run_stage; run_stage('normalize')"
    environ = {
        **os.environ,
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka.bootstrap,
        "TACHO_HOME": str(settings.home),
        "TACHO_LOG_LEVEL": "error",
    }
    return subprocess.Popen([sys.executable, "-c", code], env=environ)


class Output:
    """Everything on agent.actions so far."""

    def __init__(self, settings: Settings) -> None:
        config = {**settings.kafka.client_config(), "group.id": "test"}
        self._consumer = Consumer(config)
        self._consumer.assign([TopicPartition("agent.actions", n, 0) for n in range(PARTITIONS)])
        self.sequences: Counter[str] = Counter()
        self.places: dict[str, set[int]] = {}
        self.ticks: dict[tuple[str, int, int], list[Tick]] = {}

    def read(self) -> None:
        """Take in what came since the last call."""
        for message in self._consumer.consume(500, 0.2):
            headers = dict(message.headers() or [])
            partition, value = message.partition() or 0, message.value() or b""
            if headers.get("tacho-record") == b"tick":
                tick = codec.decode(Tick, value)
                place = (tick.raw_topic, tick.raw_partition, partition)
                self.ticks.setdefault(place, []).append(tick)
            elif headers.get("tacho-record") == b"action_batch":
                for event_id, agent in batch.decode(value).select("event_id", "agent_id").rows():
                    self.sequences[event_id] += 1
                    self.places.setdefault(agent, set()).add(partition)

    def close(self) -> None:
        self._consumer.close()


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_nothing_and_invents_nothing(
    private_kafka: Callable[..., KafkaBroker], settings_for: Callable[..., Settings]
) -> None:
    settings = settings_for(private_kafka().bootstrap_servers)
    provision(settings, partitions=PARTITIONS)
    producer, rng = Producer(settings.kafka.client_config()), random.Random(7)
    kill_at = set(rng.sample(range(ACTIONS // 10, ACTIONS), KILLS))
    base, process = datetime.now(UTC), start(settings)
    for number in range(ACTIONS):
        at = (base + timedelta(milliseconds=number)).isoformat().replace("+00:00", "Z")
        value = {"kind": "tool_call", "event_time": at, "producer_id": str(number),
                 "agent_id": f"agent-{number % 11}"}  # fmt: skip
        # Every third is posted twice, as a producer does that missed an acknowledgement.
        for _ in range(2 if number % 3 == 0 else 1):
            producer.produce("agent.raw", msgspec.json.encode(value))
        producer.poll(0)
        if number % 100 == 0:
            time.sleep(rng.uniform(0, 0.2))
        if number in kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = start(settings)
    producer.flush(WAIT_S)
    output, end = Output(settings), time.monotonic() + WAIT_S
    wanted = {(topic, n, to) for topic in ("agent.raw", "otlp_spans", "otlp_logs")
              for n in range(PARTITIONS) for to in range(PARTITIONS)}  # fmt: skip
    try:
        while len(output.sequences) < ACTIONS or not output.ticks.keys() >= wanted:
            assert time.monotonic() < end, (len(output.sequences), sorted(output.ticks))
            output.read()
    finally:
        process.terminate()
        assert process.wait(WAIT_S) == 0
    output.read()
    output.close()
    assert len(output.sequences) == ACTIONS
    assert all(len(places) == 1 for places in output.places.values())
    assert all(
        tick.raw_partitions == PARTITIONS for ticks in output.ticks.values() for tick in ticks
    )
