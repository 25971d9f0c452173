"""Which judge a correlation gets."""

from typing import Protocol

from tachograph.detectors.correlation.absence import Absence
from tachograph.detectors.correlation.blocks import Columns
from tachograph.detectors.correlation.chains import Chains
from tachograph.detectors.correlation.correlator import Correlator, CorrelatorState
from tachograph.detectors.correlation.first_seen import FirstSeenJudge
from tachograph.detectors.correlation.memory import Memory
from tachograph.detectors.correlation.metrics import metric_of
from tachograph.detectors.correlation.nodes import graph_of
from tachograph.detectors.correlation.reports import Fired, Voice
from tachograph.detectors.correlation.stretch import Sweep
from tachograph.detectors.correlation.sums import Sums
from tachograph.detectors.correlation.windows import WholeWindows
from tachograph.detectors.language.rule import (
    Absent,
    Correlation,
    Count,
    Figure,
    FirstSeen,
    Ordered,
    Together,
    Values,
)
from tachograph.detectors.limits import Limits


class Judge(Protocol):
    """Judges one rule: see Correlator."""

    rule: Correlation
    memory: Memory
    voice: Voice

    def process(
        self, columns: Columns, revision: int, *, gone: Columns | None = None
    ) -> list[Fired]:
        """Take in events, let go of others; what changed."""
        ...

    def settle(self) -> None:
        """Take in what waits: all that came is in the memory then."""
        ...

    def advance(self, floor_us: int, revision: int) -> list[Fired]:
        """Nothing before this time can come any more."""
        ...

    def state(self) -> CorrelatorState:
        """All that is to be kept."""
        ...

    def restore(self, state: CorrelatorState, floor_us: int | None) -> None:
        """Take up what was kept; `floor_us`: see `advance`."""
        ...


def judge_of(voice: Voice, limits: Limits) -> Judge:
    """The judge of a rule."""
    if isinstance(voice.rule.asks, FirstSeen):
        return FirstSeenJudge(voice, voice.rule.asks, limits)
    if voice.rule.window != "sliding":
        return WholeWindows(voice, sweep_of(voice.rule), limits)
    return Correlator(voice, sweep_of(voice.rule), limits)


def sweep_of(rule: Correlation) -> Sweep:
    """How the rule's events are gone over."""
    match rule.asks:
        case Ordered():
            return Chains(graph_of(rule.asks, len(rule.steps)))
        case Count() | Values() | Figure() | Together():
            return Sums(metric_of(rule.asks, len(rule.steps)))
        case Absent():
            return Absence()
    raise ValueError(f"no windows are gone over for {type(rule.asks).__name__}")


def settled_us(rule: Correlation, floor_us: int) -> int:
    """Signals of the rule with a time before this change no more, where no action before `floor_us`
    can come.
    """
    inner = [settled_us(step.inner, floor_us) for step in rule.steps if step.inner is not None]
    floor = min([floor_us, *inner])
    if isinstance(rule.asks, FirstSeen):
        return floor
    if rule.window == "session":
        return floor - rule.timespan_us
    if isinstance(rule.asks, Absent):
        floor -= rule.timespan_us
    return floor // rule.timespan_us * rule.timespan_us
