"""Words out of message lists: what a model said, what a user asked.

Messages come as JSON text, as decoded lists, and from older producers as flattened attributes
(`gen_ai.prompt.0.content`, `llm.output_messages.0.message.content`).
"""

import re
from collections.abc import Iterable
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
# Types of a message's part that are words.
_SPOKEN: Final = ("text", "input_text", "output_text")
# What a flattened name says twice, or as no key of a message.
_LEVELS: Final = frozenset({"message", "message_content", "tool_call"})
MAX_LEVELS: Final = 6
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
    if parts.__class__ is dict:
        parts = [parts]
    if parts.__class__ is not list:
        return []
    found = []
    for part in parts[:MAX_MESSAGES]:
        text = part
        if part.__class__ is dict and part.get("type", "text") in _SPOKEN:
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
        _put_at(message, match["rest"], value)
    inputs, outputs = ([_listed(side[at]) for at in sorted(side)] for side in sides)
    return inputs[:MAX_MESSAGES] or None, outputs[:MAX_MESSAGES] or None


def _put_at(message: dict[str, Any], path: str, value: Any) -> None:
    """A value at its place in a message; a number among the names is a place in a list."""
    names = [name for name in path.split(".", MAX_LEVELS) if name not in _LEVELS]
    if not names:
        return
    *outer, last = ["content" if name == "contents" else name for name in names]
    inner: Any = message
    for name in outer:
        inner = inner.setdefault(name, {})
        if inner.__class__ is not dict:
            return
    inner[last] = value


def _listed(value: Any) -> Any:
    """Objects whose keys all are numbers are lists."""
    if value.__class__ is not dict:
        return value
    if value and all(name.isdecimal() for name in value):
        return [_listed(value[name]) for name in sorted(value, key=int)]
    return {name: _listed(inner) for name, inner in value.items()}


def of_events(events: Iterable[tuple[str, dict[str, Any]]]) -> tuple[list[Any], list[Any]]:
    """(input, output) messages of a span's events, by name and attributes: an event for each
    message, or one with all of them.
    """
    inputs: list[Any] = []
    outputs: list[Any] = []
    for name, said in events:
        if name in _ASKED:
            inputs.append({"role": _ASKED[name], **said})
        elif name == "gen_ai.choice":
            message = parsed(said.get("message"))
            told = message if message.__class__ is dict else {"content": message}
            outputs.append({"role": "assistant", **said, **told})
        for names, side in ((_ALL_ASKED, inputs), (_ALL_ANSWERED, outputs)):
            for one in names & said.keys():
                found = parsed(said[one])
                side.extend(found if found.__class__ is list else [found])
    return inputs[:MAX_MESSAGES], outputs[:MAX_MESSAGES]


_ASKED: Final = {f"gen_ai.{role}.message": role for role in ("system", "user", "assistant", "tool")}
_ALL_ASKED: Final = frozenset({"gen_ai.input.messages", "gen_ai.prompt"})
_ALL_ANSWERED: Final = frozenset({"gen_ai.output.messages", "gen_ai.completion"})


def answered(response: Any) -> tuple[Any, list[str]]:
    """(messages, finish reasons) of what a model's interface answered, whichever it is: chat
    completions, responses, Anthropic messages, Gemini, Bedrock, or the words alone.
    """
    if response.__class__ is str and response.startswith(_STREAM):
        return _streamed(response)
    if response.__class__ is not dict:
        return (response or None) if response.__class__ in (str, list) else None, []
    found: list[Any] = []
    why: list[Any] = []
    for choice in _dicts(response.get("choices")):
        found.append(choice.get("message", {"role": "assistant", "content": choice.get("text")}))
        why.append(choice.get("finish_reason"))
    found += _dicts(response.get("output"))
    for candidate in _dicts(response.get("candidates")):
        found.append(candidate.get("content"))
        why.append(candidate.get("finishReason"))
    inner = response.get("output")
    if inner.__class__ is dict:
        found.append(inner.get("message"))
    if not found and "content" in response:
        asked = {"tool_calls": response["tool_calls"]} if response.get("tool_calls") else {}
        found.append({"role": "assistant", "content": response["content"], **asked})
    why += [response.get("stop_reason"), response.get("stopReason")]
    return [m for m in found if m.__class__ is dict] or None, [w for w in why if w.__class__ is str]


_STREAM: Final = ("data:", "event:")
MAX_CHUNKS: Final = 20_000


def _streamed(text: str) -> tuple[Any, list[str]]:
    """The same of server-sent events: the words of all chunks in one message, and each tool that is
    asked for with all of its arguments, since a word that is cut in two is found by nobody. What
    has neither, or too many chunks, stays as it came.
    """
    lines = text.split("\n", MAX_CHUNKS)
    if len(lines) > MAX_CHUNKS:
        return text, []
    said: list[str] = []
    why: list[str] = []
    tools: dict[int, dict[str, Any]] = {}
    for line in lines:
        chunk = parsed(line.removeprefix("data:").strip()) if line.startswith("data:") else None
        if chunk.__class__ is not dict:
            continue
        # Responses and Anthropic messages give a piece at the top, chat completions by choice.
        choices = _dicts(chunk.get("choices"))
        for piece in (chunk.get("delta"), *(one.get("delta") for one in choices)):
            words = piece.get("content", piece.get("text")) if piece.__class__ is dict else piece
            if words.__class__ is str:
                said.append(words)
            if piece.__class__ is dict:
                for at, tool in enumerate(_dicts(piece.get("tool_calls"))):
                    _add_tool(tools, tool.get("index", at), tool.get("id"), tool.get("function"))
        _block(tools, chunk)
        why += [w for one in choices if (w := one.get("finish_reason")).__class__ is str]
    if not any(said) and not tools:
        return text, why
    message: dict[str, Any] = {"role": "assistant", "content": "".join(said)}
    if tools:
        message["tool_calls"] = [_whole(tool) for tool in tools.values()]
    return [message], why


def _block(tools: dict[int, dict[str, Any]], chunk: dict[str, Any]) -> None:
    """A piece of a tool's call as Anthropic messages give it."""
    begun, piece = chunk.get("content_block"), chunk.get("delta")
    if begun.__class__ is dict and begun.get("type") == "tool_use":
        _add_tool(tools, chunk.get("index"), begun.get("id"), {"name": begun.get("name")})
    elif piece.__class__ is dict and piece.get("type") == "input_json_delta":
        _add_tool(tools, chunk.get("index"), None, {"arguments": piece.get("partial_json")})


def _add_tool(tools: dict[int, dict[str, Any]], at: Any, ident: Any, function: Any) -> None:
    if at.__class__ is not int or function.__class__ is not dict:
        return
    tool = tools.setdefault(at, {"arguments": []})
    given = {"id": ident, "name": function.get("name")}
    tool |= {name: value for name, value in given.items() if value.__class__ is str}
    if function.get("arguments").__class__ is str:
        tool["arguments"].append(function["arguments"])


def _whole(tool: dict[str, Any]) -> dict[str, Any]:
    function = {"name": tool.get("name"), "arguments": "".join(tool["arguments"])}
    return {"id": tool.get("id"), "type": "function", "function": function}


def _dicts(value: Any) -> list[dict[str, Any]]:
    found = value if value.__class__ is list else []
    return [one for one in found[:MAX_MESSAGES] if one.__class__ is dict]
