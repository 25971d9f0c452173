"""The stage against a broker: what goes in raw comes out identified, with ticks, and commits come
last.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tachograph.pipeline.dead_letters import HEADERS
from tachograph.pipeline.door_headers import sign
from tachograph.pipeline.errors import Refused
from tachograph.pipeline.normalize.hopeless import Hopeless
from tachograph.pipeline.normalize.stage import SOURCES, Normalize, run
from tachograph.pipeline.replay import Choice, run_replay
from tachograph.pipeline.secrets import operator_key
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas import batch, codec
from tachograph.schemas.identity import partition_of
from tachograph.schemas.records import DeadLetter, SessionLink, Tick
from tests.waiting import WAIT_S

from .conftest import request, span

TOPICS = ("agent.actions", "agent.dead_letters", "agent.state")


@pytest.fixture
def settings(settings_for: Callable[..., Settings]) -> Iterator[Settings]:
    """Settings for a stand-in broker of this test alone: the stage's topics have fixed names."""
    broker = MockBroker(3, (*TOPICS, *SOURCES, "agent.health"))
    yield settings_for(broker.bootstrap_servers)
    broker.close()


@pytest.fixture
def stage(settings: Settings) -> Iterator[threading.Thread]:
    """The stage, running until the test ends."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(settings, stop))
    thread.start()
    yield thread
    stop.set()
    thread.join(WAIT_S)
    assert not thread.is_alive()


def now_action(**fields: Any) -> dict[str, Any]:
    """An action of this moment."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {"kind": "tool_call", "event_time": at, "agent_id": "a", **fields}


def produce(
    settings: Settings,
    topic: str,
    *values: Any,
    headers: dict[str, bytes] | None = None,
    partition: int = -1,
) -> None:
    """Write raw records and wait until the broker has them."""
    producer = Producer(settings.kafka.client_config())
    for value in values:
        payload = value if isinstance(value, bytes) else msgspec.json.encode(value)
        producer.produce(topic, payload, partition=partition, headers=dict(headers or {}))
    assert producer.flush(WAIT_S) == 0


def follow(
    settings: Settings, done: Callable[[dict[str, list[Any]]], bool]
) -> dict[str, list[Any]]:
    """What the stage wrote, by kind of record, as (partition, headers, value), until `done`."""
    consumer = Consumer(
        {**settings.kafka.client_config(), "group.id": "test", "auto.offset.reset": "earliest"}
    )
    consumer.assign([TopicPartition(topic, part, 0) for topic in TOPICS for part in range(3)])
    found: dict[str, list[Any]] = defaultdict(list)
    end = time.monotonic() + WAIT_S
    while not done(found):
        assert time.monotonic() < end, {kind: len(values) for kind, values in found.items()}
        for message in consumer.consume(500, 0.2):
            if message.error() is None:
                headers: dict[str, Any] = dict(message.headers() or [])
                kind = headers["tacho-record"].decode()
                found[kind].append((message.partition(), headers, message.value()))
    consumer.close()
    return found


def actions(found: dict[str, list[Any]]) -> pl.DataFrame:
    """All actions of the followed batches."""
    frames = [batch.decode(value) for _, _, value in found["action_batch"]]
    return pl.concat(frames, how="diagonal") if frames else pl.DataFrame()


def test_actions_stand_in_the_partition_of_their_agent(settings: Settings, stage: object) -> None:
    produce(
        settings,
        "agent.raw",
        *[now_action(agent_id=f"agent-{n % 7}", sequence=n) for n in range(50)],
    )
    found = follow(settings, lambda found: actions(found).height >= 50)
    for partition, headers, value in found["action_batch"]:
        frame = batch.decode(value)
        assert {partition_of(f"default/{key}", 3) for key in frame["partition_key"]} == {partition}
        assert headers["tacho-rows"] == b"%d" % frame.height
    assert sorted(actions(found)["sequence"]) == list(range(50))


def test_every_partition_learns_how_far_every_raw_partition_has_come(
    settings: Settings, stage: object
) -> None:
    wanted = {
        (topic, part, to)
        for topic in ("otlp_spans", "otlp_logs", "agent.raw")
        for part in range(3)
        for to in range(3)
    }

    def places(found: dict[str, list[Any]]) -> set[tuple[str, int, int]]:
        ticks = [(to, codec.decode(Tick, value)) for to, _, value in found["tick"]]
        return {(tick.raw_topic, tick.raw_partition, to) for to, tick in ticks}

    found = follow(settings, lambda found: places(found) >= wanted)
    assert all(codec.decode(Tick, value).raw_partitions == 3 for _, _, value in found["tick"])


def test_links_come_before_the_actions_they_join(settings: Settings, stage: object) -> None:
    value = request(span(gen_ai__operation__name="chat", gen_ai__conversation__id="c1"))
    produce(settings, "otlp_spans", value)
    found = follow(settings, lambda found: bool(found["session_link"]))
    [(partition, _, link)] = found["session_link"]
    assert codec.decode(SessionLink, link).session_id == "c1"
    assert partition == partition_of("default/shop", 3)


def test_bad_records_become_dead_letters_and_the_others_go_on(
    settings: Settings, stage: object
) -> None:
    produce(
        settings,
        "agent.raw",
        b"{",
        now_action(sequence=1),
        b'{"a":"\xff"}',
        now_action(sequence=2, kind="no such kind"),
    )
    found = follow(
        settings, lambda found: len(found["dead_letter"]) >= 3 and actions(found).height >= 1
    )
    letters = [codec.decode(DeadLetter, value) for _, _, value in found["dead_letter"]]
    assert sorted(letter.reason for letter in letters) == ["mistyped", "not_utf8", "truncated"]
    assert actions(found)["sequence"].to_list() == [1]


def test_the_doors_word_is_believed_and_a_forged_one_is_not(
    settings: Settings, stage: object
) -> None:
    value = msgspec.json.encode(now_action(agent_id="true"))
    forged = msgspec.json.encode(now_action(agent_id="forged"))
    headers = sign(operator_key(settings.home), value, "svc", time.time_ns() // 1000, "acme")
    produce(settings, "agent.raw", value, headers=headers)
    produce(settings, "agent.raw", forged, headers=headers)
    found = follow(settings, lambda found: actions(found).height >= 2)
    said = {row["agent_id"]: row for row in actions(found).to_dicts()}
    assert (said["true"]["tenant"], said["true"]["authenticated_as"]) == ("acme", "svc")
    assert (said["forged"]["tenant"], said["forged"]["assurance"]) == ("default", "asserted")


def test_snapshots_go_to_agent_state_and_among_the_agents_actions_without_their_secrets(
    settings: Settings, stage: object
) -> None:
    value = {
        "snapshot_id": "s1",
        "tenant": "",
        "taken_at": "2026-11-22T18:00:00Z",
        "agent_id": "a",
        "memory": {"note": "key AKIAIOSFODNN7ABCDEFG"},
    }
    produce(settings, "agent.raw", value, headers={"tacho-record": b"state_snapshot"})
    found = follow(settings, lambda found: len(found["state_snapshot"]) == 2)
    payload = found["state_snapshot"][0][2]
    assert {value for _, _, value in found["state_snapshot"]} == {payload}
    assert b"AKIAIOSFODNN7ABCDEFG" not in payload
    assert "‹secret:aws_access_key:".encode() in payload


def _rounds(stage: Normalize) -> None:
    while True:
        stage.round()


def test_what_was_not_committed_is_written_again_under_the_same_ids(settings: Settings) -> None:
    produce(settings, "agent.raw", *[now_action(sequence=n) for n in range(5)])
    first = Normalize(settings)
    first._reader.commit = lambda offsets: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        _rounds(first)
    first.close()
    stop = threading.Event()
    second = threading.Thread(target=run, args=(settings, stop))
    second.start()

    def all_again(found: dict[str, list[Any]]) -> bool:
        # The first may have written some of them only.
        written = actions(found)
        return written.height > 5 and written["event_id"].n_unique() >= 5

    found = follow(settings, all_again)
    stop.set()
    second.join(WAIT_S)
    assert actions(found)["event_id"].n_unique() == 5


def test_a_dead_letter_put_back_after_the_fix_becomes_an_action(
    settings: Settings, stage: object
) -> None:
    produce(settings, "agent.raw", now_action(kind="new kind"), b"{", b"[")
    follow(settings, lambda found: len(found["dead_letter"]) >= 3)
    dry = run_replay(settings, Choice(reason="mistyped"), dry_run=True)
    assert dry.replayed == {"agent.raw": 1}
    done = run_replay(settings, Choice(reason="mistyped"), dry_run=False)
    assert done.replayed == {"agent.raw": 1}
    # Still unmended, it comes back as a dead letter: four in all.
    found = follow(settings, lambda found: len(found["dead_letter"]) >= 4)
    again = [codec.decode(DeadLetter, value) for _, headers, value in found["dead_letter"]]
    assert sum("tacho-replayed" in letter.headers for letter in again) == 1
    assert run_replay(settings, Choice(limit=1), dry_run=True).total == 1
    # What was refused again is no second letter to put back: else every try would double them.
    assert run_replay(settings, Choice(), dry_run=True).total == 3


def test_a_dead_letter_put_back_twice_after_the_fix_is_one_action(settings: Settings) -> None:
    mended = now_action(sequence=7)
    produce(settings, "agent.raw", now_action(), partition=0)  # it lay at the second place
    sent = DeadLetter(
        topic="agent.raw", partition=0, offset=1, index=0, stage="normalize", reason="mistyped",
        detail="kind",
        observed_time=datetime.now(UTC), sha256="00", size_bytes=9,
        original=msgspec.json.encode(mended),
    )  # fmt: skip
    produce(settings, "agent.dead_letters", codec.encode(sent), headers=HEADERS)
    for _ in range(2):
        assert run_replay(settings, Choice(), dry_run=False).total == 1
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(settings, stop))
    thread.start()
    found = follow(settings, lambda found: actions(found).height >= 3)
    stop.set()
    thread.join(WAIT_S)
    put_back = actions(found).filter(sequence=7)
    assert put_back.height == 2
    assert put_back["event_id"].n_unique() == 1


def test_a_topic_that_decodes_to_nothing_stops_the_stage_whoever_writes_it(
    settings: Settings,
) -> None:
    stage = Normalize(settings)
    stage._hopeless = Hopeless(records=20, sources=3)
    bad = b"not json"
    produce(settings, "agent.raw", *[bad] * 40)
    while not stage._hopeless.troubles():  # one unknown producer: said, but no reason to stop
        stage.round()
    key = operator_key(settings.home)
    for principal in ("one", "two"):
        headers = sign(key, bad, principal, time.time_ns() // 1000, "acme")
        produce(settings, "agent.raw", bad, headers=headers)
    with pytest.raises(Refused, match=r"agent.raw: none of \d+ records since the start"):
        _rounds(stage)
    stage.close()
