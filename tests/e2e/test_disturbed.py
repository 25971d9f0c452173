"""Whatever disturbs it, the pipeline says what an undisturbed one says: every action, signal and
alert once, and no other. The undisturbed one has one process of each stage and one partition of
each topic.
"""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.kafka.groups import unread
from tests.conftest import started
from tests.e2e.answering import POLICY, Agents, assert_captured
from tests.e2e.load import Post, Volume, closing, posts, start_time
from tests.e2e.pipeline import (
    CLI,
    SESSION_S,
    STAGES,
    Feed,
    Outcome,
    Pipeline,
    Stage,
    assert_same,
)
from tests.waiting import WAIT_S

SEED = 20261123
LOAD = Volume(agents=40, ordinary=6_000, stories=84)
ACROSS = {"e2e-principal-denied", "e2e-principal-relay", "e2e-tool-denied"}
STORE = "tacho.store"
ROUNDS = 20
# A kill every few seconds; a stage is back before its turn comes again.
BETWEEN_KILLS_S = (1.5, 3.5)
DOWN_S = (0.0, 1.5)
AWAY_S = 8.0
BROKER_AWAY_S = 4.0
PARTITIONS = 6
MORE_PARTITIONS = 7
# Longer than the broker waits for a member.
ASLEEP_S = SESSION_S + 3.0
COMING_AND_GOING_S = 30.0


class Undisturbed:
    """What is sent, and what is found of it when nothing happens."""

    def __init__(self, start: datetime, load: list[Post], outcome: Outcome) -> None:
        self.start, self.load, self.outcome = start, load, outcome


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    start = start_time()
    load = posts(SEED, start, LOAD)
    folder = tmp_path_factory.mktemp("undisturbed")
    broker = started(KafkaBroker(folder / "kafka"))
    try:
        with Pipeline(broker, folder / "run", partitions=1) as pipeline:
            feed = Feed(pipeline, start)
            pipeline.start()
            feed.send_over(load, 5.0)
            feed.send(closing(start))
            pipeline.settle()
            pipeline.stop()
            outcome = Outcome.of(pipeline)
    finally:
        broker.kill()
    assert {"stateless", "window", "sequence"} <= outcome.kinds()
    assert {row["rule_id"] for row in outcome.signals.values()} >= ACROSS
    assert len(outcome.alerts) >= 30
    return Undisturbed(start, load, outcome)


def _sending(feed: Feed, load: list[Post], wall_s: float) -> threading.Thread:
    sending = threading.Thread(target=feed.send_over, args=(load, wall_s), daemon=True)
    sending.start()
    return sending


def _assigned(stage: Stage) -> None:
    """Wait until it has been given partitions, or none because others have them all."""
    end = time.monotonic() + WAIT_S
    while '"event": "assigned"' not in stage.said():
        assert stage.running, stage.last_words()
        assert time.monotonic() < end, stage.last_words()
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twenty_kills_under_load_lose_no_alert_double_none_and_invent_none(
    undisturbed: Undisturbed, private_kafka: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    longest_s = ROUNDS * (sum(BETWEEN_KILLS_S) / 2 + sum(DOWN_S) / 2)
    with (
        Pipeline(private_kafka(), tmp_path / "killed", policy=POLICY) as pipeline,
        Agents(pipeline) as agents,
    ):
        feed = Feed(pipeline, undisturbed.start)
        pipeline.start()
        sending = _sending(feed, undisturbed.load, longest_s)
        rounds = 0
        while rounds < ROUNDS or sending.is_alive():
            for name in chance.sample(STAGES, len(STAGES)):
                time.sleep(chance.uniform(*BETWEEN_KILLS_S))
                # Sometimes two go at once; the other may be just about to start.
                names = {name, chance.choice(STAGES)} if chance.random() < 1 / 4 else {name}
                for going in sorted(names):
                    pipeline.stages[going].kill()
                time.sleep(chance.uniform(*DOWN_S))
                for going in sorted(names):
                    pipeline.stages[going].start()
                rounds += 1
        feed.send(closing(undisturbed.start))
        pipeline.settle()
        pipeline.stop()
        assert rounds >= ROUNDS
        assert_same(undisturbed.outcome, Outcome.of(pipeline))
        assert_captured(pipeline, agents)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_servers_that_come_back_more_partitions_and_processes_that_come_and_go_change_nothing(
    undisturbed: Undisturbed, private_kafka: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    """ClickHouse away, windows half full when their agents move to other partitions, three
    processes of detection that come, sleep and go, the broker killed while two of them are left.
    """
    load = undisturbed.load
    third = len(load) // 3
    broker = private_kafka()
    with Pipeline(broker, tmp_path / "disturbed", partitions=PARTITIONS) as pipeline:
        feed = Feed(pipeline, undisturbed.start)
        pipeline.start()
        # The load's clock goes some twenty times as fast: a stage that starts must not fall
        # behind it by the time that an action may be late.
        feed.send_over(load[: third // 2], 8.0)

        pipeline.stop_clickhouse()
        feed.send_over(load[third // 2 : third], AWAY_S)
        pipeline.settle(but=(STORE,))
        waiting = {group for group, _ in unread(pipeline.settings)}
        assert waiting == {STORE}, "only what writes to ClickHouse waits for it"
        pipeline.start_clickhouse()
        pipeline.settle()

        _repartitioned(pipeline, MORE_PARTITIONS)

        others = [pipeline.stage("detect", f"detect-{n}") for n in (2, 3)]
        sending = _sending(feed, load[third : 2 * third], COMING_AND_GOING_S)
        try:
            _come_and_go(pipeline.stages["detect"], *others)
            sending.join()

            sending = _sending(feed, load[2 * third :], 15.0)
            time.sleep(3.0)
            others[0].stop()
            broker.kill()
            time.sleep(BROKER_AWAY_S)
            broker.start()
            sending.join()
            feed.send(closing(undisturbed.start))
            pipeline.settle()
            others[1].stop()
            pipeline.stop()
        finally:
            for other in others:
                other.abandon()
        assert_same(undisturbed.outcome, Outcome.of(pipeline))


def _repartitioned(pipeline: Pipeline, partitions: int) -> None:
    """As an operator does it: those who work on agent.actions stop and start again."""
    working = [pipeline.stages[name] for name in ("normalize", "detect", "store")]
    for stage in working:
        stage.stop()
    done = subprocess.run(
        [*CLI, "repartition", "--partitions", str(partitions)],
        env=pipeline.environment,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for stage in working:
        stage.start()


def _come_and_go(first: Stage, second: Stage, third: Stage) -> None:
    """Two come beside the first, two sleep through their sessions, two are killed."""
    _assigned(first)
    second.start()
    third.start()
    _assigned(third)
    _sleeps(first)
    third.kill()
    time.sleep(3.0)
    third.start()
    _sleeps(second)
    first.kill()
    first.start()


def _sleeps(stage: Stage) -> None:
    """It stops in the middle of what it does, loses its partitions, and goes on."""
    os.kill(stage.pid, signal.SIGSTOP)
    time.sleep(ASLEEP_S)
    os.kill(stage.pid, signal.SIGCONT)
