"""The whole path on one box: how many native actions a second it carries, and how soon an alert."""

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import msgspec
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import OffsetSpec

from infra.bench import fills
from infra.bench.arrivals import Actions, Arrival, Sight, Stored, Topic
from infra.bench.gauge import Fill, Measured, Place, committed, cpu_s
from infra.bench.rig import Rig, Stage
from infra.bench.table import Figure
from infra.bench.traffic import MICROS, Fleet, Post
from tachograph.pipeline.up.command import STAGES

SEED: Final = 7_023
# Actions that were sent and are not in agent.actions yet: the sender waits beyond them.
BACKLOG: Final = 30_000
BURST_RECORDS: Final = 600
LOOK_S: Final = 0.1
READY_S: Final = 120.0
DRAIN_S: Final = 300.0
# Beside what the traffic itself matches, some ten a second.
PROBE_EVERY_S: Final = 0.2
# What a small place has: hardly any of the machine is needed, so what takes long waits.
LIGHT_PER_S: Final = 200.0
STEP_S: Final = 0.01
# What comes of an action, in the order of its way.
PASSED: Final = (
    ("signal group", "agent.signal_groups"),
    ("alert", "agent.alerts"),
    ("directive", "agent.control"),
)


class Whole:
    """All stages, running and warm. `sustained` first, then `latency` at half of it, or `light`
    alone.
    """

    def __init__(self, rig: Rig, rules: int) -> None:
        self._rig, self._rules = rig, rules
        self._stack = ExitStack()
        self._stages: dict[str, Stage] = {}
        self._producer: Producer
        self._fill, self._fleet = Fill(), Fleet(SEED)
        self._probes = 0
        self._latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._rig.reset()
            self._stages = {name: stack.enter_context(self._rig.stage(name)) for name in STAGES}
            stack.callback(self._ask_all)
            self._producer = fills.raw_producer(self._rig.settings)
            self._seen = self._sights(stack)
            self._warm_up()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def sustained(self, actions: int) -> Figure:
        """The rate from the first action sent to the last one judged and stored, and its cost."""
        total = self._fill.events + actions
        size = self._fill.size_bytes
        begin_s, begin = time.monotonic(), self._spent()
        while self._fill.events < total:
            self._check()
            if self._fill.events - self._normalized() > BACKLOG:
                time.sleep(LOOK_S)  # asking costs the broker, too
                continue
            for _ in range(BURST_RECORDS):
                self._send([self._fleet.post(_now_us())])
        self._producer.flush(DRAIN_S)
        self._drain()
        wall_s, spent = time.monotonic() - begin_s, self._spent()
        events = self._fill.events - (total - actions)
        each = (self._fill.size_bytes - size) / events
        measured = Measured(events, wall_s, sum(spent.values()) - sum(begin.values()))
        return Figure(
            name="whole path",
            per_s=measured.per_s,
            core_us=measured.core_us,
            bytes_each=each,
            rules=self._rules,
            note=_parts(begin, spent, events),
        )

    def light(self, seconds: float) -> Figure:
        """As `latency`, where there is little to do, once a broker has compiled itself."""
        self.latency(LIGHT_PER_S, seconds / 2)
        figure = self.latency(LIGHT_PER_S, seconds)
        return msgspec.structs.replace(figure, name="latency, light load")

    def latency(self, rate: float, seconds: float) -> Figure:
        """From produce to the alert, read back from the broker, under a steady load."""
        for sight in self._seen.values():
            sight.forget()
        begin_s, begin = time.monotonic(), self._spent()
        sent, probed, first = 0, 0, self._fill.events
        while (passed_s := time.monotonic() - begin_s) < seconds:
            while sent < passed_s * rate:
                post = self._fleet.post(_now_us())
                sent += post.events
                self._send([post])
            if probed < passed_s / PROBE_EVERY_S:
                probed += 1
                self._probe()
            self._look()
            self._check()
            time.sleep(STEP_S)
        self._producer.flush(DRAIN_S)
        took_s = time.monotonic() - begin_s
        self._wait(self._all_came, time.monotonic() + DRAIN_S)
        spent, events = self._spent(), self._fill.events - first
        told = "; ".join(f"{name} {sight.told()}" for name, sight in self._seen.items())
        return Figure(
            name="latency at half",
            per_s=events / took_s,
            core_us=(sum(spent.values()) - sum(begin.values())) * 1e6 / events,
            bytes_each=0,
            rules=self._rules,
            note=f"from produce to {told}; {_parts(begin, spent, events)}",
        )

    def _warm_up(self) -> None:
        """Until an alert has come out at the other end and everything sent is stored."""
        end_s = time.monotonic() + READY_S
        self._send(self._fleet.post(_now_us()) for _ in range(200))
        self._probe()
        while not self._all_came():
            self._producer.poll(0)
            self._check()
            time.sleep(LOOK_S)
            if time.monotonic() > end_s:
                raise TimeoutError(f"no alert within {READY_S:.0f} s of the stages' start")
        self._drain()

    def _send(self, posts: Iterable[Post]) -> None:
        for post in posts:
            place = post.partition(fills.PARTITIONS)
            while True:
                try:
                    self._producer.produce(post.topic, post.value, post.key, place)
                    break
                except BufferError:
                    self._producer.poll(0.1)
            self._fill.add((post.topic, place), post.events, len(post.value))
        self._producer.poll(0)

    def _probe(self) -> None:
        self._probes += 1
        agent, post = self._fleet.probe(self._probes, _now_us())
        for sight in self._seen.values():
            sight.expect(agent)
        self._send([post])

    def _sights(self, stack: ExitStack) -> dict[str, Sight]:
        """Where what comes of a probe is seen, and what that is called."""
        topics = {
            name: Topic(self._rig.settings.kafka.bootstrap, topic, fills.PARTITIONS)
            for name, topic in PASSED
        }
        found: dict[str, Arrival] = {
            "action": Actions(self._rig.settings.kafka.bootstrap, fills.PARTITIONS),
            **topics,
            "snapshot stored": Stored(self._rig.settings.clickhouse),
        }
        for source in found.values():
            stack.callback(source.close)
        return {name: Sight(source) for name, source in found.items()}

    def _look(self) -> None:
        for sight in self._seen.values():
            sight.look()

    def _all_came(self) -> bool:
        self._look()
        return not any(sight.missing for sight in self._seen.values())

    def _normalized(self) -> int:
        return self._fill.reached(committed(self._rig.admin, "tacho.normalize", self._fill.places))

    def _drain(self) -> None:
        """Until what was sent is in agent.actions, and what is there now is judged and stored."""
        end_s = time.monotonic() + DRAIN_S
        self._wait(lambda: self._normalized() >= self._fill.events, end_s)
        ends = self._ends("agent.actions")
        for group in ("tacho.detect", "tacho.store"):
            self._wait(functools.partial(self._caught_up, group, ends), end_s)

    def _wait(self, done: Callable[[], bool], end_s: float) -> None:
        while not done():
            self._check()
            if time.monotonic() > end_s:
                raise TimeoutError(f"not drained within {DRAIN_S:.0f} s")
            time.sleep(LOOK_S)

    def _caught_up(self, group: str, ends: dict[Place, int]) -> bool:
        at = committed(self._rig.admin, group, ends)
        return all(at.get(place, 0) >= end for place, end in ends.items())

    def _ends(self, topic: str) -> dict[Place, int]:
        asked = {TopicPartition(topic, part): self._latest for part in range(fills.PARTITIONS)}
        answer = self._rig.admin.list_offsets(asked)
        return {(p.topic, p.partition): f.result().offset for p, f in answer.items()}

    def _spent(self) -> dict[str, float]:
        stages = {name: cpu_s(stage.pid) for name, stage in self._stages.items()}
        return stages | {
            "clickhouse": cpu_s(self._rig.clickhouse.pid),
            "broker": cpu_s(self._rig.broker.pid),
            "sender": time.process_time(),
        }

    def _check(self) -> None:
        for stage in self._stages.values():
            stage.check()

    def _ask_all(self) -> None:
        for stage in self._stages.values():
            stage.ask_to_stop()


def _now_us() -> int:
    return int(time.time() * MICROS)


def _parts(begin: Mapping[str, float], end: Mapping[str, float], events: int) -> str:
    """What each part of the path has cost an event."""
    costs = (f"{name} {(end[name] - begin[name]) * 1e6 / events:.1f}" for name in end)
    return f"core-µs: {', '.join(costs)}"
