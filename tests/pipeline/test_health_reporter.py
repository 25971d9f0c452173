"""Beats: at most one in ten seconds, nothing lost in between, never in the way of the stage."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from tachograph.pipeline import health
from tachograph.pipeline.clock import SECOND_US
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.health import (
    BEAT_EVERY_S,
    HEALTH_TOPIC,
    MAX_SOURCE_CHARS,
    MAX_SOURCES,
    OTHER_SOURCES,
    HealthReporter,
)
from tachograph.pipeline.kafka.reader import Reader
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas import codec
from tachograph.schemas.records import Health
from tests.waiting import WAIT_S


class Sent:
    """A writer that keeps what it is given, or is broken."""

    def __init__(self, *, broken: bool = False) -> None:
        self.beats: list[Health] = []
        self.keys: list[bytes | None] = []
        self.broken = broken

    def send(
        self, topic: str, value: bytes, *, key: bytes | None, headers: Mapping[str, bytes]
    ) -> None:
        assert topic == HEALTH_TOPIC
        assert headers["tacho-record"] == b"health"
        if self.broken:
            raise RetryLater("no broker")
        self.keys.append(key)
        self.beats.append(codec.decode(Health, value))

    def flush(self, _deadline_s: float) -> None:
        if self.broken:
            raise RetryLater("no broker")


class Bench:
    """A reporter with a clock that a test turns."""

    def __init__(self, **sent: Any) -> None:
        self.now_us = 1_795_370_400 * SECOND_US
        self.sent = Sent(**sent)
        self.reporter = HealthReporter(
            Settings.from_env({"TACHO_TENANT": "acme"}),
            "detect",
            writer=lambda: cast("Writer", self.sent),
            clock=lambda: self.now_us,
        )


def test_the_first_beat_goes_out_and_the_next_after_ten_seconds() -> None:
    bench = Bench()
    assert bench.reporter.beat(lag=1)
    for _ in range(BEAT_EVERY_S - 1):
        bench.now_us += SECOND_US
        assert not bench.reporter.beat(lag=2)
    bench.now_us += SECOND_US
    assert bench.reporter.beat(lag=3)
    assert [beat.lag for beat in bench.sent.beats] == [1, 3]
    assert bench.sent.keys == [b"acme/detect"] * 2


def test_sources_add_up_between_beats_and_start_again() -> None:
    bench = Bench()
    bench.reporter.beat(sources={"otlp_spans": 1})
    bench.reporter.beat(sources={"otlp_spans": 2})
    bench.reporter.beat(sources={"otlp_spans": 3, "agent.raw": 4})
    bench.now_us += BEAT_EVERY_S * SECOND_US
    bench.reporter.beat()
    bench.now_us += BEAT_EVERY_S * SECOND_US
    bench.reporter.beat()
    assert [beat.sources for beat in bench.sent.beats] == [
        {"otlp_spans": 1},
        {"otlp_spans": 5, "agent.raw": 4},
        {},
    ]


def test_what_is_not_given_keeps_its_last_value() -> None:
    bench = Bench()
    at = datetime(2026, 11, 22, tzinfo=UTC)
    bench.reporter.beat(watermark=at, lag=7, drops={"late": 1})
    bench.now_us += BEAT_EVERY_S * SECOND_US
    bench.reporter.beat(drops={"far": 2})
    last = bench.sent.beats[-1]
    assert (last.watermark, last.lag, last.drops) == (at, 7, {"late": 1, "far": 2})


def test_a_change_of_status_goes_out_at_once() -> None:
    bench = Bench()
    bench.reporter.beat()
    assert bench.reporter.beat(status="degraded", detail="ClickHouse is away")
    assert not bench.reporter.beat(status="degraded")
    assert bench.reporter.beat()
    assert [beat.status for beat in bench.sent.beats] == ["ok", "degraded", "ok"]


def test_very_many_sources_are_summed_up() -> None:
    bench = Bench()
    bench.reporter.beat()
    bench.reporter.beat(sources={f"s{n}": 1 for n in range(MAX_SOURCES + 500)})
    bench.now_us += BEAT_EVERY_S * SECOND_US
    bench.reporter.beat()
    sources = bench.sent.beats[-1].sources
    assert len(sources) == MAX_SOURCES + 1
    assert sources[OTHER_SOURCES] == 500


def test_a_source_with_an_endless_name_is_cut() -> None:
    bench = Bench()
    bench.reporter.beat(sources={"x" * 5_000: 1})
    assert list(bench.sent.beats[0].sources) == ["x" * MAX_SOURCE_CHARS]


def test_a_broken_broker_never_reaches_the_stage_and_loses_no_count() -> None:
    bench = Bench(broken=True)
    assert not bench.reporter.beat(sources={"a": 1})
    bench.reporter.close()
    bench.sent.broken = False
    bench.now_us += BEAT_EVERY_S * SECOND_US
    bench.reporter.beat(sources={"a": 1})
    assert bench.sent.beats[0].sources == {"a": 2}


def test_a_beat_is_on_the_topic_when_the_reporter_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "_CLOSE_S", WAIT_S)
    with MockBroker(topics={HEALTH_TOPIC: 1}) as broker:
        settings = Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers})
        reporter = HealthReporter(settings, "store")
        reporter.beat(lag=5)
        reporter.close()
        reporter.close()
        reader = Reader(settings, "test", [HEALTH_TOPIC])
        tries = (reader.read(1, 0.5) for _ in range(400))
        [message] = next(found for found in tries if found)
        reader.close()
    assert codec.decode(Health, message.value() or b"").lag == 5
