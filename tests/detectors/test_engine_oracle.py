"""What stands after any stream is what brute force finds over the whole set of events."""

import itertools
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.engine import Engine
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked
from tachograph.schemas.identity import plain_id
from tests.detectors.made import SECOND_US, Standing, frame, rules

# More, overnight: TACHO_EXAMPLES=2000.
EXAMPLES = int(os.environ.get("TACHO_EXAMPLES", "60"))
LATENESS_S = 5
SPAN_S = 10
RULES = f"""
title: a
name: a
logsource: {{category: any}}
detection: {{s: {{tool.name: [a, ab]}}, condition: s}}
---
title: b
name: b
logsource: {{category: any}}
detection: {{s: {{tool.name: [b, ab]}}, condition: s}}
---
title: c
name: c
logsource: {{category: any}}
detection: {{s: {{tool.name: c}}, condition: s}}
---
title: three of a
correlation:
  type: event_count
  rules: [a]
  group-by: [session.id]
  timespan: {SPAN_S}s
  condition: {{gte: 3}}
---
title: four of a or b by agent
correlation:
  type: event_count
  rules: [a, b]
  group-by: [agent.id]
  timespan: {SPAN_S}s
  condition: {{gt: 3}}
---
title: a then b
correlation:
  type: temporal_ordered
  rules: [a, b]
  group-by: [session.id]
  timespan: {SPAN_S}s
---
title: a then b then c
correlation:
  type: temporal_ordered
  rules: [a, b, c]
  group-by: [session.id]
  timespan: {SPAN_S}s
"""
STEPS = {"a": {"a"}, "b": {"b"}, "ab": {"a", "b"}, "c": {"c"}, "d": set()}
COUNTS = {
    "three of a": ({"a"}, 3, "session"),
    "four of a or b by agent": ({"a", "b"}, 4, "agent"),
}
SEQUENCES = {"a then b": ["a", "b"], "a then b then c": ["a", "b", "c"]}


@dataclass(frozen=True, order=True)
class Event:
    time: int
    id: str
    tool: str
    trace: str
    session: str | None
    twin: str | None
    late: bool
    far: bool

    @property
    def key(self) -> str:
        return self.twin or self.id

    def row(self) -> dict[str, Any]:
        return {
            "event_id": self.id,
            "event_time": self.time,
            "kind": "tool_call",
            "tool_name": self.tool,
            "trace_id": self.trace,
            "session_id": self.session or self.trace,
            "twin_key": self.twin,
            "agent_id": f"agent-{self.session}" if self.session else None,
            "late": self.late,
            "far": self.far,
        }


@st.composite
def events(draw: st.DrawFn) -> list[Event]:
    number = draw(st.integers(1, 24))
    found = []
    for place in range(number):
        mark = draw(st.integers(0, 11))
        session = draw(st.sampled_from([None, None, "S1", "S2"]))
        found.append(
            Event(
                time=draw(st.integers(0, 45)),
                id=plain_id("event", str(place)),
                tool=draw(st.sampled_from(list(STEPS))),
                trace=draw(st.sampled_from(["T1", "T2"])),
                session=session,
                twin=draw(st.sampled_from([None, None, None, "w1", "w2"])),
                late=mark == 0,
                far=mark == 1,
            )
        )
    return found


LINKS = st.dictionaries(st.sampled_from(["T1", "T2"]), st.sampled_from(["S1", "S2", "S3"]))


def resolved(event: Event, links: dict[str, str], by: str) -> str:
    session = event.session or links.get(event.trace)
    if by == "agent":
        return f"agent-{session}" if session else "place"
    return session or event.trace


def groups(stream: list[Event], links: dict[str, str], by: str) -> dict[str, list[Event]]:
    found = defaultdict(list)
    for event in sorted(set(stream)):
        if not event.far:
            found[resolved(event, links, by)].append(event)
    return found


def window(stream: list[Event], end: int) -> list[Event]:
    return [event for event in stream if end - SPAN_S < event.time <= end]


def first_reports(stream: list[Event]) -> list[Event]:
    found: dict[str, Event] = {}
    for event in stream:
        found.setdefault(event.key, event)
    return list(found.values())


Expected = tuple[str, str, int, str, int, tuple[str, ...], int]


def expected_counts(stream: list[Event], links: dict[str, str]) -> Iterator[Expected]:
    for title, (wanted, threshold, by) in COUNTS.items():
        for group, members in groups(stream, links, by).items():
            own = [e for e in members if STEPS[e.tool] & wanted]
            timely, late = [e for e in own if not e.late], [e for e in own if e.late]
            said = set()
            for event in timely:
                inside = first_reports(window(timely, event.time))
                bucket = event.time // SPAN_S
                if len(inside) >= threshold and bucket not in said:
                    said.add(bucket)
                    ids = tuple(e.id for e in inside[:20])
                    missed = len(window(late, event.time))
                    yield title, group, bucket, event.id, len(inside), ids, missed


def chain_to(last: Event, before: list[Event], steps: list[str]) -> list[Event]:
    """The best chain that ends at `last`: latest start, then each step, from the end, the latest.

    Neighbours are reports of different actions.
    """
    if steps[-1] not in STEPS[last.tool]:
        return []
    earlier = [e for e in before if last.time - SPAN_S < e.time and e < last]
    best: list[Event] = []
    for chosen in itertools.combinations(earlier, len(steps) - 1):
        chain = [*chosen, last]
        fits = all(step in STEPS[e.tool] for step, e in zip(steps, chain, strict=True))
        if not fits or any(one.key == two.key for one, two in itertools.pairwise(chain)):
            continue
        if not best or (chain[0].time, chain[::-1]) > (best[0].time, best[::-1]):
            best = chain
    return best


def expected_sequences(stream: list[Event], links: dict[str, str]) -> Iterator[Expected]:
    for title, steps in SEQUENCES.items():
        for group, members in groups(stream, links, "session").items():
            own = [e for e in members if STEPS[e.tool] & set(steps)]
            timely, late = [e for e in own if not e.late], [e for e in own if e.late]
            said = set()
            for event in timely:
                bucket = event.time // SPAN_S
                chain = chain_to(event, timely, steps) if bucket not in said else []
                if chain:
                    said.add(bucket)
                    ids = tuple(e.id for e in chain)
                    missed = len(window(late, event.time))
                    yield title, group, bucket, event.id, len(steps), ids, missed


def found(standing: Standing) -> set[Expected]:
    out = set()
    for signal in standing.signals.values():
        (group,) = signal.group.values()
        seconds = int(signal.event_time.timestamp())
        missed = int(signal.blind_spots[0].split()[0]) if signal.blind_spots else 0
        last = signal.event_ids[-1] if signal.kind == "sequence" else signal.witness.window["last"]
        ids = tuple(signal.event_ids)
        out.add((signal.title, group, seconds // SPAN_S, last, signal.event_count, ids, missed))
    return out


RULE_SET = rules(RULES)
# Compiled once: it has no state that matters.
MATCHER = Engine(RULE_SET)._matcher


def linked(links: dict[str, str]) -> dict[tuple[str, str, str], Linked]:
    return {("default", "place", t): Linked(s, f"agent-{s}") for t, s in links.items()}


def fresh() -> Engine:
    engine = Engine(RULE_SET, limits=Limits(allowed_lateness_s=LATENESS_S))
    engine._matcher = MATCHER
    return engine


def reloaded(engine: Engine) -> Engine:
    other = fresh()
    other.load(engine.dump())
    return other


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_what_stands_is_what_brute_force_finds_over_the_whole_set(data: st.DataObject) -> None:
    stream, links = data.draw(events()), data.draw(LINKS)
    order = data.draw(st.permutations(range(len(stream))))
    cuts = data.draw(st.sets(st.integers(1, len(stream))))
    link_at = data.draw(st.integers(0, len(stream)))
    reload_at = data.draw(st.integers(0, len(stream)))
    engine = fresh()
    standing = Standing()
    batch: list[dict[str, Any]] = []
    for place, at in enumerate([*order, None]):
        if place in cuts or at is None or place in {link_at, reload_at}:
            if batch:
                standing.take(engine.judge(frame(batch), place).signals)
            batch = []
        if place == link_at:
            standing.take(engine.relink(linked(links), place).signals)
        if place == reload_at:
            engine = reloaded(engine)
        if at is not None:
            event = stream[at]
            known = links if place >= link_at else {}
            row = event.row()
            if event.session is None and event.trace in known:
                session = known[event.trace]
                row |= {"session_id": session, "agent_id": f"agent-{session}"}
            batch.append(row)
    wanted = {*expected_counts(stream, links), *expected_sequences(stream, links)}
    assert found(standing) == wanted


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data())
def test_closing_what_cannot_change_any_more_changes_nothing(data: st.DataObject) -> None:
    stream = [event for event in data.draw(events()) if not event.late]
    if not stream:
        return
    # Disorder within the allowed lateness: observed later than it happened, by at most that much.
    delays = [data.draw(st.integers(0, LATENESS_S)) for _ in stream]
    arrival = sorted(zip(stream, delays, strict=True), key=lambda pair: pair[0].time + pair[1])
    engine = fresh()
    standing = Standing()
    for place, (event, delay) in enumerate(arrival):
        if data.draw(st.booleans()):
            standing.take(engine.advance((event.time + delay) * SECOND_US, place).signals)
        if data.draw(st.integers(0, 5)) == 0:
            engine = reloaded(engine)
        standing.take(engine.judge(frame([event.row()]), place).signals)
    wanted = {*expected_counts(stream, {}), *expected_sequences(stream, {})}
    assert found(standing) == wanted
