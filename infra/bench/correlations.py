"""Correlations alone: what an event costs by the type of rule and the size of batches, and whether
a longer window makes it dearer. All events are asked; three in ten are of a step of the rule. A
signal costs as much as dozens of events, so how many there were stands with each figure.
"""

import re
import time
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
import polars as pl

from infra.bench.table import Figure
from tachograph.detectors.engine import Engine
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleSet, build
from tachograph.schemas.batch import COLUMNS

SEED: Final = 20_261_126
HEIGHTS: Final = (1_000, 10_000)
MICROS: Final = 1_000_000
BEGIN_US: Final = 1_700_000_000 * MICROS
# Of each session so many events, one every two seconds: windows open and close meanwhile.
SESSION_EVENTS: Final = 100
LASTS_US: Final = 200 * MICROS
# By chance, in so many of a thousand events; the rest are of no step.
TOOLS: Final = {"a": 100, "b": 100, "c": 100, "rare": 1}
VALUES: Final = 20

STEPS: Final = {
    tool: f"title: {tool}\nname: {tool}\nlogsource: {{category: any}}\n"
    f"detection: {{s: {{tool.name: {tool}}}, condition: s}}\n---\n"
    for tool in TOOLS
}
BURST: Final = (
    "title: burst\nname: burst\ncorrelation: {type: event_count, rules: [a], "
    "group-by: [session.id], timespan: 60s, condition: {gte: 3}}\n---\n"
)


class Kind(msgspec.Struct, frozen=True):
    """A type of rule: what the correlation says beside its groups and timespan."""

    name: str
    asked: str
    more: str = ""
    before: str = ""

    def rules(self, timespan: str = "60s") -> RuleSet:
        """One rule of this type, and those that it refers to."""
        words = set(re.findall(r"\w+", self.asked + self.before))
        steps = "".join(text for tool, text in STEPS.items() if tool in words)
        text = (
            f"{steps}{self.before}title: {self.name}\ncorrelation: {{group-by: [session.id], "
            f"timespan: {timespan}, {self.asked}}}\n{self.more}"
        )
        return build(parse(text, "bench.yml"))


VALUE_COUNT: Final = Kind(
    "value_count",
    "type: value_count, rules: [a, b, c], condition: {field: target.resource, gte: 14}",
)
SEQUENCE: Final = Kind("3 in order", "type: temporal_ordered, rules: [a, b, c]")
TUMBLING: Final = Kind(
    "tumbling count",
    "type: event_count, rules: [a, b, c], condition: {gte: 12}",
    "tacho: {window: tumbling}\n",
)
KINDS: Final = (
    Kind("event_count", "type: event_count, rules: [a, b, c], condition: {gte: 20}"),
    VALUE_COUNT,
    Kind(
        "value_sum",
        "type: value_sum, rules: [a, b, c], condition: {field: usage.cost.usd, gt: 9}",
    ),
    Kind(
        "value_avg",
        "type: value_avg, rules: [a, b, c], condition: {field: usage.cost.usd, gt: 0.9}",
    ),
    Kind(
        "value_percentile",
        "type: value_percentile, rules: [a, b, c], "
        "condition: {field: usage.cost.usd, percentile: 90, gt: 0.99}",
    ),
    Kind("3 together", "type: temporal, rules: [a, b, rare]"),
    Kind("one without", "type: temporal, condition: a and b and not c"),
    SEQUENCE,
    Kind("3 in order, rare", "type: temporal_ordered, rules: [a, b, rare]"),
    Kind("none between", "type: temporal_ordered, condition: a and not b and c"),
    Kind("chain", "type: temporal_ordered, rules: [burst, rare]", before=BURST),
    TUMBLING,
    Kind(
        "session count",
        "type: event_count, rules: [a, b, c], condition: {gte: 12}",
        "tacho: {window: session, gap: 10s}\n",
    ),
    Kind("absent", "type: temporal_ordered, rules: [a, b]", "tacho: {absent: b}\n"),
    Kind(
        "first_seen",
        "type: value_count, rules: [a, b, c], condition: {field: target.resource, gte: 1}",
        "tacho: {first_seen: {learning: 30s}}\n",
    ),
)
SPANS: Final = ("1m", "10m", "60m")
# Of the growing windows: sessions with thousands of events, over two hours.
BUSY_EVENTS: Final = 8_000
BUSY_US: Final = 7_200 * MICROS


def figures(count: int) -> Iterator[Figure]:
    """Each type over so many events, by size of batch; then windows that grow."""
    events = traffic(count)
    for kind in KINDS:
        for height in HEIGHTS:
            yield measured(f"{kind.name} {height:,}", kind.rules(), events, height)
    busy = traffic(2 * count, BUSY_EVENTS, BUSY_US)
    for span in SPANS:
        yield measured(f"value_count over {span}", VALUE_COUNT.rules(span), busy, HEIGHTS[1])


def traffic(
    count: int, session_events: int = SESSION_EVENTS, lasts_us: int = LASTS_US
) -> pl.DataFrame:
    """Actions of sessions, by chance one or the other, in order of time."""
    rng = np.random.default_rng(SEED)
    others = 1_000 - sum(TOOLS.values())
    members = rng.integers(0, count // session_events, count)
    ids = rng.bytes(16 * count).hex()
    times = pl.Series(BEGIN_US + np.arange(count) * (lasts_us // count)).cast(COLUMNS["event_time"])
    columns = {
        "event_id": [ids[at : at + 32] for at in range(0, len(ids), 32)],
        "event_time": times,
        "observed_time": times,
        "tenant": pl.repeat("default", count, eager=True),
        "partition_key": pl.repeat("place", count, eager=True),
        "kind": pl.repeat("tool_call", count, eager=True),
        "session_id": pl.Series(members).cast(pl.String),
        "agent_id": pl.Series(members % 97).cast(pl.String),
        "tool_name": np.repeat([*TOOLS, "other"], [*TOOLS.values(), others])[
            rng.integers(0, 1_000, count)
        ].tolist(),
        "target_resource": pl.Series(rng.integers(0, VALUES, count)).cast(pl.String),
        "usage_cost_usd": rng.random(count),
    }
    return pl.DataFrame(columns, schema={name: COLUMNS[name] for name in columns})


def measured(name: str, rules: RuleSet, events: pl.DataFrame, height: int) -> Figure:
    """The cost of an event: conditions, windows and signals, with a tick after each batch."""
    spent_s, signals, engine = run(rules, events, height)
    return Figure(
        name=name,
        per_s=events.height / spent_s,
        core_us=spent_s / events.height * 1e6,
        bytes_each=0,
        note=f"a core; {signals:,} signals; {len(engine.dump()) / 1e6:.1f} MB of state",
    )


def run(
    rules: RuleSet, events: pl.DataFrame, height: int, *, close: bool = False
) -> tuple[float, int, Engine]:
    """CPU seconds of judging all of them, signals that stand then, and the engine."""
    engine = Engine(rules)
    engine.judge(events[:1].clear(), 0)
    parts = [events[at : at + height] for at in range(0, events.height, height)]
    said: set[str] = set()
    begin_s = time.process_time()
    for revision, part in enumerate(parts):
        reached_us = int(part["event_time"][-1].timestamp() * MICROS)
        for out in (engine.judge(part, revision), engine.advance(reached_us, revision)):
            for signal in out.signals:
                (said.discard if signal.change == "retracted" else said.add)(signal.signal_id)
    if close:
        said |= {signal.signal_id for signal in engine.close(len(parts)).signals}
    return time.process_time() - begin_s, len(said), engine
