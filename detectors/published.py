"""State that agents publish of themselves, the newest of each, and how it joins what the stream
knows.

What was observed is believed before what is claimed: a published part fills what the actions do
not tell, and never replaces it.
"""

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.codec import encode

MAX_AGENTS = 10_000
MAX_BYTES = 32 * 1024 * 1024
# One snapshot, as it is kept and joined.
MAX_SNAPSHOT_BYTES = 8_000
MAX_ITEMS = 50
MAX_TOOLS = 200
MAX_NAME_CHARS = 120
MAX_TEXT_CHARS = 300
CUT = "part of it was cut at a size limit"

# Parts that are the agent's, whatever session it is in; the others are of one session.
_OF_AGENT = (
    "agent_version", "agent_instance_id", "tools", "policies", "model", "credentials",
    "system_prompt_hash",
)  # fmt: skip
_OF_SESSION = (
    "principal_id", "goals", "memory", "approvals", "delegation_chain", "open_calls", "usage",
    "delegates", "other",
)  # fmt: skip
PARTS = (*_OF_AGENT, *_OF_SESSION)
# What is left out first where a snapshot is too large.
_LEAST = ("other", "memory", "tools", "last_actions", "goals", "policies", "credentials",
          "approvals", "model", "open_calls", "delegates", "delegation_chain", "usage",
          "missing")  # fmt: skip


def bounded(state: StateSnapshot, max_bytes: int = MAX_SNAPSHOT_BYTES) -> StateSnapshot:
    """The state cut to what may travel with an alert; `missing` says what was cut."""
    made, cut = {}, []
    for name in (*PARTS, "last_actions", "missing"):
        value = getattr(state, name)
        small = _small(value, MAX_TOOLS if name == "tools" else MAX_ITEMS)
        if small != value:
            made[name] = small
            cut.append(name)
    bare = msgspec.structs.replace(
        state,
        **made,
        agent_id=_text(state.agent_id),
        session_id=_text(state.session_id),
        snapshot_id=state.snapshot_id[:MAX_NAME_CHARS],
        alert_id=_text(state.alert_id),
        directive_id=_text(state.directive_id),
    )
    for name in _LEAST:
        if len(encode(bare)) <= max_bytes:
            break
        bare = msgspec.structs.replace(bare, **{name: type(getattr(bare, name))()})
        cut.append(name)
    if not cut:
        return bare
    told = [f"{name}: {CUT}" for name in dict.fromkeys(cut)]
    return msgspec.structs.replace(bare, missing=[*bare.missing, *told])


def _text(value: str | None) -> str | None:
    return value if value is None else value[:MAX_NAME_CHARS]


def _small(value: Any, items: int) -> Any:
    """Names and texts cut, the first items by name or in order."""
    match value:
        case str():
            return value[:MAX_TEXT_CHARS]
        case dict():
            kept = sorted(value.items())[:items]
            return {name[:MAX_NAME_CHARS]: _small(inner, items) for name, inner in kept}
        case list():
            return [_small(inner, items) for inner in value[:items]]
    return value


def joined(known: StateSnapshot, told: StateSnapshot) -> StateSnapshot:
    """What is known, filled with what the agent told where nothing is known.

    Of another session only what is the agent's own is taken.
    """
    same = told.session_id is None or told.session_id == known.session_id
    filled = {
        name: _filled(getattr(known, name), getattr(told, name))
        for name in (PARTS if same else _OF_AGENT)
    }
    return msgspec.structs.replace(known, **filled)


def _filled(known: Any, told: Any) -> Any:
    if isinstance(known, dict) and isinstance(told, dict):
        return {**told, **known}
    return known or told


class Published:
    """The newest snapshot of each agent of a partition, by moment described. Not thread-safe."""

    def __init__(self, max_agents: int = MAX_AGENTS, max_bytes: int = MAX_BYTES) -> None:
        self._states: OrderedDict[tuple[str, str], StateSnapshot] = OrderedDict()
        self._max_agents, self._max_bytes = max_agents, max_bytes
        self._bytes = 0
        self.evicted = 0

    def learn(self, snapshots: Iterable[StateSnapshot]) -> None:
        """Take in what agents published; the order does not matter."""
        for told in snapshots:
            if not told.agent_id:
                continue
            key = (told.tenant, told.agent_id)
            known = self._states.get(key)
            if known is None or _order(known) < _order(told):
                self._put(key, bounded(told))

    def _put(self, key: tuple[str, str], told: StateSnapshot) -> None:
        known = self._states.pop(key, None)
        self._bytes += len(encode(told)) - (len(encode(known)) if known else 0)
        self._states[key] = told
        while len(self._states) > self._max_agents or self._bytes > self._max_bytes:
            _, gone = self._states.popitem(last=False)
            self._bytes -= len(encode(gone))
            self.evicted += 1

    def of(self, tenant: str, agent: str | None) -> StateSnapshot | None:
        """What the agent last published."""
        return self._states.get((tenant, agent)) if agent else None

    def dump(self) -> list[StateSnapshot]:
        return list(self._states.values())

    def load(self, states: Iterable[StateSnapshot]) -> None:
        """Take up a dump."""
        self._states.clear()
        self._bytes = 0
        self.learn(states)


def _order(state: StateSnapshot) -> tuple[datetime, str]:
    return state.taken_at, state.snapshot_id
