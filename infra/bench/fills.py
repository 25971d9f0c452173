"""Topics filled before a stage is measured: the records are those that the stage before writes."""

import itertools
import time
from collections.abc import Iterable, Iterator
from typing import Final

import polars as pl
from confluent_kafka import Producer

from infra.bench.gauge import Fill
from infra.bench.rig import OPERATOR_KEY
from infra.bench.traffic import MICROS, Fleet, Post
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.partition import Found, PartitionDetector
from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.kafka.reader import SILENT
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.normalize.batches import Batches, Record
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.settings import Settings
from tachograph.schemas import batch, codec
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.identity import partition_of
from tachograph.schemas.records import Tick

PARTITIONS: Final = 4
RAW_TOPICS: Final = ("agent.raw", "otlp_spans", "otlp_logs")
# Raw records that `normalize` finds in one reading under a steady load: what it reads in 50 ms.
ROUND_RECORDS: Final = 250
# How fast the traffic's own clock runs: actions a second of event time.
TRAFFIC_RATE: Final = 40_000.0
FLUSH_RECORDS: Final = 2_000
FLUSH_S: Final = 120.0


def raw_producer(settings: Settings) -> Producer:
    """A producer as the SDK has it."""
    return Producer(
        {
            **settings.kafka.client_config(),
            "enable.idempotence": True,
            "acks": "all",
            "compression.type": "zstd",
            "linger.ms": 5,
            "logger": SILENT,
        }
    )


def raw(settings: Settings, posts: Iterable[Post]) -> Fill:
    """Raw records, as producers send them."""
    producer, fill = raw_producer(settings), Fill()
    for number, post in enumerate(posts):
        place = post.partition(PARTITIONS)
        producer.produce(post.topic, post.value, post.key, place)
        fill.add((post.topic, place), post.events, len(post.value))
        if number % FLUSH_RECORDS == 0:
            producer.flush(FLUSH_S)
    if producer.flush(FLUSH_S):
        raise TimeoutError("the broker did not take the load")
    return fill


def native(fleet: Fleet, actions: int) -> Iterator[Post]:
    """Records of a fleet whose last action is now."""
    begin_us = int(time.time() * MICROS - actions / TRAFFIC_RATE * MICROS)
    return (post for _, post in fleet.posts(actions, begin_us, TRAFFIC_RATE))


def rounds(fleet: Fleet, actions: int) -> Iterator[tuple[int, list[Record]]]:
    """(time, records of agent.actions) as `normalize` makes them, a round of it at a time."""
    core = Normalizer(bytes.fromhex(OPERATOR_KEY), "default")
    batches = Batches(PARTITIONS)
    begin_us = int(time.time() * MICROS - actions / TRAFFIC_RATE * MICROS)
    posts = fleet.posts(actions, begin_us, TRAFFIC_RATE)
    offset = 0
    while chunk := list(itertools.islice(posts, ROUND_RECORDS)):
        at_us = chunk[-1][0]
        records = [
            RawRecord(post.topic, 0, offset + n, post.value, {}, at_us)
            for n, (_, post) in enumerate(chunk)
        ]
        offset += len(chunk)
        yield at_us, list(batches.records(core.normalize(records).frame))


def actions(settings: Settings, fleet: Fleet, count: int) -> Fill:
    """agent.actions with at least so many actions, and the ticks between them."""
    writer, fill = Writer(settings), Fill()
    ticked_us = 0
    for at_us, records in rounds(fleet, count):
        for record in records:
            writer.send(
                "agent.actions", record.value, partition=record.partition, headers=record.headers
            )
            fill.add(("agent.actions", record.partition), record.rows, len(record.value))
        if at_us - ticked_us >= MICROS:
            ticked_us = at_us
            _tick(writer, fill, at_us)
        writer.poll()
    writer.flush()
    return fill


def _tick(writer: Writer, fill: Fill, at_us: int) -> None:
    """What `normalize` says once a second of each raw partition, to every partition."""
    headers = {RECORD_HEADER: b"tick"}
    for topic, part in itertools.product(RAW_TOPICS, range(PARTITIONS)):
        tick = Tick(
            raw_topic=topic,
            raw_partition=part,
            raw_partitions=PARTITIONS,
            observed_time=to_datetime(at_us),
        )
        value = codec.encode(tick)
        for place in range(PARTITIONS):
            writer.send("agent.actions", value, partition=place, headers=headers)
            fill.add(("agent.actions", place), 0, 0)


def signal_groups(settings: Settings, rules: RuleSet, actions_of: Fleet, count: int) -> Fill:
    """agent.signal_groups as `detect` writes it when `count` actions of a fleet match rules."""
    writer, fill, detector = Writer(settings), Fill(), PartitionDetector(rules)
    for number, (_, records) in enumerate(rounds(actions_of, count)):
        frame = pl.concat([batch.decode(record.value) for record in records], how="diagonal")
        found = detector.process(frame, [], number << 20)
        for key, kind, value in _for_triage(found):
            place = partition_of(key, PARTITIONS)
            writer.send(
                "agent.signal_groups",
                value,
                key=key.encode(),
                partition=place,
                headers={RECORD_HEADER: kind},
            )
            fill.add(("agent.signal_groups", place), 1, len(value))
    writer.flush()
    return fill


def _for_triage(found: Found) -> Iterator[tuple[str, bytes, bytes]]:
    for group in found.groups:
        yield f"{group.tenant}/{group.entity}", b"signal_group", codec.encode(group)
    for context in found.contexts:
        yield f"{context.tenant}/{context.entity}", b"context", codec.encode(context)
