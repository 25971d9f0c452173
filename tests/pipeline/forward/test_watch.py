"""The monitor on a broker: decisions stand in the log before they act; restarts double nothing."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from tachograph.pipeline.clock import SECOND_US, to_datetime, to_us
from tachograph.pipeline.forward.monitor import Overview
from tachograph.pipeline.forward.watch import Watch
from tachograph.pipeline.kafka.reader import Reader
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas import codec
from tachograph.schemas.alert import SignalGroup
from tachograph.schemas.records import Health
from tests.pipeline.forward import alerts
from tests.waiting import eventually

START_US = to_us(alerts.START)
TOPICS = {"agent.health": 1, "agent.signal_groups": 1, "agent.signals": 1}


class Log:
    """A broker with a log of beats, and a clock that a test turns."""

    def __init__(self, bootstrap: str) -> None:
        self.settings = Settings.from_env(
            {"KAFKA_BOOTSTRAP_SERVERS": bootstrap, "TACHO_TENANT": "acme"}
        )
        self.writer = Writer(self.settings)
        self.now_us = START_US
        self._groups: list[SignalGroup] = []
        self._reader = Reader(self.settings, "test", ["agent.signal_groups"])

    def beat(self, second: int, **sources: int) -> None:
        """One beat of normalize."""
        self.now_us = START_US + second * SECOND_US
        health = Health(
            component="normalize",
            tenant="acme",
            status="ok",
            at=to_datetime(self.now_us),
            lag=0,
            sources=sources,
        )
        self.writer.send("agent.health", codec.encode(health), key=b"acme/normalize")
        self.writer.flush()

    def groups(self) -> list[SignalGroup]:
        """Signal groups so far."""
        messages = self._reader.read(100, 0.2)
        self._groups += [codec.decode(SignalGroup, m.value() or b"") for m in messages]
        return self._groups

    def watch(self) -> Watch:
        return Watch(self.settings, Overview(), clock=lambda: self.now_us)

    def close(self) -> None:
        self._reader.close()


@pytest.fixture
def log() -> Iterator[Log]:
    with MockBroker(topics=TOPICS) as broker:
        found = Log(broker.bootstrap_servers)
        yield found
        found.close()


def until(watch: Watch, log: Log, groups: int) -> None:
    def enough() -> bool:
        log.now_us += SECOND_US // 4
        watch.round()
        return len(log.groups()) >= groups

    eventually(enough, f"{groups} signal groups")


def closed(watch: Watch) -> None:
    watch._reader.close()


def owner(log: Log) -> Watch:
    """A monitor that owns the partition and has looked at the clock."""
    watch = log.watch()

    def owns() -> bool:
        watch.round()
        return bool(watch._shards)

    eventually(owns, "the partition")
    return watch


def silent_source(log: Log, watch: Watch) -> None:
    """200 seconds with the source, then 100 without; the monitor hears of each before the next."""
    for second in range(0, 300, 10):
        log.beat(second, **({"otlp_spans": 3} if second < 200 else {}))
        eventually(lambda: heard(watch), "the beat is read")


def heard(watch: Watch) -> bool:
    """Whether it has read all there is, after one more round."""
    watch.round()
    shards = watch._shards.items()
    return all(shard.next_offset >= watch._reader.bounds(place)[1] for place, shard in shards)


def test_a_silent_source_becomes_a_signal_group_and_is_taken_back(log: Log) -> None:
    watch = owner(log)
    silent_source(log, watch)
    until(watch, log, 1)
    log.beat(300, otlp_spans=1)
    until(watch, log, 2)
    first, second = log.groups()
    assert (first.rule_id, first.entity, first.count) == (
        "tacho.source_silent",
        "source:otlp_spans",
        1,
    )
    assert first.samples[0].event_time == alerts.START.replace(microsecond=0) + timedelta(
        seconds=190, microseconds=alerts.START.microsecond
    )
    assert (second.group_id, second.count) == (first.group_id, 0)
    assert second.revision > first.revision
    closed(watch)


@pytest.mark.slow
def test_a_restart_does_not_say_it_twice(log: Log) -> None:
    watch = owner(log)
    silent_source(log, watch)
    until(watch, log, 1)
    closed(watch)
    again = log.watch()
    log.beat(310)
    # Recovery is the next thing that is said: what was said before it is not.
    log.beat(320, otlp_spans=1)
    until(again, log, 2)
    assert [group.count for group in log.groups()] == [1, 0]
    closed(again)


def test_a_decision_that_was_written_but_not_acted_on_is_acted_on_by_the_next_owner(
    log: Log,
) -> None:
    decision = Health(
        component="source:otlp_spans",
        tenant="acme",
        status="silent",
        at=alerts.START,
        watermark=alerts.START,
        detail="nothing for 70 s",
    )
    log.writer.send("agent.health", codec.encode(decision), key=b"acme/source:otlp_spans")
    log.writer.flush()
    watch = log.watch()
    until(watch, log, 1)
    assert log.groups()[0].entity == "source:otlp_spans"
    closed(watch)


def test_what_is_no_health_record_does_not_stop_the_monitor(log: Log) -> None:
    log.writer.send("agent.health", b"\x00no json", key=b"x")
    log.writer.flush()
    watch = owner(log)
    silent_source(log, watch)
    until(watch, log, 1)
    closed(watch)
