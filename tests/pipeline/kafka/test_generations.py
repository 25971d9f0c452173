"""A number of partitions that nobody announced stops whoever finds it, after a restart too."""

import importlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewPartitions

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.kafka.generations import (
    CHECK_EVERY_S,
    Generation,
    Generations,
    announce,
    announced,
)
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker

SettingsFor = Callable[[str], Settings]


class Watch:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.s = 0.0

    def __call__(self) -> float:
        return self.s


def _grow(bootstrap: str, topic: str, to: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    [grown] = admin.create_partitions([NewPartitions(topic, to)]).values()
    grown.result(30)


@pytest.mark.kafka
def test_more_partitions_stop_a_stage_that_runs_and_one_that_starts_until_they_are_announced(
    kafka_broker: Any, settings_for: SettingsFor, topic_name: str
) -> None:
    settings = settings_for(kafka_broker.bootstrap_servers)
    watch = Watch()
    running = Generations(settings, "one", Writer(settings), [topic_name], now_s=watch)
    count = running.counts[topic_name]
    _grow(kafka_broker.bootstrap_servers, topic_name, count + 2)
    running.check()
    watch.s = CHECK_EVERY_S
    said = f"{topic_name} had {count} partitions and now has {count + 2}"
    with pytest.raises(Refused, match=said):
        running.check()
    with pytest.raises(Refused, match=said):
        Generations(settings, "other", Writer(settings), [topic_name])
    writer = Writer(settings)
    announce(writer, topic_name, count + 2)
    writer.flush()
    assert Generations(settings, "other", writer, [topic_name]).counts == {topic_name: count + 2}


def test_a_number_that_stays_stops_nobody(
    any_broker: Any, settings_for: SettingsFor, new_name: Callable[[str], str]
) -> None:
    settings, topics = settings_for(any_broker.bootstrap_servers), [new_name("t"), new_name("u")]
    first = Generations(settings, "one", Writer(settings), topics)
    again = Generations(settings, "two", Writer(settings), topics[:1])
    assert again.counts == {topics[0]: first.counts[topics[0]]}


@pytest.mark.parametrize("base", [0, 1, 10**12])
def test_a_later_generation_is_known_by_its_number_and_its_base(
    any_broker: Any, settings_for: SettingsFor, new_name: Callable[[str], str], base: int
) -> None:
    settings, topic = settings_for(any_broker.bootstrap_servers), new_name("t")
    writer = Writer(settings)
    count = writer.partitions(topic)
    announce(writer, topic, count + 1)
    announce(writer, topic, count, base)
    writer.flush()
    assert announced(settings, "any", writer)[topic] == Generation(count, base)
    assert Generations(settings, "one", writer, [topic]).of(topic) == Generation(count, base)


@pytest.mark.parametrize("stage", ["normalize", "detect", "triage", "store"])
def test_every_stage_that_keeps_something_by_place_stops(
    settings_for: SettingsFor, stage: str
) -> None:
    topic = "agent.signal_groups" if stage == "triage" else "agent.actions"
    with MockBroker() as broker:
        settings = settings_for(broker.bootstrap_servers)
        writer = Writer(settings)
        count = writer.partitions(topic)
        announce(writer, topic, count + 1)
        writer.flush()
        run = importlib.import_module(f"tachograph.pipeline.{stage}.stage").run
        with pytest.raises(Refused, match=f"{topic} had {count + 1} partitions"):
            run(settings, threading.Event())
