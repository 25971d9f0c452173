"""What is said of windows that are out of line: of each agent and feature once in a bucket."""

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.calibration import Calibration
from tachograph.detectors.behaviour.crossing import CLOCK, HAND, SHADOW, WAYS, Crossing
from tachograph.detectors.behaviour.crowd import held_now
from tachograph.detectors.behaviour.report import BUCKET_US, Reporter
from tachograph.detectors.behaviour.unlike import unlike
from tachograph.schemas.alert import Signal

Ints = npt.NDArray[np.int64]


class Saying:
    """Makes signals of crossings. Not thread-safe."""

    def __init__(self, calibration: Calibration) -> None:
        self._reporter = Reporter(calibration)
        # The newest bucket in which each feature, and each thing of hands, was said.
        self._said: Ints = np.zeros((0, WAYS), np.int64)
        # Whether who is out of line is said where all of a tenant meet (see crowd).
        self.gathers = False
        self._sending: list[pl.DataFrame] = []
        self._held: list[Signal] = []

    def say(self, crossing: Crossing, who: Identity, revision: int) -> list[Signal]:
        """What is to be said here, of the first window in a bucket."""
        judged, place, slot = crossing.judged, crossing.place, crossing.slot
        bucket = int(judged.row(place)["last_us"]) // BUCKET_US
        if self._said[slot, crossing.feature] >= bucket:
            return []
        self._said[slot, crossing.feature] = bucket
        if crossing.feature == HAND:
            return [self._reporter.too_fast(who, judged, place, revision)]
        if crossing.feature == CLOCK:
            return [self._reporter.too_regular(who, judged, place, revision)]
        if crossing.model is not None:
            shadow = crossing.feature == SHADOW
            return [unlike(who, judged, place, crossing.model, revision, shadow=shadow)]
        signal = self._reporter.out_of_line(who, crossing, revision)
        if not self.gathers:
            return [signal]
        self._sending.append(held_now(crossing, who, signal))
        self._held.append(signal)
        return []

    def sending(self) -> list[pl.DataFrame]:
        """Match rows of what is said elsewhere, or not; they count as sent."""
        sending, self._sending = self._sending, []
        return sending

    def held(self) -> list[Signal]:
        """The signals of these, once."""
        held, self._held = self._held, []
        return held

    def grow(self, size: int) -> None:
        """Room for slots below `size`."""
        if (more := size - len(self._said)) > 0:
            more = max(more, len(self._said))
            self._said = np.concatenate([self._said, np.zeros((more, WAYS), np.int64)])

    def forget(self, slots: list[int]) -> None:
        """These slots begin anew."""
        self._said[slots] = 0

    def state(self, size: int) -> bytes:
        """The rows below `size`."""
        return self._said[:size].astype("<i8").tobytes()

    def restore(self, state: bytes, size: int) -> None:
        """Take up a state. Raises ValueError when it is of another shape."""
        self._said = np.frombuffer(state, "<i8").astype(np.int64).reshape(size, WAYS)
