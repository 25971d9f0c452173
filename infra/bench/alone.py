"""Each stage alone: its topic is filled, it is started, its commits and CPU time are followed."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from confluent_kafka import TopicPartition
from confluent_kafka.admin import OffsetSpec

from infra.bench import fills
from infra.bench.gauge import Fill, Measured, committed, follow
from infra.bench.rig import Rig
from infra.bench.spans import Encoding, Exporters
from infra.bench.table import Figure
from infra.bench.traffic import MICROS, Fleet
from tachograph.detectors.groups import Groups
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.schemas.alert import Reason, Signal
from tachograph.schemas.identity import plain_id

TIMEOUT_S: Final = 300.0
SEED: Final = 20_261_123
FLOOD_PER_S: Final = 100_000
FLOOD_BATCH: Final = 10_000
FLOOD_AGENTS: Final = 2_000
FLOOD_RULES: Final = 8


class Sizes(msgspec.Struct, frozen=True, kw_only=True):
    """How much of what is measured."""

    native: int = 300_000
    spans: int = 80_000
    actions: int = 400_000
    matching: int = 30_000
    matched: int = 1_000_000
    correlated: int = 200_000
    followed: int = 20_000
    atr: int = 7_000
    decoded: int = 10_000
    flood_s: int = 5
    whole: int = 300_000
    latency_s: float = 60.0
    light_s: float = 40.0
    watched: int = 200
    asked: int = 2_000_000


QUICK: Final = Sizes(
    native=50_000,
    spans=20_000,
    actions=200_000,
    matching=6_000,
    matched=100_000,
    correlated=40_000,
    followed=5_000,
    atr=3_000,
    decoded=2_000,
    flood_s=2,
    whole=60_000,
    latency_s=15.0,
    light_s=10.0,
    watched=60,
    asked=200_000,
)
Progress = Callable[[str], None]


class Alone:
    """Measures one after the other on a rig; keeps filled agent.actions for those that share it."""

    def __init__(self, rig: Rig, sizes: Sizes, rules: RuleSet, progress: Progress) -> None:
        self._rig, self._sizes, self._rules, self._say = rig, sizes, rules, progress
        self._actions: Fill | None = None

    def limit(self) -> Figure:
        """Consume and decode agent.actions, and nothing else."""
        fill = self._filled_actions()
        self._say("limit: reading and decoding")
        program = [sys.executable, "-m", "infra.bench.limit", self._rig.settings.kafka.bootstrap]
        answer = subprocess.run(
            [*program, str(fills.PARTITIONS), str(fill.events)],
            capture_output=True,
            check=True,
            timeout=TIMEOUT_S,
        )
        events, wall_s, cpu_s = msgspec.json.decode(answer.stdout)
        note = f"Kafka to Polars; {fill.events / fill.records:,.0f} actions a record"
        return _figure("limit", Measured(events, wall_s, cpu_s), fill, note=note)

    def detect(self) -> Figure:
        """Actions to signals with the shipped rules."""
        fill = self._filled_actions()
        # The first judgement makes what the others find made.
        figure = self._stage("detect", "detect", fill, warm=fill.events // 10)
        signals = self._records_in("agent.signals") / fill.events * 1_000
        note = f"{signals:.1f} signals per 1,000 actions"
        return msgspec.structs.replace(figure, rules=len(self._rules.rules), note=note)

    def detect_twice(self) -> Figure:
        """The same by two processes, which share the partitions: one a core."""
        # Filled anew: the group of the first has read this.
        self._actions = None
        fill = self._filled_actions()
        # From a quarter on both are at work: the second joins while the first has begun.
        figure = self._stage(
            "detect, two processes", "detect", fill, warm=fill.events // 4, processes=2
        )
        return msgspec.structs.replace(figure, rules=len(self._rules.rules), note="on two cores")

    def store(self) -> Figure:
        """Actions into the embedded ClickHouse, whose CPU time counts."""
        fill = self._filled_actions()
        figure = self._stage("store", "store", fill, self._rig.clickhouse.pid)
        return msgspec.structs.replace(figure, note="with the embedded ClickHouse")

    def normalize_native(self) -> Figure:
        """Native actions from agent.raw."""
        self._empty()
        self._say("normalize (native): filling agent.raw")
        fill = fills.raw(self._rig.settings, fills.native(Fleet(SEED), self._sizes.native))
        note = f"{fill.events / fill.records:.1f} actions a record"
        figure = self._stage("normalize native", "normalize", fill)
        return msgspec.structs.replace(figure, note=note)

    def normalize_spans(self, encoding: Encoding) -> Figure:
        """OTLP spans from otlp_spans."""
        self._empty()
        self._say(f"normalize (spans, {encoding}): filling otlp_spans")
        now_us = int(time.time() * MICROS)
        posts = Exporters(SEED, encoding).posts(self._sizes.spans, now_us)
        fill = fills.raw(self._rig.settings, posts)
        note = f"{fill.events / fill.records:.0f} spans a request"
        figure = self._stage(f"normalize spans {encoding}", "normalize", fill)
        return msgspec.structs.replace(figure, note=note)

    def triage(self) -> Figure:
        """Signal groups and contexts to alerts."""
        self._empty()
        self._say("triage: filling agent.signal_groups")
        fleet = Fleet(SEED, matching_every=1)
        settings = self._rig.settings
        fill = fills.signal_groups(settings, self._rules, fleet, self._sizes.matching)
        return self._stage("triage", "triage", fill)

    def flood(self) -> Figure:
        """How a flood of signals reaches triage: signals into groups, groups that come out."""
        self._say(f"flood: {FLOOD_PER_S:,} signals a second for {self._sizes.flood_s} s")
        groups = Groups()
        spent_s, out = 0.0, [0] * self._sizes.flood_s
        signals = 0
        for second, batch in _flood(self._sizes.flood_s):
            begin_s = time.process_time()
            said = groups.absorb(batch, second)
            spent_s += time.process_time() - begin_s
            out[second] += len(said)
            signals += len(batch)
        told = " ".join(f"{count:,}" for count in out)
        measured = Measured(signals, spent_s, spent_s)
        note = f"groups to triage in each second of {FLOOD_PER_S:,} signals: {told}"
        return Figure(
            name="flood",
            per_s=measured.per_s,
            core_us=measured.core_us,
            bytes_each=0,
            note=f"a core; {note}",
        )

    def _filled_actions(self) -> Fill:
        if self._actions is None:
            self._rig.reset()
            self._say("filling agent.actions")
            self._actions = fills.actions(self._rig.settings, Fleet(SEED), self._sizes.actions)
        return self._actions

    def _empty(self) -> None:
        self._actions = None
        self._rig.reset()

    def _stage(
        self,
        title: str,
        name: str,
        fill: Fill,
        *more_pids: int,
        warm: int = 1,
        processes: int = 1,
    ) -> Figure:
        self._say(f"{title}: {fill.events:,} events")
        group = f"tacho.{name}"
        with ExitStack() as stack:
            stages = [stack.enter_context(self._rig.stage(name)) for _ in range(processes)]

            def check() -> None:
                for stage in stages:
                    stage.check()

            measured = follow(
                lambda: fill.reached(committed(self._rig.admin, group, fill.places)),
                fill.events,
                (*(stage.pid for stage in stages), *more_pids),
                check=check,
                timeout_s=TIMEOUT_S,
                warm=warm,
            )
        return _figure(title, measured, fill)

    def _records_in(self, topic: str) -> int:
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(topic, part): latest for part in range(fills.PARTITIONS)}
        return sum(f.result().offset for f in self._rig.admin.list_offsets(asked).values())


def _figure(name: str, measured: Measured, fill: Fill, note: str = "") -> Figure:
    return Figure(
        name=name,
        per_s=measured.per_s,
        core_us=measured.core_us,
        bytes_each=fill.size_bytes / fill.events,
        note=note,
    )


def _flood(seconds: int) -> Iterator[tuple[int, list[Signal]]]:
    """(second, signals) of a fleet whose every agent breaks every rule, over and over."""
    start = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    first = [
        _signal(f"agent-{number % FLOOD_AGENTS}", f"rule-{number // FLOOD_AGENTS}", start)
        for number in range(FLOOD_AGENTS * FLOOD_RULES)
    ]
    for number in range(seconds * FLOOD_PER_S // FLOOD_BATCH):
        second = number * FLOOD_BATCH // FLOOD_PER_S
        at = start + timedelta(seconds=number * FLOOD_BATCH / FLOOD_PER_S)
        yield (
            second,
            [
                msgspec.structs.replace(
                    first[(number * FLOOD_BATCH + place) % len(first)],
                    signal_id=f"{number:016x}{place:016x}",
                    event_time=at,
                )
                for place in range(FLOOD_BATCH)
            ],
        )


def _signal(agent: str, rule: str, at: datetime) -> Signal:
    return Signal(
        signal_id=plain_id(agent, rule),
        revision=0,
        change="new",
        tenant="default",
        rule_id=rule,
        rule_version="1",
        title=f"Title of {rule}",
        severity="high",
        kind="stateless",
        risk_category="agent_operation",
        event_time=at,
        event_ids=[plain_id("event", agent, rule)],
        entity=agent,
        bucket_start=at,
        agent_id=agent,
        session_id=f"{agent}/1",
        reason=Reason(text="it did what the rule names"),
    )
