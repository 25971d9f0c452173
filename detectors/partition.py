"""Everything `detect` and `scan` do with one partition, in one place: the same calls, the same
results.
"""

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import msgspec
import polars as pl

from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.models import NO_MODELS, Models
from tachograph.detectors.collector import resting
from tachograph.detectors.correlation.bank import END_US, Outcome
from tachograph.detectors.correlation.matched import Matched
from tachograph.detectors.correlation.travel import GROUP, RULE, VERSION, match_rows
from tachograph.detectors.dedup import Seen
from tachograph.detectors.detector import Detector
from tachograph.detectors.engine import Engine, RuleStats
from tachograph.detectors.firsts import BUCKET, Firsts, FirstsState
from tachograph.detectors.groups import Groups, group_id_of, plain_group_id
from tachograph.detectors.intent import marks
from tachograph.detectors.intent.detector import MisuseDetector
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rule import Correlation
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Links
from tachograph.detectors.look import Looked, Sessions, look
from tachograph.detectors.plan import Gate, Plan
from tachograph.detectors.prepare import identified
from tachograph.detectors.provenance.detector import ProvenanceDetector
from tachograph.detectors.published import Published, bounded, joined
from tachograph.detectors.recent import LAST_ACTIONS, Past, Recent, Session
from tachograph.detectors.reference.reference import Reference
from tachograph.detectors.signals import across_entity, at
from tachograph.detectors.subjects import subjects_asked
from tachograph.schemas.alert import Signal, SignalGroup, StateSnapshot
from tachograph.schemas.behaviour import PARTS, SHARED
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Context, SessionLink

# Contexts made in one call: when a flood opens more groups, the others follow with the next calls.
MAX_CONTEXTS = 200
# So many actions of several places are looked at together: of more the rows cost more than the
# questions.
LOOKED_TOGETHER = 8_192
FORMAT = 7


class Found(msgspec.Struct, frozen=True):
    """What came of one call."""

    signals: list[Signal] = []
    groups: list[SignalGroup] = []
    contexts: list[Context] = []
    # Match rows (correlation/travel) of rules that reach across partitions.
    matches: list[pl.DataFrame] = []


class Begun(NamedTuple):
    """A judgement of which it is still to be found out what the actions say by themselves."""

    detector: "PartitionDetector"
    # What links changed.
    outcomes: list[Outcome]
    # Those that are new.
    actions: pl.DataFrame
    revision: int


class _State(msgspec.Struct, frozen=True):
    format: int
    engine: bytes
    groups: bytes
    seen: bytes
    links: bytes
    recent: bytes
    firsts: FirstsState
    asleep: dict[str, int]
    # What other detectors hold, by name.
    beside: dict[str, bytes] = {}
    published: list[StateSnapshot] = []


class PartitionDetector:
    """Deduplicates, resolves sessions, judges, groups. One per partition; not thread-safe, no I/O,
    no clock.
    """

    def __init__(
        self, rules: RuleSet | Plan, *, limits: Limits | None = None, models: Models = NO_MODELS
    ) -> None:
        """`models`: of behaviour, in force by time."""
        self._limits = limits = limits or Limits()
        self._models = models
        plan = rules if isinstance(rules, Plan) else Plan.of(rules)
        self.rules = plan.rules
        self.engine = self._engine_of(plan)
        self.gate = Gate(plan)
        self.groups = Groups(lateness_s=limits.allowed_lateness_s)
        self.seen = Seen()
        self.links = Links()
        self.recent = Recent()
        self.published = Published()
        self.firsts = Firsts()
        self.beside = self._made_beside()

    def _engine_of(self, plan: Plan) -> Engine:
        also = marks.NEEDED if plan.rules.follows_sessions else ()
        return Engine(plan.rules, limits=self._limits, also=also)

    def _made_beside(self) -> dict[str, Detector]:
        """The detectors beside the rules, by the name of their state."""
        follows, asked = self.rules.follows_sessions, bool(self.engine.of_behaviour)
        behaviour = Behaviour(limits=self._limits)
        behaviour.models = self._models
        self._measure_by(behaviour)
        if not follows:
            return {"behaviour": behaviour} if asked else {}
        return {
            "provenance": ProvenanceDetector(limits=self._limits),
            "behaviour": behaviour,
            "intent": MisuseDetector(limits=self._limits, known=self._known),
        }

    def _measure_by(self, behaviour: Behaviour) -> None:
        """Let it measure what rules ask for. What is shared is sent to where all of it meets."""
        subjects = subjects_asked(self.rules)
        behaviour.speaks = self.rules.follows_sessions
        behaviour.asked = bool(self.engine.of_behaviour)
        behaviour.measure_parts(subjects & PARTS)
        behaviour.sends = behaviour.speaks or bool(subjects & SHARED)
        behaviour.gathers = behaviour.speaks

    def judge_by(self, models: Models) -> None:
        """These models of behaviour are in force from now on."""
        self._models = models
        if isinstance(behaviour := self.beside.get("behaviour"), Behaviour):
            behaviour.models = models

    @property
    def _known(self) -> list[tuple[int, Reference]]:
        """Reference data, and from which observed time on each holds."""
        return self.rules.known_since or [(0, self.rules.reference)]

    def adopt(self, plan: Plan) -> None:
        """Judge by another plan from now on; rules that ask the same keep what they have seen."""
        engine, gate = self._engine_of(plan), Gate(plan)
        engine.load(self.engine.dump())
        gate.restore(self.gate.state())
        self.rules, self.engine, self.gate = plan.rules, engine, gate
        made = self._made_beside()
        self.beside = {name: self.beside.get(name, one) for name, one in made.items()}
        for detector in self.beside.values():
            if isinstance(detector, MisuseDetector):
                detector.refer(self._known)
            if isinstance(detector, Behaviour):
                self._measure_by(detector)

    def process(self, frame: pl.DataFrame, links: Sequence[SessionLink], revision: int) -> Found:
        """Judge a batch of actions and take in session links. `revision`: of the record that
        brought them.
        """
        [found] = judged_together([self.begin(frame, links, revision)])
        return found

    def begin(self, frame: pl.DataFrame, links: Sequence[SessionLink], revision: int) -> Begun:
        """The first half of `process`: takes in links, tells which actions are new. Nothing else is
        to be done with this partition before `judged_together` has got it.
        """
        with resting():
            news = self.links.learn(links)
            outcomes = [detector.relink(news, revision) for detector in self._detectors]
            return Begun(self, outcomes, self._fresh(frame), revision)

    def look(self, actions: pl.DataFrame) -> Looked:
        """What actions, new or not, of this partition or not, say by themselves."""
        return look(self.engine, actions, follows_sessions=self.rules.follows_sessions)

    def finish(self, begun: Begun, looked: Looked | None) -> Found:
        """The second half of `process`. `looked`: at the actions that are new; None: there are
        none.
        """
        outcomes, revision = begun.outcomes, begun.revision
        with resting():
            if looked is not None:
                outcomes = [*outcomes, self.engine.judge_matching(looked.matching, revision)]
                outcomes += [self._beside(one, looked, revision) for one in self.beside.values()]
            return self._found(outcomes, revision)

    @staticmethod
    def _beside(detector: Detector, looked: Looked, revision: int) -> Outcome:
        match detector, looked.sessions:
            case ProvenanceDetector(), Sessions(tell=tell, do=do):
                return detector.judge_split(tell.frame, do.frame, revision)
            case MisuseDetector(), Sessions(marked=marked):
                return detector.judge_marked(marked.frame, revision)
        return detector.judge(looked.actions, revision)

    def show(
        self, facts: pl.DataFrame, found: Sequence[tuple[Correlation, Matched]], revision: int
    ) -> list[pl.DataFrame]:
        """Let correlations see what they would have seen, had they been there: match rows to send.
        What that makes true is not said here.
        """
        outcome = self.engine.take(facts, found, revision)
        self.gate.passed(outcome.signals)
        return self._sent([outcome])

    def say(self, signals: Sequence[Signal], revision: int) -> Found:
        """These signals stand, or are retracted, as somebody else has judged."""
        groups = self.groups.absorb(signals, revision, anew=True)
        return Found(list(signals), groups, self._contexts([]))

    @property
    def _detectors(self) -> list[Detector]:
        """All that judge the actions of the partition."""
        return [self.engine, *self.beside.values()]

    def _found(
        self, outcomes: Sequence[Outcome], revision: int, closed_us: int | None = None
    ) -> Found:
        """What follows from the outcomes, and from all sources having reached `closed_us`."""
        signals = self.gate.passed(s for outcome in outcomes for s in outcome.signals)
        # What is only tried is told, and no alert comes of it.
        groups = self.groups.absorb([s for s in signals if not s.shadow], revision)
        if closed_us is not None:
            groups += self.groups.close(closed_us, revision)
            floor_us = closed_us - self._limits.allowed_lateness_us
            self.firsts.forget(floor_us)
            self.gate.forget(floor_us)
        matches = self._sent(outcomes)
        flows = [rows for outcome in outcomes for rows in outcome.flows]
        held = [signal for outcome in outcomes for signal in outcome.held]
        return Found(signals, groups, self._contexts(matches, held), [*matches, *flows])

    def _sent(self, outcomes: Sequence[Outcome]) -> list[pl.DataFrame]:
        """Match rows of what is judged elsewhere."""
        return [
            match_rows(one, self.rules.fields) for outcome in outcomes for one in outcome.matches
        ]

    def _fresh(self, frame: pl.DataFrame) -> pl.DataFrame:
        if frame.is_empty():
            return frame
        # It is made of records: every question would be asked of each of them.
        frame = frame.rechunk()
        fields = self.rules.fields
        frame = identified(frame, fields.own("event_id"), fields.own("event_time"))
        if fields is RAW:
            return frame
        frame = self.links.apply(self.seen.fresh(frame))
        self.recent.push(frame)
        return frame

    def tick(self, watermark_us: int, revision: int) -> Found:
        """All sources reached this observed time: close what can no longer change."""
        self.seen.reached(watermark_us)
        outcomes = [one.advance(watermark_us, revision) for one in self.beside.values()]
        outcomes += self._measured(outcomes, revision)
        outcomes.append(self.engine.advance(watermark_us, revision))
        return self._found(outcomes, revision, watermark_us)

    def close(self, revision: int) -> Found:
        """Nothing comes any more: say all that had to wait for that."""
        outcomes = [one.close(revision) for one in self.beside.values()]
        outcomes += self._measured(outcomes, revision)
        outcomes.append(self.engine.close(revision))
        return self._found(outcomes, revision, END_US)

    def _measured(self, outcomes: Sequence[Outcome], revision: int) -> list[Outcome]:
        """What rules say of windows of behaviour, before time goes on for them."""
        rows = [one for outcome in outcomes for one in outcome.measured]
        return [self.engine.judge_measured(pl.concat(rows), revision)] if rows else []

    def _contexts(
        self, matches: Sequence[pl.DataFrame], held: Sequence[Signal] = ()
    ) -> list[Context]:
        """The last actions of the session of the first signal of each group that waits for them,
        and of each agent that is new to a group which is judged elsewhere, or may be said there.
        """
        asked = [_of_group(*owed) for owed in self.groups.owed(MAX_CONTEXTS).items()]
        elsewhere = {group_id_of(signal): signal for signal in held[: MAX_CONTEXTS - len(asked)]}
        asked += [_of_group(*one) for one in elsewhere.items()]
        for rows in matches:
            firsts = self.firsts.among(rows, MAX_CONTEXTS - len(asked))
            asked += [_of_match(row) for row in firsts.iter_rows(named=True)]
        sessions = {session for session, _ in asked if session[2]}
        pasts = self.recent.of_sessions({s: self.links.traces_of(*s) for s in sessions})
        return [self._filled(context, pasts.get(session, Past())) for session, context in asked]

    def _filled(self, context: Context, past: Past) -> Context:
        """The context with what is known of its session and its agent."""
        missing = []
        if context.session_id is None:
            missing.append("last actions: the matching action names no session")
        elif len(past.actions) < LAST_ACTIONS:
            missing.append("older actions: not in this session, or no longer held")
        known = StateSnapshot(
            snapshot_id=plain_id(context.group_id, "stream", context.session_id or ""),
            tenant=context.tenant,
            taken_at=context.taken_at,
            agent_id=context.agent_id,
            session_id=context.session_id,
            **past.known,
        )
        if told := self.published.of(context.tenant, context.agent_id):
            known = joined(known, told)
        return msgspec.structs.replace(
            context, actions=past.actions, missing=missing, state=bounded(known)
        )

    @property
    def stats(self) -> dict[str, RuleStats]:
        """Counts by rule id since the start."""
        return self.engine.stats

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        found: dict[str, int] = {}
        for detector in self._detectors:
            found |= detector.evicted()
        return {
            **found,
            "signal_groups": self.groups.evicted,
            "event_ids": self.seen.evicted,
            "session_links": self.links.evicted,
            "contexts": self.groups.untold,
            "agent_states": self.published.evicted,
            "first_matches": self.firsts.evicted,
            "signals_not_in_force": self.gate.evicted,
        }

    def dump(self) -> bytes:
        """The whole state."""
        return msgspec.msgpack.encode(
            _State(
                FORMAT,
                self.engine.dump(),
                self.groups.dump(),
                self.seen.dump(),
                self.links.dump(),
                self.recent.dump(),
                self.firsts.state(),
                self.gate.state(),
                {name: detector.dump() for name, detector in self.beside.items()},
                self.published.dump(),
            )
        )

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours or of another format; the
        detector is then not to be used.
        """
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
            if kept.format != FORMAT:
                raise ValueError(f"detector state of format {kept.format}, not {FORMAT}")
            self.engine.load(kept.engine)
            self.groups.load(kept.groups)
            self.seen.load(kept.seen)
            self.links.load(kept.links)
            self.recent.load(kept.recent)
            self.firsts.restore(kept.firsts)
            self.gate.restore(kept.asleep)
            self.published.load(kept.published)
            for name in self.beside.keys() & kept.beside.keys():
                self.beside[name].load(kept.beside[name])
        except (msgspec.MsgspecError, pl.exceptions.PolarsError, OSError) as error:
            raise ValueError(f"no state of a detector: {error}") from error


def judged_together(begun: Sequence[Begun]) -> Iterator[Found]:
    """What is found in each of these, one after the other. They are of different partitions: their
    actions are looked at together where they are few and judged by the same rules.
    """
    some = [one for one in begun if not one.actions.is_empty()]
    alike: dict[int, list[Begun]] = {}
    for one in some:
        alike.setdefault(id(one.detector.rules), []).append(one)
    looked: dict[int, Looked] = {}
    for group in alike.values():
        rows = 0
        parts: list[list[Begun]] = []
        for one in group:
            rows += one.actions.height
            if not parts or rows > LOOKED_TOGETHER:
                parts.append([])
                rows = one.actions.height
            parts[-1].append(one)
        for part in parts:
            looked |= zip(map(id, part), _looked(part), strict=True)
    for one in begun:
        yield one.detector.finish(one, looked.get(id(one)))


def _looked(begun: Sequence[Begun]) -> list[Looked]:
    """What the actions of each say by themselves; all are judged by the same rules."""
    first = begun[0]
    if len(begun) == 1:
        return [first.detector.look(first.actions)]
    with resting():
        together = pl.concat([one.actions for one in begun], how="diagonal", rechunk=True)
        whole = first.detector.look(together)
        ends = list(accumulate(one.actions.height for one in begun))
        return [whole.between(begin, end) for begin, end in pairwise([0, *ends])]


# A context that its session's last actions are still missing in.
_Asked = tuple[Session, Context]


def _of_group(group_id: str, first: Signal) -> _Asked:
    context = Context(
        tenant=first.tenant,
        group_id=group_id,
        entity=first.entity,
        bucket_start=first.bucket_start,
        session_id=first.session_id,
        agent_id=first.agent_id,
        taken_at=first.event_time,
        actions=[],
    )
    return (first.tenant, first.partition_key or "", first.session_id or ""), context


def _of_match(row: dict[str, Any]) -> _Asked:
    """`row`: a match row with the start of its bucket."""
    tenant, rule = row["tenant"], (row[RULE], row[VERSION])
    entity = across_entity(tenant, row[GROUP])
    context = Context(
        tenant=tenant,
        group_id=plain_group_id(tenant, rule, "", entity, row[BUCKET]),
        entity=entity,
        bucket_start=at(row[BUCKET]),
        session_id=row["session_id"],
        agent_id=row["agent_id"],
        taken_at=at(row["event_time"]),
        actions=[],
    )
    return (tenant, row["partition_key"] or "", row["session_id"] or ""), context
