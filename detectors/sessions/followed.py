"""One session that is followed: its steps in the order of their events, and what was said of it."""

import abc
from bisect import bisect_left
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from tachograph.detectors.facts import Facts
from tachograph.detectors.limits import Limits
from tachograph.schemas.alert import Signal


class Placed(Protocol):
    """A step: what one action adds to its session."""

    @property
    def facts(self) -> Facts:
        """Who, what and when."""
        ...

    @property
    def order(self) -> tuple[int, str]:
        """Its place in the session."""
        ...


StepT = TypeVar("StepT", bound=Placed)


class Followed(abc.ABC, Generic[StepT]):
    """The steps of one session, as far as its limits allow."""

    def __init__(self, limits: Limits) -> None:
        self._max_chars, self._max_steps = limits.chars_per_session, limits.steps_per_session
        self.steps: list[StepT] = []
        # Of each step; looked up at every one that comes.
        self._orders: list[tuple[int, str]] = []
        self.chars = 0
        self.said: dict[str, Signal] = {}
        # Said of steps that are partly forgotten: stands as it is.
        self.settled: set[str] = set()
        self.late = 0
        self.shed = False
        # How many steps were read so far.
        self._read = 0

    @property
    def last_us(self) -> int:
        """Time of its last step."""
        return self.steps[-1].facts.time_us

    def add(self, steps: Iterable[StepT]) -> None:
        """Put steps in their places; one that is there already changes nothing."""
        for step in steps:
            order, orders = step.order, self._orders
            # Mostly it is the newest.
            newest = not orders or orders[-1] < order
            at = len(orders) if newest else bisect_left(orders, order)
            if not newest and orders[at] == order:
                continue
            orders.insert(at, order)
            self.steps.insert(at, self._held(step))
            if at < self._read:
                self.reread()
            if self.chars > self._max_chars or len(self.steps) > self._max_steps:
                self._shed()

    @abc.abstractmethod
    def _held(self, step: StepT) -> StepT:
        """The step as it is kept; `chars` grows by what it weighs."""

    @abc.abstractmethod
    def _lighten(self) -> None:
        """Forget what is oldest, until half of the limits are kept."""

    def reread(self) -> None:
        """What was read does not hold any more, or is to be forgotten: read again when asked."""
        self._read = 0

    def _refill(self, steps: Iterable[StepT]) -> None:
        self.chars = 0
        self.steps = [self._held(step) for step in steps]
        self._orders = [step.order for step in self.steps]
        self.reread()

    def _shed(self) -> None:
        self.shed = True
        self.settled |= self.said.keys()
        self.said = {}
        self._lighten()

    def take_out(self, trace: str) -> list[StepT]:
        """Remove the steps of a trace."""
        moved = [step for step in self.steps if step.facts.trace_id == trace]
        if moved:
            self._refill([step for step in self.steps if step.facts.trace_id != trace])
        return moved
