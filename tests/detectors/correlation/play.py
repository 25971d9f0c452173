"""Streams of events, and engines that get them in any order, any batches, and are reloaded."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked
from tachograph.schemas.alert import Signal
from tachograph.schemas.identity import plain_id
from tests.detectors.correlation.oracle import SPAN_S, TOOLS, Event, Saying
from tests.detectors.made import SECOND_US, Standing, frame

# More, overnight: TACHO_EXAMPLES=2000.
EXAMPLES = int(os.environ.get("TACHO_EXAMPLES", "30"))
LATENESS_S = 5
LATEST_S = 45
LIMITS = Limits(allowed_lateness_s=LATENESS_S)
# What rules of these tests count by: a gap, a learning time, a span, two of them.
STEPS_S = (0, 3, 6, SPAN_S, 2 * SPAN_S)

LINKS = st.dictionaries(st.sampled_from(["T1", "T2"]), st.sampled_from(["S1", "S2", "S3"]))


@st.composite
def streams(draw: st.DrawFn, *, marks: bool = True) -> list[Event]:
    """Events with twins, sessions that are only known as traces, late and far ones (`marks`). One
    in three is another one again, at the edge of what is asked about that.
    """
    found: list[Event] = []
    for place in range(draw(st.integers(1, 24))):
        event_id = plain_id("event", str(place))
        if found and draw(st.integers(0, 2)) == 0:
            other = found[draw(st.integers(0, len(found) - 1))]
            time = min(other.time + draw(st.sampled_from(STEPS_S)), LATEST_S)
            found.append(replace(other, id=event_id, time=time))
            continue
        mark = draw(st.integers(0, 11)) if marks else 11
        found.append(
            Event(
                time=draw(st.integers(0, LATEST_S)),
                id=event_id,
                tool=draw(st.sampled_from(TOOLS)),
                trace=draw(st.sampled_from(["T1", "T2"])),
                session=draw(st.sampled_from([None, None, "S1", "S2"])),
                twin=draw(st.sampled_from([None, None, None, "w1", "w2"])),
                source=draw(st.sampled_from(["sdk", "gateway"])),
                late=mark == 0,
                far=mark == 1,
                value=draw(st.sampled_from([None, "u", "v", "w", "x"])),
                number=draw(st.sampled_from([None, -0.125, 0.0, 0.25, 0.375, 0.5])),
            )
        )
    return found


class Player:
    """One place that is fed: an engine, and what stands of what it said."""

    def __init__(self, rules: RuleSet, matcher: Any, limits: Limits = LIMITS) -> None:
        self._rules = rules
        self._matcher = matcher
        self._limits = limits
        self.engine = self._fresh()
        self.standing = Standing()
        self._revision = 0

    def _fresh(self) -> Engine:
        engine = Engine(self._rules, limits=self._limits)
        # Compiled once: it has no state that matters.
        engine._matcher = self._matcher
        return engine

    def judge(self, events: Sequence[Event], known: dict[str, str]) -> None:
        """A batch; sessions of known traces are filled in, as they are before judging."""
        rows = []
        for event in events:
            row = event.row()
            if event.session is None and event.trace in known:
                session = known[event.trace]
                row |= {"session_id": session, "agent_id": f"agent-{session}"}
            rows.append(row)
        if rows:
            self._take(self.engine.judge(frame(rows), self._next()).signals)

    def relink(self, links: dict[str, str]) -> None:
        """Sessions of traces become known."""
        found = {("default", "place", t): Linked(s, f"agent-{s}") for t, s in links.items()}
        self._take(self.engine.relink(found, self._next()).signals)

    def tick(self, watermark_s: float) -> None:
        """All sources reached this time."""
        self._take(self.engine.advance(int(watermark_s * SECOND_US), self._next()).signals)

    def close(self) -> None:
        """Nothing comes any more."""
        self._take(self.engine.close(self._next()).signals)

    def reload(self) -> None:
        """Go on from a dump."""
        engine = self._fresh()
        engine.load(self.engine.dump())
        self.engine = engine

    def _next(self) -> int:
        self._revision += 1
        return self._revision

    def _take(self, signals: Sequence[Signal]) -> None:
        self.standing.take(signals)

    def sayings(self) -> dict[str, list[Saying]]:
        """What stands, by title of the rule."""
        found: dict[str, list[Saying]] = {}
        for signal in self.standing.signals.values():
            if signal.kind == "stateless":
                continue
            found.setdefault(signal.title, []).append(saying(signal))
        return {title: sorted(said) for title, said in found.items()}


def saying(signal: Signal) -> Saying:
    (group,) = signal.group.values()
    window = signal.witness.window
    late = [spot for spot in signal.blind_spots if "late action" in spot]
    return Saying(
        group=group,
        bucket=window["bucket"],
        last=window["last"],
        number=signal.event_count,
        ids=tuple(signal.event_ids),
        missed=int(late[0].split()[0]) if late else 0,
        value=round(float(window["value"]), 9),
    )


def play_in_any_order(player: Player, data: st.DataObject, stream: list[Event]) -> dict[str, str]:
    """All events in any order and batches, links and a reload somewhere between; the links."""
    links = data.draw(LINKS)
    order = data.draw(st.permutations(range(len(stream))))
    cuts = data.draw(st.sets(st.integers(1, len(stream))))
    link_at = data.draw(st.integers(0, len(stream)))
    reload_at = data.draw(st.integers(0, len(stream)))
    batch: list[Event] = []
    for place, at in enumerate([*order, None]):
        known = links if place > link_at else {}
        if place in cuts or at is None or place in {link_at, reload_at}:
            player.judge(batch, known)
            batch = []
        if place == link_at:
            player.relink(links)
        if place == reload_at:
            player.reload()
        if at is not None:
            batch.append(stream[at])
    player.close()
    return links


def play_in_time(player: Player, data: st.DataObject, stream: list[Event]) -> None:
    """Events as they are observed, each by at most the allowed lateness after it happened, with
    ticks between; those between two ticks at once.
    """
    delays = [data.draw(st.integers(0, LATENESS_S)) for _ in stream]
    arrival = sorted(zip(stream, delays, strict=True), key=lambda pair: pair[0].time + pair[1])
    batch: list[Event] = []
    for event, delay in arrival:
        if data.draw(st.booleans()):
            player.judge(batch, {})
            batch = []
            player.tick(event.time + delay)
        if data.draw(st.integers(0, 5)) == 0:
            player.judge(batch, {})
            batch = []
            player.reload()
        batch.append(event)
    player.judge(batch, {})
    player.close()
