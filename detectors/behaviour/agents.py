"""Agents, and persons at sessions, by number: the row that each has in the columns of state."""

import secrets
from collections.abc import Mapping
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.hands import BY_PRINCIPAL
from tachograph.detectors.behaviour.rows import KEY
from tachograph.detectors.correlation.hashmap import HashMap
from tachograph.detectors.facts import UNKNOWN_AGENT
from tachograph.detectors.ids import Words
from tachograph.detectors.links import Linked, Trace

Ints = npt.NDArray[np.int64]

NOBODY = -1
# Odd and with its bits well spread: multiplying by it loses nothing.
_ODD = np.uint64(0x9E3779B97F4A7C15)
# Makes room for this share at once when there is none.
_SHARE = 16


class Identity(msgspec.Struct, frozen=True, array_like=True):
    """Who a slot is about; the fields of KEY."""

    tenant: str
    partition_key: str
    agent_id: str
    agent_name: str
    claim: str
    hand: str
    facet: str = ""

    @property
    def agent(self) -> str:
        """As alerts name it."""
        return self.agent_id or self.agent_name or self.partition_key or UNKNOWN_AGENT

    def linked(self, trace: str, link: Linked) -> "Identity":
        """As of whom it is by what became known of its trace."""
        agent = self.agent_id or link.agent_id or ""
        name = "" if agent else self.agent_name or link.agent_name or ""
        claim = self.claim
        if claim == BY_PRINCIPAL and (agent or name):
            claim = ""
        hand = link.session_id if self.hand == trace else self.hand
        return Identity(
            self.tenant,
            self.partition_key,
            agent,
            name,
            claim,
            hand if claim or self.facet else "",
            self.facet,
        )


def moved(who: Identity, trace: str, links: Mapping[Trace, Linked]) -> tuple[str, ...]:
    """KEY and trace of what was counted to whom, as they are now."""
    link = links.get((who.tenant, who.partition_key, trace))
    if link is None:
        return *msgspec.structs.astuple(who), trace
    now = who.linked(trace, link)
    known = now.agent_id and now.hand != trace
    return *msgspec.structs.astuple(now), "" if known else trace


class BySlot(Protocol):
    """What keeps something of each slot."""

    def grow(self, size: int) -> None:
        """Room for slots below `size`."""
        ...

    def forget(self, slots: list[int]) -> None:
        """These slots begin anew."""
        ...


class AgentsState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped."""

    polars: str
    seed: int
    identities: list[Identity | None]
    hashes: bytes
    seen: bytes


class Agents:
    """At most `limit` of them. Who has no baseline yet is forgotten first, then who was quiet for
    longest: nobody who makes up agents pushes out those that are known. Not thread-safe.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._seed = secrets.randbits(63)
        self._map = HashMap()
        self.identities: list[Identity | None] = []
        self._hashes: Words = np.zeros(0, np.uint64)
        # The newest window that each was seen in.
        self._seen: Ints = np.zeros(0, np.int64)
        self._persons: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._free: list[int] = []
        self.evicted = 0

    def __len__(self) -> int:
        return len(self.identities) - len(self._free)

    @property
    def size(self) -> int:
        """Slots there are, free ones among them."""
        return len(self.identities)

    def slots_of(
        self, rows: pl.DataFrame, settled: npt.NDArray[np.bool_]
    ) -> tuple[Ints, list[int]]:
        """The slot of each row (NOBODY: no room), and slots whose agents were forgotten for it.

        `rows`: KEY without nulls and `window`. `settled`: which slots have a baseline.
        """
        hashes = self._hashes_of(rows)
        keys, first = np.unique(hashes, return_index=True)
        slots = self._map.get(keys)
        new = np.flatnonzero(slots == NOBODY)
        gone: list[int] = []
        if len(new):
            gone = self._make_room(len(new), slots[slots != NOBODY], settled)
            new = new[: self._limit - len(self)]
            slots[new] = self._take(keys[new], rows[first[new]].select(KEY))
        # As in the stream's own order of keys.
        found = slots[np.searchsorted(keys, hashes)]
        there = found != NOBODY
        self.evicted += len(np.unique(hashes[~there]))
        np.maximum.at(self._seen, found[there], rows["window"].to_numpy()[there])
        return found, gone

    def _hashes_of(self, rows: pl.DataFrame) -> Words:
        """A number of each row's KEY, never 0."""
        seeds = [(self._seed + place) % 2**63 for place in range(len(KEY))]
        asked = [pl.col(name).hash(seed) for name, seed in zip(KEY, seeds, strict=True)]
        found = np.zeros(rows.height, np.uint64)
        for column in rows.select(asked):
            found = (found * _ODD) ^ column.to_numpy()
        found[found == 0] = 1
        return found

    def who(self, slot: int) -> Identity:
        """Of a slot that is used."""
        found = self.identities[slot]
        if found is None:
            raise LookupError(f"nobody has slot {slot}")
        return found

    def persons(self, slots: Ints) -> npt.NDArray[np.bool_]:
        """Which of these are persons at sessions."""
        return self._persons[slots]

    def _take(self, hashes: Words, rows: pl.DataFrame) -> Ints:
        taken = []
        for row in rows.iter_rows():
            if self._free:
                slot = self._free.pop()
                self.identities[slot] = Identity(*row)
            else:
                slot = len(self.identities)
                self.identities.append(Identity(*row))
            taken.append(slot)
        slots = np.array(taken, np.int64)
        more = len(self.identities) - len(self._seen)
        self._hashes = np.concatenate([self._hashes, np.zeros(more, np.uint64)])
        self._seen = np.concatenate([self._seen, np.zeros(more, np.int64)])
        self._persons = np.concatenate([self._persons, np.zeros(more, np.bool_)])
        self._hashes[slots], self._seen[slots] = hashes, 0
        self._persons[slots] = (rows["claim"] != "").to_numpy()
        self._map.put(hashes, slots)
        return slots

    def _make_room(self, need: int, used: Ints, settled: npt.NDArray[np.bool_]) -> list[int]:
        over = len(self) + need - self._limit
        if over <= 0:
            return []
        may = np.ones(self.size, np.bool_)
        may[used] = False
        may[self._free] = False
        known = np.zeros(self.size, np.bool_)
        known[: len(settled)] = settled[: self.size]
        candidates = np.flatnonzero(may)
        order = np.lexsort((candidates, self._seen[candidates], known[candidates]))
        gone = candidates[order[: max(over, self._limit // _SHARE)]].tolist()
        for slot in gone:
            self.identities[slot] = None
        self._free += gone
        self._hashes[gone] = 0
        self.evicted += len(gone)
        self._rebuild()
        return [int(slot) for slot in gone]

    def _rebuild(self) -> None:
        self._map = HashMap()
        there = np.flatnonzero(self._hashes)
        self._map.put(self._hashes[there], there)

    def state(self) -> AgentsState:
        return AgentsState(
            pl.__version__,
            self._seed,
            self.identities,
            self._hashes.astype("<u8").tobytes(),
            self._seen.astype("<i8").tobytes(),
        )

    def restore(self, state: AgentsState) -> None:
        """Take up a state. Raises ValueError when it was hashed by another Polars."""
        if state.polars != pl.__version__:
            raise ValueError(f"agents hashed by Polars {state.polars}, not {pl.__version__}")
        self._seed = state.seed
        self.identities = list(state.identities)
        self._hashes = np.frombuffer(state.hashes, "<u8").astype(np.uint64)
        self._seen = np.frombuffer(state.seen, "<i8").astype(np.int64)
        self._persons = np.array([bool(one and one.claim) for one in self.identities], np.bool_)
        self._free = [at for at, one in enumerate(self.identities) if one is None]
        self._rebuild()
