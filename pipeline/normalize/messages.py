"""Words out of message lists: what a model said, what a user asked.

Messages come as JSON text, as decoded lists, and from older producers as flattened attributes
(`gen_ai.prompt.0.content`, `llm.output_messages.0.message.content`).
"""

import re
from typing import Any, Final

import msgspec

_decode = msgspec.json.Decoder().decode
MAX_MESSAGES: Final = 200
_FLAT: Final = re.compile(
    r"^(?:gen_ai\.(?P<gen>prompt|completion)|llm\.(?P<llm>input|output)_messages)\.(?P<at>\d{1,3})\.(?P<rest>.{1,200})$"
)
FLAT_PREFIXES: Final = (
    "gen_ai.prompt.",
    "gen_ai.completion.",
    "llm.input_messages.",
    "llm.output_messages.",
)
# One of these is there when messages are flattened.
FLAT_FIRST: Final = frozenset(
    {f"gen_ai.{side}.0.{part}" for side in ("prompt", "completion") for part in ("role", "content")}
    | {
        f"llm.{side}_messages.0.message.{part}"
        for side in ("input", "output")
        for part in ("role", "content", "contents.0.message_content.text")
    }
)


def parsed(value: Any) -> Any:
    """The value behind JSON text; text that is no JSON, or too deep, stays text."""
    if value.__class__ is not str or value[:1] not in ("{", "["):
        return value
    try:
        return _decode(value)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return value


def words(messages: Any, roles: frozenset[str] | None = None) -> str | None:
    """Text parts of the messages (of those roles), a line each; None when there are none."""
    found: list[str] = []
    value = parsed(messages)
    if value.__class__ is str:
        return str(value) or None
    if value.__class__ is dict:
        value = [value]
    if value.__class__ is not list:
        return None
    for message in value[:MAX_MESSAGES]:
        if message.__class__ is not dict:
            continue
        role = message.get("role")
        if roles and (role.__class__ is not str or role not in roles):
            continue
        found.extend(_parts(message.get("parts", message.get("content"))))
    return "\n".join(found) or None


def _parts(parts: Any) -> list[str]:
    if parts.__class__ is str:
        return [parts] if parts else []
    if parts.__class__ is not list:
        return []
    found = []
    for part in parts[:MAX_MESSAGES]:
        text = part
        if part.__class__ is dict and part.get("type", "text") == "text":
            text = part.get("content", part.get("text"))
        if text.__class__ is str and text:
            found.append(text)
    return found


def unflatten(flat: dict[str, Any]) -> tuple[list[Any] | None, list[Any] | None]:
    """(input, output) messages out of flattened attributes."""
    sides: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
    for name, value in flat.items():
        match = _FLAT.match(name)
        if not match:
            continue
        out = match["gen"] == "completion" or match["llm"] == "output"
        message = sides[out].setdefault(int(match["at"]), {})
        message[match["rest"].removeprefix("message.")] = value
    inputs, outputs = ([side[at] for at in sorted(side)][:MAX_MESSAGES] for side in sides)
    return inputs or None, outputs or None
