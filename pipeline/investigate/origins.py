"""Where the values of a call came from: the first turn before it that held them.

A value is a text inside the call's arguments. It is looked for in what was said before the call in
its session: words of the user, answers of tools, words of the model.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

MIN_CHARS = 5
MAX_VALUES = 12
MAX_DEPTH = 6
# What is in every call says nothing of where it came from.
_COMMON = frozenset({"false", "true", "null", "none"})


class Turn(msgspec.Struct, frozen=True):
    """A row of tacho.session_conversation, as far as it is asked here."""

    time: str
    part: int
    speaker: str
    text: str
    tool_name: str
    event_id: str


class Origin(msgspec.Struct, frozen=True):
    """A value of a call and the turn that brought it; none when nobody said it before."""

    value: str
    call: Turn
    source: Turn | None
    user_said: bool

    @property
    def told(self) -> str:
        """Who brought it, for a person."""
        if self.source is None:
            return "nobody said it before: the model made it"
        if self.source.speaker == "tool":
            user = "" if self.user_said else "; the user never named it"
            return f"answer of {self.source.tool_name} (event {self.source.event_id}){user}"
        return f"the {self.source.speaker} said it (event {self.source.event_id})"


def origins(turns: Sequence[Turn], event_ids: Sequence[str]) -> list[Origin]:
    """Of each value in the calls among these events, where it came from. `turns` in order."""
    wanted, found, seen = set(event_ids), [], set()
    for at, turn in enumerate(turns):
        if turn.event_id not in wanted or turn.part != 3:
            continue
        for value in values(turn.text):
            if (value, turn.tool_name) in seen:
                continue
            seen.add((value, turn.tool_name))
            before = [one for one in turns[:at] if value in one.text]
            user = any(one.speaker == "user" for one in before)
            found.append(Origin(value, turn, before[0] if before else None, user))
    return found


def values(args: str) -> list[str]:
    """The texts inside arguments that can be looked for, at most so many."""
    try:
        parsed = msgspec.json.decode(args)
    except msgspec.DecodeError:
        parsed = args
    found: dict[str, None] = {}
    for value in _texts(parsed, MAX_DEPTH):
        if len(value) >= MIN_CHARS and value.lower() not in _COMMON:
            found[value] = None
        if len(found) == MAX_VALUES:
            break
    return list(found)


def _texts(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value.strip()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
    elif depth and isinstance(value, dict):
        for one in value.values():
            yield from _texts(one, depth - 1)
    elif depth and isinstance(value, list):
        for one in value:
            yield from _texts(one, depth - 1)
