"""Rules whose groups lie in several partitions: everything `detect` and `scan` do with the matches
that came to one place.
"""

from collections import Counter
from collections.abc import Collection, Sequence

import msgspec
import polars as pl

from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.models import NO_MODELS, Models
from tachograph.detectors.behaviour.shared import shared_apart
from tachograph.detectors.collector import resting
from tachograph.detectors.correlation.bank import END_US, CorrelatorBank, Outcome
from tachograph.detectors.correlation.held import HeldGroups
from tachograph.detectors.correlation.matched import chain_of
from tachograph.detectors.correlation.stretch import LONG_AGO
from tachograph.detectors.correlation.travel import match_rows, matches_of
from tachograph.detectors.engine import Engine, RuleStats
from tachograph.detectors.groups import Groups
from tachograph.detectors.intent.across import FlowsAcross
from tachograph.detectors.intent.sent import split
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.rule import Correlation, Stateless
from tachograph.detectors.limits import Limits
from tachograph.detectors.partition import Found, PartitionDetector
from tachograph.detectors.plan import Gate, Plan, key_of
from tachograph.detectors.subjects import subjects_asked, subjects_of
from tachograph.schemas.alert import Signal
from tachograph.schemas.behaviour import SHARED
from tachograph.schemas.records import SessionLink

FORMAT = 4


class _State(msgspec.Struct, frozen=True):
    format: int
    bank: bytes
    groups: bytes
    asleep: dict[str, int]
    flows: bytes
    behaviour: bytes


class AcrossDetector:
    """Judges the groups that have their place here. One per partition of matches; not thread-safe,
    no I/O, no clock.
    """

    def __init__(self, rules: RuleSet | Plan, *, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._judge_by(rules if isinstance(rules, Plan) else Plan.of(rules))
        self.flows = FlowsAcross()
        # Of principals and credentials, wherever they are used.
        self.behaviour = Behaviour(limits=self._limits, shared=True)
        self._measure()
        # Captured state comes from where the agents are seen.
        self.groups = Groups(lateness_s=self._limits.allowed_lateness_s, captures=False)

    def _judge_by(self, plan: Plan) -> None:
        rules = plan.rules
        across = [rule for rule in chain_of(rules.correlations) if rule.across]
        self._rules = {key_of(rule.meta): rule for rule in across}
        self._fields = rules.fields
        self.bank = CorrelatorBank(rules.correlations, rules, across=True, limits=self._limits)
        self.gate = Gate(plan)
        # Rules on what is measured of principals and credentials; it keeps nothing.
        asked = subjects_asked(rules) & SHARED
        self._of_shared = Engine(rules, limits=self._limits) if asked else None
        # Who only asks for measures is not told what nobody wrote down.
        self._speaks = rules.follows_sessions or not asked

    def adopt(self, plan: Plan) -> None:
        """As PartitionDetector."""
        bank, asleep = self.bank.dump(), self.gate.state()
        self._judge_by(plan)
        self.bank.load(bank)
        self.gate.restore(asleep)
        self._measure()

    def _measure(self) -> None:
        self.behaviour.asked = self._of_shared is not None
        self.behaviour.speaks = self._speaks

    def process(self, rows: pl.DataFrame, revision: int) -> Found:
        """Judge match rows. `revision`: of the record that brought them."""
        if rows.is_empty():
            return Found()
        with resting():
            rows, panes = shared_apart(rows)
            self.behaviour.take(panes)
            rows, flows = split(rows)
            matches = matches_of(rows, self._rules)
            outcome = self.bank.judge(matches.facts, matches.found, revision)
            outcome.signals = [*outcome.signals, *self.flows.take(flows, revision)]
            return self._found(outcome, revision)

    def tick(
        self,
        watermark_us: int,
        revision: int,
        chained_us: int | None = None,
        held: Collection[str] = (),
    ) -> Found:
        """Every place that sends matches of actions reached this observed time, and every place
        that sends matches of signals `chained_us` (None: the same): close what can no longer
        change. `held`: as CorrelatorBank.advance.
        """
        outcome = self.bank.advance(watermark_us, revision, chained_us, held)
        shared = self.behaviour.advance(watermark_us, revision)
        outcome.signals = [*outcome.signals, *shared.signals]
        if self._of_shared is not None and shared.measured:
            measured = pl.concat(shared.measured)
            outcome.signals += self._of_shared.judge_measured_alone(measured, revision)
        found = self._found(outcome, revision)
        self.gate.forget(watermark_us - self._limits.allowed_lateness_us)
        self.flows.advance(watermark_us - self._limits.allowed_lateness_us)
        closed = self.groups.close(watermark_us, revision)
        return msgspec.structs.replace(found, groups=[*found.groups, *closed])

    def show(
        self, rules: Sequence[Correlation], rows: pl.DataFrame, revision: int
    ) -> list[pl.DataFrame]:
        """As PartitionDetector: these rules see matches that came before they were known here."""
        known = {key_of(rule.meta): rule for rule in chain_of(rules) if rule.across}
        matches = matches_of(split(shared_apart(rows)[0])[0], known)
        outcome = self.bank.judge(matches.facts, matches.found, revision)
        self.gate.passed(outcome.signals)
        return [match_rows(one, self._fields) for one in outcome.matches]

    def say(self, signals: Sequence[Signal], revision: int) -> Found:
        """As PartitionDetector."""
        return Found(list(signals), self.groups.absorb(signals, revision, anew=True))

    @property
    def stats(self) -> dict[str, RuleStats]:
        """Counts of the rules on what is measured here, by their ids, since the start."""
        if self._of_shared is None:
            return {}
        rules, counts = self._of_shared.rules, self._of_shared.stats
        return {
            rule.meta.rule_id: counts[rule.meta.rule_id]
            for rule in rules.rules
            if isinstance(rule, Stateless)
            and subjects_of(rules.detections[rule.detection].condition, rules.fields) & SHARED
        }

    def _found(self, outcome: Outcome, revision: int) -> Found:
        matches = [match_rows(one, self._fields) for one in outcome.matches]
        passed = self.gate.passed(outcome.signals)
        return Found(passed, self.groups.absorb(passed, revision), matches=matches)

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        counts = [counts for _, counts in self.bank.stats()]
        return {
            "window_events": sum(one.evicted_events for one in counts),
            "window_groups": sum(one.evicted_groups for one in counts),
            "window_signals": sum(one.evicted_signals for one in counts),
            "chained_signals": self.bank.chained_evicted,
            "known_values": sum(one.evicted_values for one in counts),
            "signal_groups": self.groups.evicted,
            "signals_not_in_force": self.gate.evicted,
            "intent_flows": self.flows.evicted,
            **{f"shared_{name}": many for name, many in self.behaviour.evicted().items()},
        }

    def dump(self) -> bytes:
        """The whole state."""
        state = _State(
            FORMAT,
            self.bank.dump(),
            self.groups.dump(),
            self.gate.state(),
            self.flows.dump(),
            self.behaviour.dump(),
        )
        return msgspec.msgpack.encode(state)

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours or of another format; the
        detector is then not to be used.
        """
        try:
            kept = msgspec.msgpack.decode(state, type=_State)
            if kept.format != FORMAT:
                raise ValueError(f"across state of format {kept.format}, not {FORMAT}")
            self.bank.load(kept.bank)
            self.groups.load(kept.groups)
            self.gate.restore(kept.asleep)
            self.flows.load(kept.flows)
            self.behaviour.load(kept.behaviour)
        except (msgspec.MsgspecError, pl.exceptions.PolarsError, OSError) as error:
            raise ValueError(f"no state of an across detector: {error}") from error


class WholeDetector:
    """A place that sees everything, as a file is read: what matches is judged where it is found."""

    def __init__(
        self, rules: RuleSet | Plan, *, limits: Limits | None = None, models: Models = NO_MODELS
    ) -> None:
        self._place = PartitionDetector(rules, limits=limits, models=models)
        self._across = AcrossDetector(rules, limits=limits)

    def process(self, frame: pl.DataFrame, links: Sequence[SessionLink], revision: int) -> Found:
        """As PartitionDetector; nothing that matched is left to others."""
        return self._joined(self._place.process(frame, links, revision), revision)

    def tick(self, watermark_us: int, revision: int) -> Found:
        """As PartitionDetector."""
        found = self._joined(self._place.tick(watermark_us, revision), revision)
        return _sum([found, self._closed(watermark_us, revision)])

    def close(self, revision: int) -> Found:
        """As PartitionDetector."""
        found = self._joined(self._place.close(revision), revision)
        return _sum([found, self._closed(END_US, revision)])

    def _closed(self, watermark_us: int, revision: int) -> Found:
        """What rules on signals say comes after what their signals say."""
        found = self._joined(self._across.tick(watermark_us, revision, LONG_AGO), revision)
        return _sum([found, self._joined(self._across.tick(watermark_us, revision), revision)])

    def _joined(self, found: Found, revision: int) -> Found:
        parts, sent = [found], list(found.matches)
        while sent:
            parts.append(self._across.process(sent.pop(0), revision))
            sent += parts[-1].matches
        return msgspec.structs.replace(_sum(parts), matches=[])

    def groups(self, rule: Correlation) -> HeldGroups:
        """What is held of a rule's groups now. Raises KeyError for one that is not judged."""
        banks = (self._place.engine.bank, self._across.bank)
        for groups in (bank.groups(rule) for bank in banks):
            if groups is not None:
                return groups
        raise KeyError(rule.meta.rule_id)

    def dump(self) -> bytes:
        """The whole state."""
        return msgspec.msgpack.encode((self._place.dump(), self._across.dump()))

    def load(self, state: bytes) -> None:
        """Take up a dump. Raises ValueError when it is none of ours."""
        place, across = msgspec.msgpack.decode(state, type=tuple[bytes, bytes])
        self._place.load(place)
        self._across.load(across)

    @property
    def stats(self) -> dict[str, RuleStats]:
        """Counts by rule id since the start."""
        return self._place.stats

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        counts = Counter(self._place.evicted())
        counts.update(self._across.evicted())
        return dict(counts)


def _sum(parts: Sequence[Found]) -> Found:
    if len(parts) == 1:
        return parts[0]
    return Found(
        signals=[signal for part in parts for signal in part.signals],
        groups=[group for part in parts for group in part.groups],
        contexts=[context for part in parts for context in part.contexts],
        matches=[rows for part in parts for rows in part.matches],
    )
