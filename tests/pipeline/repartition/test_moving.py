"""A change of the number of partitions on Apache Kafka: refused while anybody works, and finished
by whoever asks for it again.
"""

import itertools
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import polars as pl
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from infra.kafka.broker import KafkaBroker
from tachograph.pipeline.detect.checkpoints import Checkpoints
from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.kafka.generations import Generation, Generations, announced
from tachograph.pipeline.kafka.groups import READERS, unread
from tachograph.pipeline.kafka.reader import Reader, headers_of
from tachograph.pipeline.kafka.topics import provision
from tachograph.pipeline.kafka.whole import whole_partition
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.normalize.batches import Batches, place_key
from tachograph.pipeline.repartition.moving import TOPIC, Moving
from tachograph.pipeline.repartition.spool import Plan, Spool
from tachograph.pipeline.settings import Settings
from tachograph.schemas import batch
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.identity import partition_of
from tests.waiting import eventually

BEFORE, AFTER = 2, 5
FLUSHES, AGENTS = 6, 12


def _filled(settings: Settings, partitions: int) -> int:
    """Actions of a few agents, as `normalize` writes them; the highest offset there is then."""
    writer, batches = Writer(settings), Batches(partitions)
    for flush in range(FLUSHES):
        frame = pl.DataFrame(
            {
                "event_id": [f"{flush}/{agent}" for agent in range(AGENTS)],
                "tenant": ["t"] * AGENTS,
                "partition_key": [f"agent-{agent}" for agent in range(AGENTS)],
            }
        )
        for record in batches.records(frame):
            writer.send(TOPIC, record.value, partition=record.partition, headers=record.headers)
    writer.flush()
    return FLUSHES


def _all_read(settings: Settings, group: str) -> None:
    reader = Reader(settings, group, [TOPIC])
    read: dict[tuple[str, int], int] = {}

    def commits() -> bool:
        for message in reader.read(100, 0.1):
            place = (message.topic() or "", message.partition() or 0)
            read[place] = max(read.get(place, 0), (message.offset() or 0) + 1)
        reader.commit(read)
        return not any(one == group for one, _ in unread(settings, {TOPIC: (group,)}))

    eventually(commits, "all of it is read and committed")
    reader.close()


def _events(settings: Settings, partition: int) -> list[str]:
    found: list[str] = []
    for message in whole_partition(settings, "looking", TOPIC, partition):
        assert headers_of(message)[RECORD_HEADER] == b"action_batch"
        found += batch.decode(message.value() or b"")["event_id"].to_list()
    return found


def _each_agent_is_in_its_place(settings: Settings, times: int) -> None:
    laid = {number: _events(settings, number) for number in range(AFTER)}
    for agent in range(AGENTS):
        own = laid[partition_of(place_key("t", f"agent-{agent}"), AFTER)]
        expected = [f"{flush}/{agent}" for flush in range(FLUSHES)] * times
        assert [event for event in own if event.endswith(f"/{agent}")] == expected
    assert sum(map(len, laid.values())) == times * FLUSHES * AGENTS


def _committed(settings: Settings, group: str) -> dict[int, int]:
    consumer = Consumer({**settings.kafka.client_config(), "group.id": group})
    places = [TopicPartition(TOPIC, number) for number in range(AFTER)]
    try:
        return {one.partition: one.offset for one in consumer.committed(places, timeout=30)}
    finally:
        consumer.close()


@pytest.mark.kafka
def test_nothing_is_lost_by_a_change_that_is_stopped_half_way_and_asked_for_again(
    private_kafka: Callable[..., KafkaBroker],
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_for(private_kafka().bootstrap_servers)
    provision(settings, partitions=BEFORE)
    Generations(settings, "normalize", Writer(settings), [TOPIC])
    highest = _filled(settings, BEFORE)
    kept = Checkpoints(settings, "detect", writer := Writer(settings))
    kept.save((TOPIC, 0), 3, "rules", b"state")
    kept.save(("agent.matches", 0), 3, "rules", b"other state")
    writer.flush()

    said: list[str] = []
    with pytest.raises(Refused, match=r"has \d+ records of agent.actions to read"):
        Moving(settings, said.append).to(AFTER)
    for group in READERS[TOPIC]:
        _all_read(settings, group)
    working = Reader(settings, "tacho.normalize", ["agent.raw"])
    eventually(lambda: not working.read(1, 0.1) and bool(working.assignment()), "it is a member")
    with pytest.raises(Refused, match="`tacho normalize` runs: stop it first"):
        Moving(settings, said.append).to(AFTER)
    working.close()
    with pytest.raises(ConfigError, match=f"{TOPIC} has {BEFORE} and may have more"):
        Moving(settings, said.append).to(BEFORE)

    count, send = itertools.count(), Writer.send

    def cut_off(self: Writer, topic: str, *args: Any, **kwargs: Any) -> None:
        if topic == TOPIC and next(count) == AGENTS // 2:
            raise RetryLater("the broker went away")
        send(self, topic, *args, **kwargs)

    with monkeypatch.context() as broken:
        broken.setattr(Writer, "send", cut_off)
        with pytest.raises(RetryLater, match="went away"):
            Moving(settings, said.append).to(AFTER)
    with pytest.raises(ConfigError, match=f"go on with --partitions {AFTER}"):
        Moving(settings, said.append).to(AFTER + 1)
    with pytest.raises(Refused, match=f"{TOPIC} is being made anew: let `tacho repartition` end"):
        Generations(settings, "store", Writer(settings), [TOPIC])
    with monkeypatch.context() as broken:
        broken.setattr(Spool, "end", lambda _: None)
        Moving(settings, said.append).to(AFTER)
    # What was done is not done again: stages may have worked since.
    _filled(settings, AFTER)
    for group in READERS[TOPIC]:
        _all_read(settings, group)
    plan = Moving(settings, said.append).to(AFTER)

    assert (plan.before, plan.after, plan.records) == (BEFORE, AFTER, FLUSHES * BEFORE)
    _each_agent_is_in_its_place(settings, times=2)
    for group in READERS[TOPIC]:
        assert not unread(settings, {TOPIC: (group,)})
        assert set(_committed(settings, group)) == set(range(AFTER))
    assert announced(settings, "test", Writer(settings))[TOPIC] == Generation(AFTER, highest)
    assert kept.load((TOPIC, 0)) is None
    assert kept.load(("agent.matches", 0)) == (3, b"other state")
    assert Spool(settings.home / "repartition").plan() is None
    assert not (settings.home / "repartition").exists()


@pytest.mark.kafka
def test_what_is_written_while_the_topic_is_kept_and_after_a_deletion_that_failed_is_not_lost(
    private_kafka: Callable[..., KafkaBroker],
    settings_for: Callable[..., Settings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_for(private_kafka().bootstrap_servers)
    provision(settings, partitions=BEFORE)
    Generations(settings, "normalize", Writer(settings), [TOPIC])
    _filled(settings, BEFORE)
    for group in READERS[TOPIC]:
        _all_read(settings, group)
    begin = Spool.begin

    def written_meanwhile(self: Spool, plan: Plan) -> None:
        begin(self, plan)
        _filled(settings, BEFORE)

    with monkeypatch.context() as at_work:
        at_work.setattr(Spool, "begin", written_meanwhile)
        with pytest.raises(Refused, match=r"was written to while it was kept.*nothing is changed"):
            Moving(settings, print).to(AFTER)
    for group in READERS[TOPIC]:
        _all_read(settings, group)

    def not_deleted(*_: Any, **__: Any) -> dict[str, Future[None]]:
        answer: Future[None] = Future()
        answer.set_exception(KafkaException(KafkaError(KafkaError.TOPIC_DELETION_DISABLED)))
        return {TOPIC: answer}

    with monkeypatch.context() as forbidden:
        forbidden.setattr(AdminClient, "delete_topics", not_deleted)
        with pytest.raises(Refused, match="nothing is changed"):
            Moving(settings, print).to(AFTER)
    # Stages go on as before.
    assert Generations(settings, "store", Writer(settings), [TOPIC]).counts == {TOPIC: BEFORE}
    _filled(settings, BEFORE)
    with pytest.raises(Refused, match=r"has \d+ records of agent.actions to read"):
        Moving(settings, print).to(AFTER)
    for group in READERS[TOPIC]:
        _all_read(settings, group)
    Moving(settings, print).to(AFTER)
    _each_agent_is_in_its_place(settings, times=3)
