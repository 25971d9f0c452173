"""How many partitions and processes there are changes nothing: one of each, or six and three that
join, leave, die and sleep, say the same of one stream.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from infra.kafka.broker import KafkaBroker
from tests.e2e.load import Post, Volume, closing, posts, start_time
from tests.e2e.pipeline import Feed, Outcome, Pipeline, Stage, assert_same

SEED = 20261126
LOAD = Volume(agents=30, ordinary=9_000, stories=72)
WALL_S = 60.0
# Longer than the broker waits for a member.
ASLEEP_S = 14.0
ASSIGNED_S = 60.0
ACROSS = {"e2e-principal-denied", "e2e-principal-relay", "e2e-tool-denied"}


def _one_of_each(broker: KafkaBroker, folder: Path, start: datetime, load: list[Post]) -> Outcome:
    with Pipeline(broker, folder, partitions=1) as pipeline:
        feed = Feed(pipeline, start)
        pipeline.start()
        feed.send_over(load, 5.0)
        feed.send(closing(start))
        pipeline.settle()
        pipeline.stop()
        return Outcome.of(pipeline)


def _joined(stage: Stage) -> None:
    """Wait until it has been given partitions, or none because others have them all."""
    end = time.monotonic() + ASSIGNED_S
    while '"event": "assigned"' not in stage.last_words():
        assert stage.running, stage.last_words()
        assert time.monotonic() < end, stage.last_words()
        time.sleep(0.2)


def _sleeps(stage: Stage) -> None:
    """It stops in the middle of what it does, loses its partitions, and goes on."""
    os.kill(stage.pid, signal.SIGSTOP)
    time.sleep(ASLEEP_S)
    os.kill(stage.pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_partition_and_process_or_six_and_three_that_come_and_go_say_the_same(
    private_kafka: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    start = start_time()
    load = posts(SEED, start, LOAD)
    broker = private_kafka()
    single = _one_of_each(broker, tmp_path / "single", start, load)
    broker.stop()
    assert {row["rule_id"] for row in single.signals.values()} >= ACROSS

    with Pipeline(private_kafka(), tmp_path / "many", partitions=6) as pipeline:
        first = pipeline.stages["detect"]
        second, third = (pipeline.stage("detect", f"detect-{n}") for n in (2, 3))
        feed = Feed(pipeline, start)
        pipeline.start()
        sending = threading.Thread(target=feed.send_over, args=(load, WALL_S), daemon=True)
        sending.start()
        try:
            _joined(first)
            second.start()
            third.start()
            _joined(third)
            _sleeps(first)
            third.kill()
            time.sleep(3.0)
            third.start()
            _sleeps(second)
            first.kill()
            first.start()
            sending.join()
            second.stop()
            feed.send(closing(start))
            pipeline.settle()
            third.stop()
            pipeline.stop()
            assert_same(single, Outcome.of(pipeline))
        finally:
            second.abandon()
            third.abandon()
