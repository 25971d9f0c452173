"""Who does work of the same kind: agents of one tenant with the same role, framework and model, as
their newest hours name them. What is usual for an agent's peers is told beside what is usual for
itself; nothing is judged by it, for each partition knows its own agents only.
"""

import zlib
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.baselines import WARM, Baselines
from tachograph.detectors.behaviour.closed import Closed
from tachograph.detectors.behaviour.crossing import Crossing, Peers
from tachograph.detectors.behaviour.features import FEATURES
from tachograph.detectors.behaviour.rows import PEERS_OF

Ints = npt.NDArray[np.int64]

# Groups that are told apart; agents of further ones have no peers.
MOST_GROUPS: Final = 1_000
# Fewer say nothing of what is usual for their kind.
LEAST_PEERS: Final = 5
_NOBODY: Final = 0
NO_CENTRE: Final = np.zeros(len(FEATURES), np.int64)


class PeersState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped."""

    kinds: list[tuple[str, str]]
    codes: bytes


class PeerGroups:
    """The group of each slot. Not thread-safe."""

    def __init__(self) -> None:
        # By code; nobody is in the first.
        self._kinds: dict[tuple[str, str], int] = {("", ""): _NOBODY}
        # As they were when the epoch began, and as they are since.
        self._codes: npt.NDArray[np.int32] = np.zeros((2, 0), np.int32)
        # Usual levels of a group's windows of a length, in this epoch.
        self._usual: dict[tuple[int, int], tuple[int, Ints]] = {}

    def grow(self, size: int) -> None:
        """Room for slots below `size`."""
        more = size - self._codes.shape[1]
        if more > 0:
            more = max(more, self._codes.shape[1])
            self._codes = np.concatenate([self._codes, np.zeros((2, more), np.int32)], 1)

    def forget(self, slots: list[int]) -> None:
        """These slots begin anew."""
        self._codes[:, slots] = _NOBODY

    def note(self, closed: Closed, agents: Sequence[Identity | None]) -> None:
        """What the first act of each of an epoch's longest windows names; it counts from the next
        epoch on. `agents`: by slot.
        """
        kinds = closed.frames[-1][PEERS_OF].gather(closed.places)
        for slot, kind in zip(closed.slots.tolist(), kinds.to_list(), strict=True):
            who = agents[slot]
            if who is not None and kind:
                self._codes[1, slot] = self.code((who.tenant, kind))

    def code(self, kind: tuple[str, str]) -> int:
        """The number of a tenant's kind; 0 beyond the limit."""
        found = self._kinds.get(kind)
        if found is None:
            found = len(self._kinds) if len(self._kinds) <= MOST_GROUPS else _NOBODY
            if found:
                self._kinds[kind] = found
        return found

    def kind_of(self, slot: int) -> str:
        """Role, framework and model as they were when the epoch began; "" where they are not
        known.
        """
        return list(self._kinds)[int(self._codes[0, slot])][1]

    def fold(self) -> None:
        """The epoch is over."""
        self._codes[0] = self._codes[1]
        self._usual = {}

    def beside(self, crossings: list[Crossing], baselines: Baselines) -> list[Crossing]:
        """With what is usual for the peers of each."""
        return [
            msgspec.structs.replace(
                one,
                peers=self._of(
                    one.slot, int(one.judged.closed.scales[one.place]), one.feature, baselines
                ),
            )
            for one in crossings
        ]

    def _of(self, slot: int, scale: int, feature: int, baselines: Baselines) -> Peers | None:
        """Who is of the kind of a slot, and what is usual for them; None: too few are known."""
        code = int(self._codes[0, slot])
        if code == _NOBODY:
            return None
        if (code, scale) not in self._usual:
            slots = np.flatnonzero(self._codes[0] == code)
            slots = slots[baselines.windows(slots, np.full(len(slots), scale)) >= WARM[scale]]
            centre = baselines.known(slots, np.full(len(slots), scale)).centre
            # The lower of the two in the middle, so that it is whole.
            middle = np.sort(centre, axis=0)[(len(slots) - 1) // 2] if len(slots) else NO_CENTRE
            self._usual[code, scale] = len(slots), middle
        count, usual = self._usual[code, scale]
        if count < LEAST_PEERS:
            return None
        _, kind = list(self._kinds)[code]
        return Peers(count, kind, int(usual[feature]))

    def state(self, size: int) -> PeersState:
        """The slots below `size`."""
        packed = zlib.compress(self._codes[:, :size].astype("<i4").tobytes(), 1)
        return PeersState(list(self._kinds), packed)

    def restore(self, state: PeersState, size: int) -> None:
        """Take up a state."""
        self._kinds = {kind: code for code, kind in enumerate(state.kinds)}
        flat = np.frombuffer(zlib.decompress(state.codes), "<i4").astype(np.int32)
        self._codes, self._usual = flat.reshape(2, size).copy(), {}
