"""Everything `detect` and `scan` do with one partition, in one place: the same calls, the same
results.
"""

from collections.abc import Sequence

import msgspec
import polars as pl

from tachograph.detectors.collector import resting
from tachograph.detectors.correlation.bank import Matches
from tachograph.detectors.dedup import Seen
from tachograph.detectors.engine import Engine, Outcome, RuleStats
from tachograph.detectors.groups import Groups
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Links
from tachograph.detectors.recent import LAST_ACTIONS, Recent, Session
from tachograph.schemas.alert import Signal, SignalGroup
from tachograph.schemas.records import Context, SessionLink

# Contexts made in one call: when a flood opens more groups, the others follow with the next calls.
MAX_CONTEXTS = 200
FORMAT = 2


class Found(msgspec.Struct, frozen=True):
    """What came of one call."""

    signals: list[Signal] = []
    groups: list[SignalGroup] = []
    contexts: list[Context] = []
    # What matched of rules that reach across partitions.
    matches: list[Matches] = []


class _State(msgspec.Struct, frozen=True):
    format: int
    engine: bytes
    groups: bytes
    seen: bytes
    links: bytes
    recent: bytes


class PartitionDetector:
    """Deduplicates, resolves sessions, judges, groups. One per partition; not thread-safe, no I/O,
    no clock.
    """

    def __init__(self, rules: RuleSet, *, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.rules = rules
        self.engine = Engine(rules, limits=limits)
        self.groups = Groups(lateness_s=limits.allowed_lateness_s)
        self.seen = Seen()
        self.links = Links()
        self.recent = Recent()

    def process(self, frame: pl.DataFrame, links: Sequence[SessionLink], revision: int) -> Found:
        """Judge a batch of actions and take in session links. `revision`: of the record that
        brought them.
        """
        with resting():
            news = self.links.learn(links)
            outcomes = [self.engine.relink(news, revision)]
            if not frame.is_empty():
                outcomes.append(self.engine.judge(self._fresh(frame), revision))
            return self._found(outcomes, revision)

    def _found(
        self, outcomes: Sequence[Outcome], revision: int, closed_us: int | None = None
    ) -> Found:
        """What follows from the outcomes, and from all sources having reached `closed_us`."""
        signals = [signal for outcome in outcomes for signal in outcome.signals]
        groups = self.groups.absorb(signals, revision)
        if closed_us is not None:
            groups += self.groups.close(closed_us, revision)
        matches = [outcome.matches for outcome in outcomes if outcome.matches is not None]
        return Found(signals, groups, self._contexts(), matches)

    def _fresh(self, frame: pl.DataFrame) -> pl.DataFrame:
        if self.rules.fields is RAW:
            return frame
        fresh = self.seen.fresh(frame)
        frame = frame if fresh.all() else frame.filter(fresh)
        frame = self.links.apply(frame)
        self.recent.push(frame)
        return frame

    def tick(self, watermark_us: int, revision: int) -> Found:
        """All sources reached this observed time: close what can no longer change."""
        return self._found([self.engine.advance(watermark_us, revision)], revision, watermark_us)

    def _contexts(self) -> list[Context]:
        """The last actions of the session of the first signal of each group that waits for them."""
        firsts = self.groups.owed(MAX_CONTEXTS)
        sessions = {group_id: _session(first) for group_id, first in firsts.items()}
        known = {s: self.links.traces_of(*s) for s in set(sessions.values()) if s[2]}
        actions = self.recent.of_sessions(known)
        return [
            _context(group_id, first, actions.get(sessions[group_id], []))
            for group_id, first in firsts.items()
        ]

    @property
    def stats(self) -> dict[str, RuleStats]:
        """Counts by rule id since the start."""
        return self.engine.stats

    def evicted(self) -> dict[str, int]:
        """What was forgotten at a limit since the start, by kind."""
        stats = self.engine.stats.values()
        return {
            "window_events": sum(one.evicted_events for one in stats),
            "window_groups": sum(one.evicted_groups for one in stats),
            "unlinked_signals": self.engine.unlinked_evicted,
            "unlinked_matches": self.engine.outbound.evicted,
            "signal_groups": self.groups.evicted,
            "event_ids": self.seen.evicted,
            "session_links": self.links.evicted,
            "contexts": self.groups.untold,
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
        except (msgspec.MsgspecError, pl.exceptions.PolarsError, OSError) as error:
            raise ValueError(f"no state of a detector: {error}") from error


def _session(signal: Signal) -> Session:
    return signal.tenant, signal.partition_key or "", signal.session_id or ""


def _context(group_id: str, first: Signal, actions: list[dict[str, str]]) -> Context:
    missing = []
    if first.session_id is None:
        missing.append("last actions: the matching action names no session")
    elif len(actions) < LAST_ACTIONS:
        missing.append("older actions: not in this session, or no longer held")
    return Context(
        tenant=first.tenant,
        group_id=group_id,
        entity=first.entity,
        bucket_start=first.bucket_start,
        session_id=first.session_id,
        agent_id=first.agent_id,
        taken_at=first.event_time,
        actions=actions,
        missing=missing,
    )
