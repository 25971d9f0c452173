"""What `tacho train` does: the engine of the stream over past actions, and a model."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import polars as pl

from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.training import Recorder, Trained, train
from tachograph.detectors.dedup import Seen
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Links
from tachograph.pipeline.clock import to_us
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.train.sources import Given

# A file may hold its actions in any order, so that all its windows are open at once.
LIMITS = Limits(behaviour_windows=5_000_000, behaviour_agents=200_000)
# Share of the source, and actions so far.
Progress = Callable[[float, int], None]


class Learned(NamedTuple):
    """A model, and what was looked at for it."""

    trained: Trained
    actions: int
    forgotten: dict[str, int]


class _Watch:
    """The way of actions to the behaviour detector: each once, under the agent they belong to."""

    def __init__(self) -> None:
        self.recorder = Recorder(lambda: self.behaviour.agents)
        self.behaviour = Behaviour(limits=LIMITS, listener=self.recorder)
        self._seen, self._links = Seen(), Links()
        self.actions = 0
        self.first: datetime | None = None
        self.last: datetime | None = None

    def take(self, given: Given) -> None:
        self.behaviour.relink(self._links.learn(given.links), self.actions)
        if not given.frame.is_empty():
            frame = self._links.apply(self._seen.fresh(given.frame))
            self.behaviour.judge(frame, self.actions)
            self.actions += frame.height
            self._note(frame["event_time"])
        if given.reached is not None:
            self._seen.reached(to_us(given.reached))
            self.behaviour.advance(to_us(given.reached), self.actions)

    def _note(self, times: pl.Series) -> None:
        first, last = times.min(), times.max()
        if isinstance(first, datetime) and isinstance(last, datetime):
            self.first = min(self.first or first, first)
            self.last = max(self.last or last, last)


def learn(
    given: Iterable[Given], budget_per_agent_day: float, source: dict[str, Any], told: Progress
) -> Learned:
    """Judge the actions, and make a model of what was judged. Raises ConfigError."""
    watch = _Watch()
    for part in given:
        watch.take(part)
        told(part.done, watch.actions)
    if not watch.actions:
        raise ConfigError("there are no actions to learn from")
    watch.behaviour.close(watch.actions)
    data = source | {
        "actions": watch.actions,
        "from": _shown(watch.first),
        "until": _shown(watch.last),
        "agents_kept_one_of": watch.recorder.one_of,
    }
    try:
        rows, names = watch.recorder.rows()
        trained = train(rows, names, budget_per_agent_day=budget_per_agent_day, data=data)
    except ValueError as error:
        raise ConfigError(f"nothing was trained: {error}") from error
    forgotten = {kind: count for kind, count in watch.behaviour.evicted().items() if count}
    return Learned(trained, watch.actions, forgotten)


def _shown(moment: datetime | None) -> str:
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z") if moment else ""
