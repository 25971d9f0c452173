"""The parts of a session: who said what to the agent, what tools brought in, which calls it made.

Read from a frame of actions; a chat request that carries the whole conversation again gives the
same parts again, which count once when they are read.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.facts import FACT_COLUMNS, Facts, FactTable
from tachograph.detectors.frames import Some
from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.provenance import definitions
from tachograph.detectors.reference.joins import nulls
from tachograph.detectors.sessions.together import KEY
from tachograph.detectors.sessions.waiting import SESSION
from tachograph.schemas.batch import COLUMNS

Role = Literal["user", "content", "trusted", "call", "definition"]

# Of one text; the middle of a longer one is left out.
MAX_TEXT_CHARS = 16_000
_TAIL_CHARS = 4_000
# Messages read of one request, the last ones.
MAX_MESSAGES = 200
# Longer JSON is not read.
MAX_JSON_CHARS = 1_000_000


class _Row(NamedTuple):
    """What is read of an action."""

    event_id: str
    kind: str | None
    tool_name: str | None
    tool_args: str | None
    tool_result: str | None
    tool_call_id: str | None
    content_text: str | None
    content_role: str | None
    content_direction: str | None
    content_trust: str | None
    input_messages: str | None
    output_messages: str | None
    system_instructions: str | None
    tool_definitions: str | None
    tool_description: str | None
    memory_value: str | None
    process_command_line: str | None
    target_url: str | None
    late: bool | None
    far: bool | None


# Kinds that are calls of themselves, by the column that says what is called for.
_DEEDS = {"process": "process_command_line", "http": "target_url"}
_CALL = ("event_id", "kind", "tool_name", "tool_args", "tool_call_id", *_DEEDS.values())
_AT = {kind: at for at, kind in enumerate(_DEEDS)}
_TELLING = (
    "tool_result", "content_text", "input_messages", "output_messages", "system_instructions",
    "memory_value", "tool_definitions",
)  # fmt: skip
_NEEDED = (
    *_TELLING, "tool_description", "kind", "session_id", "trace_id", "event_id", "event_time",
    "late", "far", "tenant", "partition_key",
)  # fmt: skip
_READ = frozenset({*_Row._fields, *FACT_COLUMNS, *_NEEDED})
_TRUSTED = frozenset({"system", "user", "trusted"})


class Part(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One of them. `text`: words, a tool's answer, a call's arguments as JSON in any spelling, or
    what the definition of a tool orders.
    """

    role: Role
    text: str
    tool: str = ""
    # Of a call its id; of an answer that of the call it answers.
    call_id: str = ""
    cut: bool = False


class Step(msgspec.Struct, array_like=True, gc=False):
    """What one action adds to its session."""

    facts: Facts
    parts: list[Part]

    @property
    def order(self) -> tuple[int, str]:
        """Its place in the session."""
        return self.facts.time_us, self.facts.event_id


class Steps(msgspec.Struct, frozen=True):
    """Steps of a batch, and sessions with actions that came too late to be a part of them."""

    steps: list[Step]
    untimely: list[Facts]


# Made once: that takes longer than the answer.
_HERE = (
    pl.coalesce("session_id", "trace_id").is_not_null()
    & pl.col("event_id").is_not_null()
    & pl.col("event_time").is_not_null()
)
_TELLING_ROW = pl.any_horizontal(
    pl.col(_TELLING).is_not_null(),
    # What a call repeats of it was said where the tool was offered.
    pl.col("tool_description").is_not_null()
    & (pl.col("kind") == "tool_listing").fill_null(value=False),
)
_TELLS = _HERE & _TELLING_ROW
_DOES = (
    _HERE
    & ~_TELLING_ROW
    & pl.col("kind").is_in(["tool_call", *_DEEDS]).fill_null(value=False)
    & ~(pl.col("late").fill_null(value=False) | pl.col("far").fill_null(value=False))
)


def split(actions: pl.DataFrame) -> tuple[Some, Some]:
    """Actions that tell something (words, answers, requests), and those that only do: calls whose
    answer is not with them. What does neither, or is of no session, is left out.

    `actions`: columns of an action batch, absent ones allowed.
    """
    names = [name for name in actions.columns if name in _READ]
    missing = {name: COLUMNS[name] for name in _NEEDED if name not in names}
    whole = actions[names].hstack(nulls(missing, actions.height))
    asked = whole.select(_TELLS.alias("tells"), _DOES.alias("does"), SESSION)
    tells, does = asked["tells"].to_numpy(), asked["does"].to_numpy()
    return Some.of(whole, tells), Some.of(whole.hstack(asked[[KEY]]), does)


def steps_of(frame: pl.DataFrame) -> Steps:
    """What actions add to their sessions."""
    if frame.is_empty():
        return Steps([], [])
    steps, untimely = [], []
    rows = map(_Row._make, _rows(frame, _Row._fields))
    for row, fact in zip(rows, _facts(frame), strict=True):
        parts = list(_parts(row))
        if not parts:
            continue
        if row.late or row.far:
            untimely.append(fact)
        else:
            steps.append(Step(fact, parts))
    return Steps(steps, untimely)


def calls_of(frame: pl.DataFrame) -> list[Step]:
    """What calls add to their sessions, as `split` sets them apart: of each it is known that it is
    one and tells nothing.
    """
    if frame.is_empty():
        return []
    steps = []
    for row, fact in zip(_rows(frame, _CALL), _facts(frame), strict=True):
        event_id, kind, tool, arguments, call_id, *deeds = row
        text = _spelled(arguments) if kind == "tool_call" else _deed(kind, deeds[_AT[kind]])
        if text:
            steps.append(Step(fact, [_part("call", text, tool or kind, call_id or event_id)]))
    return steps


def _rows(frame: pl.DataFrame, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """These columns row by row; one that is not there is without values."""
    have, height = frozenset(frame.columns), frame.height
    columns = (
        frame.get_column(name).to_list() if name in have else itertools.repeat(None, height)
        for name in names
    )
    return zip(*columns, strict=True)


def _facts(frame: pl.DataFrame) -> list[Facts]:
    return FactTable(frame, np.arange(frame.height), ACTIONS).all()


def _parts(row: _Row) -> Iterator[Part]:
    """What was said before what was done, what was done before what it brought in."""
    if row.system_instructions:
        yield _part("trusted", row.system_instructions)
    yield from _offered(row)
    if row.input_messages:
        yield from _messages(row.input_messages, answers=False)
    kind = row.kind
    if kind == "prompt" and row.content_text:
        system = row.content_role == "system"
        yield _part("trusted" if system else "user", row.content_text)
    if row.output_messages:
        yield from _messages(row.output_messages, answers=True)
    call_id = row.tool_call_id or row.event_id
    tool = row.tool_name or kind or ""
    if kind == "tool_call":
        yield _part("call", _spelled(row.tool_args), tool, call_id)
    elif kind in _DEEDS and (deed := getattr(row, _DEEDS[kind])):
        yield _part("call", _deed(kind, deed), tool, call_id)
    brought = row.tool_result or _brought(row)
    if brought:
        role: Role = "trusted" if row.content_trust in _TRUSTED else "content"
        yield _part(role, brought, tool, call_id)


def _offered(row: _Row) -> Iterator[Part]:
    """What definitions of tools order."""
    if row.tool_definitions:
        for order in definitions.orders(row.tool_definitions):
            yield Part("definition", order.text, order.tool)
        if definitions.too_long(row.tool_definitions):
            yield Part("trusted", "", cut=True)
    if row.kind == "tool_listing" and row.tool_description:
        for order in definitions.of_description(row.tool_name or "", row.tool_description):
            yield Part("definition", order.text, order.tool)


def _deed(kind: str, deed: str | None) -> str:
    """What a call of itself is for, as arguments; empty where that is not known."""
    return msgspec.json.encode({kind: deed}).decode() if deed else ""


def _brought(row: _Row) -> str | None:
    """Text of others that is no result of a tool."""
    text: str | None = None
    match row.kind:
        case "tool_result" | "retrieval":
            text = row.content_text
        case "memory_read":
            text = row.memory_value or row.content_text
        case "message" | "agent_call" if row.content_direction != "out":
            text = row.content_text
    return text


def _spelled(arguments: str | None) -> str:
    """Arguments of a call as they were spelled, which is all that most calls are asked for; of too
    long ones nothing is cut before they are `canonical`.
    """
    if not arguments:
        return "{}"
    return arguments if len(arguments) <= MAX_TEXT_CHARS else canonical(arguments)


def canonical(arguments: str) -> str:
    """Arguments of a call in one spelling, so that two reports of it are equal."""
    try:
        value = msgspec.json.decode(arguments)
        return msgspec.json.encode(value, order="deterministic").decode()
    except (msgspec.DecodeError, RecursionError):
        return arguments


def _messages(text: str, *, answers: bool) -> Iterator[Part]:
    """Parts of the messages of a request, or of the model's answers to it."""
    if len(text) > MAX_JSON_CHARS:
        yield Part("trusted", "", cut=True)
        return
    try:
        messages = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        yield Part("trusted", "", cut=True)
        return
    for message in messages[-MAX_MESSAGES:] if isinstance(messages, list) else ():
        if not isinstance(message, dict):
            continue
        role = message.get("role")
        for part in _pieces(message):
            found = _answered(part) if answers else _told(role, part)
            if found is not None:
                yield found


def _pieces(message: Mapping[str, Any]) -> list[Any]:
    """A message's parts: those of GenAI spans, or the content of older formats."""
    parts = message.get("parts", message.get("content"))
    calls = message.get("tool_calls")
    found = parts if isinstance(parts, list) else [parts]
    return [*found, *(calls if isinstance(calls, list) else ())][:MAX_MESSAGES]


def _told(role: object, part: Any) -> Part | None:
    """Of a request: the user's words, the operator's, a tool's answer."""
    if isinstance(part, dict) and part.get("type") in ("tool_call_response", "tool_result"):
        answer = part.get("response", part.get("result", part.get("content")))
        return _part("content", _text(answer), "", str(part.get("id") or "")) if answer else None
    words = part.get("content", part.get("text")) if isinstance(part, dict) else part
    if not isinstance(words, str) or not words:
        return None
    match role:
        case "user":
            return _part("user", words)
        case "system" | "developer":
            return _part("trusted", words)
        case "tool" | "function":
            return _part("content", words)
    return None


def _answered(part: Any) -> Part | None:
    """Of an answer: the calls that it asks for."""
    if not isinstance(part, dict):
        return None
    inner = part.get("function")
    called = inner if isinstance(inner, dict) else part
    if part.get("type") not in ("tool_call", "function", "tool_use"):
        return None
    name, arguments = called.get("name"), called.get("arguments", called.get("input"))
    if not isinstance(name, str):
        return None
    return _part("call", canonical(_text(arguments or {})), name, str(part.get("id") or ""))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _part(role: Role, text: str, tool: str = "", call_id: str = "") -> Part:
    if len(text) <= MAX_TEXT_CHARS:
        return Part(role, text, tool, call_id)
    kept = f"{text[: MAX_TEXT_CHARS - _TAIL_CHARS]}\n\n{text[-_TAIL_CHARS:]}"
    return Part(role, kept, tool, call_id, cut=True)
