"""Killed at random moments under load, the pipeline says what an undisturbed one says: every alert
once, and no other.
"""

import random
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from infra.kafka.broker import KafkaBroker
from tests.e2e.load import Post, Volume, closing, posts, start_time
from tests.e2e.pipeline import STAGES, Feed, Outcome, Pipeline, assert_same

SEED = 20261123
ROUNDS = 20
# A kill every few seconds; a stage is back before its turn comes again.
BETWEEN_KILLS_S = (2.0, 5.0)
DOWN_S = (0.0, 1.5)
LOAD = Volume(agents=40, ordinary=20_000, stories=90)


def _undisturbed(broker: KafkaBroker, folder: Path, start: datetime, load: list[Post]) -> Outcome:
    with Pipeline(broker, folder) as pipeline:
        feed = Feed(pipeline, start)
        pipeline.start()
        feed.send_over(load, 15.0)
        feed.send(closing(start))
        pipeline.settle()
        pipeline.stop()
        return Outcome.of(pipeline)


def _killed(
    broker: KafkaBroker, folder: Path, start: datetime, load: list[Post]
) -> tuple[Outcome, int]:
    chance = random.Random(SEED)
    longest_s = ROUNDS * (sum(BETWEEN_KILLS_S) / 2 + sum(DOWN_S) / 2)
    with Pipeline(broker, folder) as pipeline:
        feed = Feed(pipeline, start)
        pipeline.start()
        sending = threading.Thread(target=feed.send_over, args=(load, longest_s), daemon=True)
        sending.start()
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
        feed.send(closing(start))
        pipeline.settle()
        pipeline.stop()
        return Outcome.of(pipeline), rounds


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_under_load_lose_no_alert_double_none_and_invent_none(
    private_kafka: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    start = start_time()
    load = posts(SEED, start, LOAD)
    broker = private_kafka()
    undisturbed = _undisturbed(broker, tmp_path / "undisturbed", start, load)
    broker.stop()
    assert {"stateless", "window", "sequence"} <= undisturbed.kinds()
    assert len(undisturbed.alerts) >= 30

    disturbed, rounds = _killed(private_kafka(), tmp_path / "killed", start, load)
    assert rounds >= ROUNDS
    assert_same(undisturbed, disturbed)
