"""Bad days on a real broker: ClickHouse away, a second process that comes and goes, the broker
killed. Nothing is lost, nothing doubled, and what lags catches up.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.kafka.groups import unread
from tests.e2e.load import Volume, closing, posts, start_time
from tests.e2e.pipeline import Feed, Outcome, Pipeline, Stage, assert_same

SEED = 20261124
LOAD = Volume(agents=30, ordinary=9_000, stories=54)
STORE = "tacho.store"
AWAY_S = 10.0
BROKER_AWAY_S = 5.0
ASSIGNED_S = 60.0


def _wait_for(stage: Stage, word: str) -> None:
    end = time.monotonic() + ASSIGNED_S
    while word not in stage.last_words():
        assert stage.running, stage.last_words()
        assert time.monotonic() < end, f"no {word!r}: {stage.last_words()}"
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_servers_that_go_and_come_back_and_a_rebalance_change_nothing(
    private_kafka: Callable[..., KafkaBroker], tmp_path: Path
) -> None:
    start = start_time()
    load = posts(SEED, start, LOAD)
    third = len(load) // 3
    broker = private_kafka()
    with Pipeline(broker, tmp_path / "undisturbed") as pipeline:
        feed = Feed(pipeline, start)
        pipeline.start()
        feed.send_over(load, 5.0)
        feed.send(closing(start))
        pipeline.settle()
        pipeline.stop()
        undisturbed = Outcome.of(pipeline)
    broker.stop()
    assert {"stateless", "window", "sequence"} <= undisturbed.kinds()

    broker = private_kafka()
    with Pipeline(broker, tmp_path / "disturbed") as pipeline:
        feed = Feed(pipeline, start)
        pipeline.start()
        feed.send_over(load[: third // 2], 5.0)

        pipeline.stop_clickhouse()
        feed.send_over(load[third // 2 : third], AWAY_S)
        pipeline.settle(but=(STORE,))
        waiting = {group for group, _ in unread(pipeline.settings)}
        assert waiting == {STORE}, "only what writes to ClickHouse waits for it"
        pipeline.start_clickhouse()
        pipeline.settle()

        second = pipeline.stage("detect", "detect-2")
        second.start()
        try:
            _wait_for(second, '"event": "assigned"')
            feed.send_over(load[third : 2 * third], 8.0)
            second.stop()
        finally:
            second.abandon()
        pipeline.settle()

        sending = threading.Thread(
            target=feed.send_over, args=(load[2 * third :], 12.0), daemon=True
        )
        sending.start()
        time.sleep(3.0)
        broker.kill()
        time.sleep(BROKER_AWAY_S)
        broker.start()
        sending.join()
        feed.send(closing(start))
        pipeline.settle()
        pipeline.stop()
        assert_same(undisturbed, Outcome.of(pipeline))
