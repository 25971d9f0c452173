"""Where all agents of a tenant meet: what is said of many of them together, or of one beside the
others.
"""

import msgspec
import polars as pl

from tachograph.detectors.behaviour.calibration import Calibration
from tachograph.detectors.behaviour.company import Company, CompanyState
from tachograph.detectors.behaviour.crowd import Crowds, CrowdState
from tachograph.detectors.behaviour.levels import Ints
from tachograph.detectors.behaviour.swarm import Swarms, SwarmState
from tachograph.detectors.limits import Limits
from tachograph.schemas.alert import Signal


class MeetingState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped."""

    swarms: SwarmState
    company: CompanyState
    crowds: CrowdState


class Meeting:
    """Windows and habits of agents, as other places send them. Not thread-safe."""

    def __init__(self, calibration: Calibration, bars: Ints, limits: Limits) -> None:
        self._swarms = Swarms(limits.behaviour_windows)
        self._company = Company(calibration, bars, limits.behaviour_agents)
        self._crowds = Crowds(limits.behaviour_windows, self._company.at_work)

    def take(self, rows: pl.DataFrame) -> None:
        """Take match rows in; one that comes twice counts once."""
        self._swarms.take(rows)
        self._company.take(rows)
        self._crowds.take(rows)

    def close(self, before: int, revision: int) -> list[Signal]:
        """Judge windows that end at or before a base pane."""
        # Company forgets who is asked for beside crowds.
        crowds = self._crowds.close(before, revision)
        swarms, company = (
            self._swarms.close(before, revision),
            self._company.close(before, revision),
        )
        return [*swarms, *company, *crowds]

    @property
    def evicted(self) -> int:
        """Rows that were left out at a limit since the start."""
        return self._swarms.evicted + self._company.evicted + self._crowds.evicted

    def state(self) -> MeetingState:
        """All of it."""
        return MeetingState(self._swarms.state(), self._company.state(), self._crowds.state())

    def restore(self, state: MeetingState) -> None:
        """Take up a state."""
        self._swarms.restore(state.swarms)
        self._company.restore(state.company)
        self._crowds.restore(state.crowds)
