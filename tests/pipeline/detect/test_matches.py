"""Matches go to the place of their group in records that the broker takes; ticks say no more than
is true, and no more often than is needed.
"""

from collections.abc import Mapping
from typing import Any

import polars as pl
import pytest

from tachograph.detectors.partition import PartitionDetector
from tachograph.detectors.plan import Plan
from tachograph.pipeline.detect import matches as module
from tachograph.pipeline.detect.judges import ActionJudge, MatchJudge
from tachograph.pipeline.detect.matches import TICK_EVERY_S, Matches
from tachograph.pipeline.detect.shard import Shard
from tachograph.pipeline.kafka.writer import MAX_RECORD_BYTES
from tachograph.schemas import batch, codec
from tachograph.schemas.contracts import RECORD_HEADER
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Tick
from tests.detectors.made import at, frame, rules

RULES = rules("""
title: a
name: a
logsource: {category: any}
detection: {s: {tool.name: a}, condition: s}
---
title: three of one principal
correlation:
  type: event_count
  rules: [a]
  group-by: [principal.id]
  timespan: 10s
  condition: {gte: 3}
""")


class Sent:
    """A writer that keeps what it is given."""

    def __init__(self) -> None:
        self.records: list[tuple[int, bytes, bytes]] = []

    def send(
        self, _topic: str, value: bytes, *, partition: int, headers: Mapping[str, bytes]
    ) -> None:
        self.records.append((partition, headers[RECORD_HEADER], value))

    def ticks(self) -> list[tuple[int, Tick]]:
        found = [(p, codec.decode(Tick, v)) for p, kind, v in self.records if kind == b"tick"]
        self.records.clear()
        return found


class Watch:
    """Seconds that a test lets pass."""

    def __init__(self) -> None:
        self.s = 100.0

    def __call__(self) -> float:
        return self.s


def match_rows(count: int) -> pl.DataFrame:
    rows = [
        {
            "event_id": plain_id(str(n)),
            "event_time": n,
            "tool_name": "a",
            "principal_id": f"P{n % 7}",
            "agent_id": plain_id("noise", str(n)),
        }
        for n in range(count)
    ]
    [found] = PartitionDetector(RULES).process(frame(rows), [], 1).matches
    return found


def test_a_group_is_in_one_partition_and_every_row_is_sent_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ROWS_MAX", 20)
    sent = Sent()
    Matches(sent, 3).send(match_rows(100))  # type: ignore[arg-type]
    places: dict[str, set[int]] = {}
    ids: list[str] = []
    for partition, kind, value in sent.records:
        assert kind == b"match_batch"
        rows = batch.decode(value)
        assert rows.height <= 20
        ids.extend(rows["event_id"])
        for principal in rows["principal_id"]:
            places.setdefault(principal, set()).add(partition)
    assert sorted(ids) == sorted(plain_id(str(n)) for n in range(100))
    assert all(len(found) == 1 for found in places.values())
    assert len(set.union(*places.values())) > 1


def test_a_record_of_matches_is_no_larger_than_the_broker_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MAX_RECORD_BYTES", 4_000)
    assert MAX_RECORD_BYTES > 4_000
    sent = Sent()
    Matches(sent, 1).send(match_rows(300))  # type: ignore[arg-type]
    assert len(sent.records) > 2
    assert all(len(value) <= 4_000 for _, _, value in sent.records)
    assert sum(batch.decode(value).height for _, _, value in sent.records) == 300


def shard(number: int, *, muted: bool = False) -> Shard:
    judge = ActionJudge(Plan.of(RULES))
    return Shard(("agent.actions", number), judge, start=0, muted_until=9 if muted else 0)


def reach(one: Shard, second: int) -> None:
    for topic in ("agent.raw", "otlp_logs", "otlp_spans"):
        one.judge.ticks.note(
            Tick(raw_topic=topic, raw_partition=0, raw_partitions=1, observed_time=at(second))
        )


def test_every_place_is_told_how_far_each_owned_partition_has_come_once_a_second() -> None:
    sent, watch = Sent(), Watch()
    matches = Matches(sent, 2, now_s=watch)  # type: ignore[arg-type]
    shards = [shard(0), shard(1), shard(2, muted=True)]
    for one, second in zip(shards[1:], (50, 60), strict=True):
        reach(one, second)

    def told() -> list[tuple[int, int, Any]]:
        return [(p, t.raw_partition, t.observed_time) for p, t in sent.ticks()]

    matches.tick(shards, {"agent.actions": 3})
    # The first has reached nothing, the third is still taking in what its owner before said.
    assert told() == [(0, 1, at(50)), (1, 1, at(50))]
    reach(shards[1], 55)
    matches.tick(shards, {"agent.actions": 3})
    assert told() == [], "not a second has passed"
    watch.s += TICK_EVERY_S
    matches.tick(shards, {"agent.actions": 3})
    assert told() == [(0, 1, at(55)), (1, 1, at(55))]
    watch.s += TICK_EVERY_S
    matches.tick(shards, {"agent.actions": 3})
    assert told() == [], "nothing has moved"
    matches.lost(shards[1].place)
    watch.s += TICK_EVERY_S
    matches.tick(shards, {"agent.actions": 3})
    assert told() == [(0, 1, at(55)), (1, 1, at(55))], "given back, it is told again"


def test_windows_close_when_every_source_has_come_so_far() -> None:
    judge = MatchJudge(Plan.of(RULES))
    judge.take(b"match_batch", batch.encode(match_rows(3).with_columns(principal_id=pl.lit("P"))))
    [found] = judge.judge(1)
    assert [group.closed for group in found.groups] == [False]
    for partition in range(2):
        tick = Tick(
            raw_topic="agent.actions",
            raw_partition=partition,
            raw_partitions=2,
            observed_time=at(3 * 3600),
        )
        judge.take(b"tick", codec.encode(tick))
        later = judge.judge(2 + partition)
        assert [g.closed for one in later for g in one.groups] == ([True] if partition else [])
    again = MatchJudge(Plan.of(RULES))
    again.load(judge.dump())
    assert again.ticks.watermark_us() == judge.ticks.watermark_us()
