"""What each rule did, as metrics: told now and then, as the difference to what was told before."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from time import monotonic

from tachograph.detectors.engine import RuleStats
from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US
from tachograph.pipeline.detect.judges import Judge
from tachograph.pipeline.kafka.reader import Place
from tachograph.schemas.alert import Signal

TELL_EVERY_S = 5.0
# A field counts as carried for half a day up to a day.
AGE_EVERY_S = 12 * 3600.0
# Rules with metrics of their own; the others are told of together.
MAX_RULES = 2_000
OTHER = ("other", "")
NS = 1_000_000_000

_COUNTERS = {
    "evaluations": metrics.RULE_EVALUATIONS,
    "candidates": metrics.RULE_CANDIDATES,
    "matches": metrics.RULE_MATCHES,
    "spent_ns": metrics.RULE_SECONDS,
}


class RuleMetrics:
    """Of all places of one process. Called by the thread of the stage."""

    def __init__(
        self, clock: Callable[[], float] = monotonic, *, most_rules: int = MAX_RULES
    ) -> None:
        self._clock, self._most_rules = clock, most_rules
        self._told_s = self._aged_s = clock()
        self._known: dict[Place, dict[str, dict[str, int]]] = {}
        self._said: Counter[tuple[str, str]] = Counter()
        self._names: dict[str, tuple[str, str]] = {}
        self._last_us: dict[tuple[str, str], int] = {}

    def said(self, signals: Iterable[Signal]) -> None:
        """Signals that went out."""
        self._said.update((one.rule_id, one.title) for one in signals if one.change == "new")

    def tell(
        self,
        judges: Mapping[Place, Judge],
        titles: Callable[[], Mapping[str, str]],
        *,
        now: bool = False,
    ) -> None:
        """Tell what came since the last time, if it is time. `titles`: of the rules, by id."""
        now_s = self._clock()
        if now_s - self._told_s < TELL_EVERY_S and not now:
            return
        self._told_s = now_s
        for (rule_id, title), number in self._said.items():
            metrics.RULE_SIGNALS.labels(*self._named(rule_id, title)).inc(number)
        self._said.clear()
        self._known = {place: own for place, own in self._known.items() if place in judges}
        stats = {place: judge.stats() for place, judge in judges.items()}
        named = titles()
        for place, own in stats.items():
            self._count(place, own, named)
        self._able(stats.values(), named)
        if now_s - self._aged_s >= AGE_EVERY_S:
            self._aged_s = now_s
            for judge in judges.values():
                judge.age()

    def _count(
        self, place: Place, stats: Mapping[str, RuleStats], titles: Mapping[str, str]
    ) -> None:
        known = self._known.setdefault(place, {})
        for rule_id, own in stats.items():
            label = self._named(rule_id, titles.get(rule_id, ""))
            now = {name: getattr(own, name) for name in _COUNTERS}
            before = known.get(rule_id, {})
            for name, counter in _COUNTERS.items():
                # A place that is judged anew counts anew.
                told = before.get(name, 0)
                more = now[name] - (told if now[name] >= told else 0)
                if more:
                    counter.labels(*label).inc(more / NS if name == "spent_ns" else more)
            known[rule_id] = now
            last_us = max(own.last_match_us or 0, self._last_us.get(label, 0))
            if last_us > self._last_us.get(label, 0):
                self._last_us[label] = last_us
                metrics.RULE_LAST_MATCH.labels(*label).set(last_us / SECOND_US)

    def _able(self, stats: Iterable[Mapping[str, RuleStats]], titles: Mapping[str, str]) -> None:
        """A rule can fire if it can anywhere."""
        able: dict[str, bool] = {}
        for own in stats:
            for rule_id, one in own.items():
                if one.evaluations:
                    able[rule_id] = able.get(rule_id, False) or one.can_fire
        for rule_id, can_fire in able.items():
            label = self._named(rule_id, titles.get(rule_id, ""))
            if label != OTHER:
                metrics.RULE_CANNOT_FIRE.labels(*label).set(not can_fire)

    def _named(self, rule_id: str, title: str) -> tuple[str, str]:
        """The labels of a rule: always the same, and not too many."""
        known = self._names.get(rule_id)
        if known is None:
            known = (rule_id, title) if len(self._names) < self._most_rules else OTHER
            if known != OTHER:
                self._names[rule_id] = known
        return known
