"""Where the values of a call came from: the first turn before it that held them.

A value is a text inside the call's arguments. It is looked for in what was said before the call in
its session: words of the user, answers of tools, words of the model. One that nobody said as it
stands is looked for by its parts, the longest first: the host of an address, the name of a file.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

MIN_CHARS = 5
MIN_PART_CHARS = 6
MAX_PARTS = 4
MAX_VALUES = 12
MAX_DEPTH = 6
SHORT_ID = 12
# The part of an action that is a call's arguments, as tacho.session_conversation numbers them.
CALLED = 3
_PARTS = re.compile(r"[\w.@-]+")
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
    """A value of a call and the turn that brought it, or a part of it; none when nobody did."""

    value: str
    part: str
    call: Turn
    source: Turn | None
    user_said: bool

    @property
    def brought(self) -> bool:
        """An answer brought it in, and the user never named it."""
        return self.source is not None and self.source.speaker == "tool" and not self.user_said

    @property
    def told(self) -> str:
        """Who brought it, for a person."""
        if self.source is None:
            return "nothing recorded before it holds it"
        what = "" if self.part == self.value else f"{self.part}: "
        event = f"(event {self.source.event_id[:SHORT_ID]})"
        if self.source.speaker == "tool":
            user = "" if self.user_said else "; the user never named it"
            return f"{what}answer of {self.source.tool_name} {event}{user}"
        if self.source.part == CALLED:
            return f"{what}an earlier call of {self.source.tool_name} {event}"
        return f"{what}the {self.source.speaker} said it {event}"


def origins(turns: Sequence[Turn], event_ids: Sequence[str]) -> list[Origin]:
    """Of each value in the calls among these events, where it came from. `turns` in order."""
    wanted, found, seen = set(event_ids), [], set()
    for at, turn in enumerate(turns):
        if turn.event_id not in wanted or turn.part != CALLED:
            continue
        for value in values(turn.text):
            if (value, turn.tool_name) in seen:
                continue
            seen.add((value, turn.tool_name))
            found.append(_origin(value, turn, turns[:at]))
    return found


def brought_values(found: Iterable[Origin]) -> list[str]:
    """The values that were brought in. First those that are one thing's own, such as an address, a
    number or a path: names made of letters, such as those of a form's fields, are many things'.
    """
    brought = dict.fromkeys(one.part for one in found if one.brought)
    return sorted(brought, key=lambda value: value.replace("_", "").replace(" ", "").isalpha())


def _origin(value: str, call: Turn, earlier: Sequence[Turn]) -> Origin:
    for part in (value, *_parts(value)):
        before = [one for one in earlier if part.casefold() in one.text.casefold()]
        if before:
            user = any(one.speaker == "user" for one in before)
            return Origin(value, part, call, before[0], user)
    return Origin(value, value, call, None, user_said=False)


def _parts(value: str) -> list[str]:
    """Parts of an address or a path that may have been said alone, the longest first."""
    if "/" not in value or value.startswith("‹") or len(value.split()) > 1:
        return []
    found = {part for part in _PARTS.findall(value) if len(part) >= MIN_PART_CHARS}
    return sorted(found - {value}, key=lambda part: (-len(part), part))[:MAX_PARTS]


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
