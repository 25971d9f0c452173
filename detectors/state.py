"""What an agent was, as far as the actions of its session tell: tools with the hashes of their
definitions, model, policies, approvals, memory, credentials, who it works for and who works for it,
calls without a result, usage.

Made when it is asked for, from the rows that `Recent` still holds; nothing here is kept.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import polars as pl

from tachograph.schemas.codec import canonical
from tachograph.schemas.identity import plain_id

# Things of one kind that are looked at, the newest of a session.
MAX_THINGS = 64
MAX_TOOLS = 200
MAX_NAME_CHARS = 120
MAX_VALUE_CHARS = 160
# Definitions as one text, beyond which they are named by a hash of the whole.
MAX_DEFINITIONS_CHARS = 262_144
MAX_CACHED = 256

# Columns that are kept as they are, and those that are cut.
WHOLE = (
    "agent_id", "agent_version", "agent_instance_id", "agent_prompt_hash", "principal_id",
    "parent_agent_id", "peer_agent_id", "delegation_chain", "attempt", "tool_call_id",
    "tool_server", "tool_definition_hash", "memory_op", "memory_key", "policy_id",
    "policy_version", "approval_id", "approval_decision", "approval_actor", "guardrail_name",
    "guardrail_mode", "guardrail_config_hash", "model_served", "model_provider", "model_version",
    "model_region", "credential_id", "credential_fingerprint", "credential_scopes",
    "usage_input_tokens", "usage_output_tokens", "usage_cached_tokens", "usage_reasoning_tokens",
    "usage_cost_usd",
)  # fmt: skip
SHORT = ("memory_value", "model_settings", "agent_purpose")
# Made of long texts, which are not kept: hashes of what the model was given.
TOOLS, PROMPT = "~tools", "~prompt"
MADE = {TOOLS: pl.String(), PROMPT: pl.String()}

_SESSION = "~session"
_LAST = (
    "agent_version", "agent_instance_id", "agent_prompt_hash", "principal_id", "parent_agent_id",
    "delegation_chain", "agent_purpose", TOOLS, PROMPT,
)  # fmt: skip
_MODEL = {
    "name": "model_name", "served": "model_served", "provider": "model_provider",
    "version": "model_version", "region": "model_region", "settings": "model_settings",
}  # fmt: skip
_USAGE = {
    "input_tokens": "usage_input_tokens", "output_tokens": "usage_output_tokens",
    "cached_tokens": "usage_cached_tokens", "reasoning_tokens": "usage_reasoning_tokens",
    "cost_usd": "usage_cost_usd",
}  # fmt: skip
# What there may be several of: the column that must have a value, and what is told of each.
_THINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "tool": ("tool_definition_hash", ("tool_name", "tool_server")),
    "call": ("tool_call_id", ("kind", "tool_name", "outcome")),
    "memory": ("memory_key", ("memory_op", "memory_value")),
    "policy": ("policy_id", ("policy_version",)),
    "guardrail": ("guardrail_name", ("guardrail_mode", "guardrail_config_hash")),
    "approval": ("approval_id", ("approval_decision", "approval_actor", "tool_name")),
    "credential": ("credential_fingerprint", ("credential_scopes",)),
    "key": ("credential_id", ("credential_scopes",)),
    "peer": ("peer_agent_id", ("kind",)),
}  # fmt: skip
_ENDED = frozenset({"succeeded", "failed", "denied", "cancelled"})

Row = Mapping[str, Any]


class Digests:
    """Hashes of long texts that agents send again and again; the newest are remembered."""

    def __init__(self) -> None:
        self._tools: dict[str, str] = {}

    def made(self, frame: pl.DataFrame) -> list[pl.Series]:
        """The columns of MADE, those that have a value."""
        found = []
        if (given := _given(frame, "tool_definitions")) is not None:
            found.append(_mapped(given, self._inventory).alias(TOOLS))
        if (given := _given(frame, "system_instructions")) is not None:
            found.append(_mapped(given, plain_id).alias(PROMPT))
        return found

    def _inventory(self, text: str) -> str:
        key = plain_id(text)
        if key not in self._tools:
            self._tools[key] = msgspec.json.encode(definition_hashes(text)).decode()
            if len(self._tools) > MAX_CACHED:
                del self._tools[next(iter(self._tools))]
        return self._tools[key]


def _given(frame: pl.DataFrame, name: str) -> pl.Series | None:
    column = frame.get_column(name, default=None)
    return None if column is None or column.null_count() == frame.height else column


def _mapped(column: pl.Series, of: Callable[[str], str]) -> pl.Series:
    texts = column.drop_nulls().unique().to_list()
    made = pl.Series(map(of, texts), dtype=pl.String)
    return column.replace_strict(texts, made, default=None, return_dtype=pl.String)


def definition_hashes(text: str) -> dict[str, str]:
    """Tool → hash of its definition, from definitions as they are offered to a model (JSON text).

    What cannot be read as definitions is one entry, `*`, with the hash of the whole.
    """
    try:
        found = msgspec.json.decode(text) if len(text) <= MAX_DEFINITIONS_CHARS else None
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        found = None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        return {"*": plain_id(text)}
    named = {_tool_name(one): plain_id(canonical(one).decode()) for one in found[:MAX_TOOLS]}
    if len(found) > MAX_TOOLS:
        named["*"] = plain_id(text)
    return named


def _tool_name(definition: Mapping[str, Any]) -> str:
    inner = definition.get("function")
    name = definition.get("name") or (inner.get("name") if isinstance(inner, dict) else None)
    return name[:MAX_NAME_CHARS] if isinstance(name, str) and name else "?"


# Fields of a StateSnapshot by name.
Known = dict[str, Any]


def states(rows: pl.DataFrame, sessions: pl.Series) -> dict[int, Known]:
    """What is known by session number. `rows`: in the order of their times; `sessions`: each
    row's.
    """
    have = set(rows.columns)
    lasts = [name for name in (*_LAST, *_MODEL.values()) if name in have]
    asked = [pl.col(name).drop_nulls().last() for name in lasts]
    asked += [
        pl.when(pl.col(name).count() > 0).then(pl.col(name).sum()).alias(name)
        for name in _USAGE.values()
        if name in have
    ]
    for kind, (needed, told) in _THINGS.items():
        if needed in have:
            thing = pl.struct(needed, *(name for name in told if name in have))
            asked.append(thing.filter(pl.col(needed).is_not_null()).tail(MAX_THINGS).alias(kind))
    grouped = rows.with_columns(sessions.alias(_SESSION)).group_by(_SESSION).agg(asked)
    return {row[_SESSION]: _known(row) for row in grouped.iter_rows(named=True)}


def _known(row: Row) -> Known:
    purpose = row.get("agent_purpose")
    return {
        "agent_instance_id": row.get("agent_instance_id"),
        "agent_version": row.get("agent_version"),
        "principal_id": row.get("principal_id"),
        "goals": [f"declared purpose: {purpose}"] if purpose else [],
        "memory": _memory(row),
        "tools": _tools(row),
        "policies": _policies(row),
        "approvals": _approvals(row),
        "model": {name: text for name, column in _MODEL.items() if (text := row.get(column))},
        "credentials": _credentials(row),
        "delegation_chain": _chain(row),
        "open_calls": _open_calls(row),
        "usage": {
            name: float(value)
            for name, column in _USAGE.items()
            if (value := row.get(column)) is not None
        },
        "system_prompt_hash": row.get("agent_prompt_hash") or row.get(PROMPT),
        "delegates": _delegates(row),
    }


def _things(row: Row, kind: str) -> Iterable[Row]:
    return row.get(kind) or ()


def _tools(row: Row) -> dict[str, str]:
    """Tool (server/tool, where the server is named) → hash of its definition."""
    given = row.get(TOOLS)
    found: dict[str, str] = msgspec.json.decode(given) if given else {}
    for one in _things(row, "tool"):
        server, name = one.get("tool_server"), one.get("tool_name") or "?"
        found[_cut(f"{server}/{name}" if server else name)] = one["tool_definition_hash"]
    return found


def _memory(row: Row) -> dict[str, str]:
    """Key → what was last written there; what was only read is named as that."""
    found: dict[str, str] = {}
    for one in _things(row, "memory"):
        key, does, value = _cut(one["memory_key"]), one.get("memory_op"), one.get("memory_value")
        if does == "delete":
            found[key] = "(deleted)"
        elif value:
            found[key] = value
        else:
            found.setdefault(key, f"({does or 'used'})")
    return found


def _policies(row: Row) -> dict[str, str]:
    """Policies and guardrails in force, by their newest version or mode."""
    found = {
        _cut(one["policy_id"]): one.get("policy_version") or "unversioned"
        for one in _things(row, "policy")
    }
    for one in _things(row, "guardrail"):
        told = (one.get("guardrail_mode"), one.get("guardrail_config_hash"))
        found[_cut(f"guardrail/{one['guardrail_name']}")] = " ".join(filter(None, told)) or "seen"
    return found


def _approvals(row: Row) -> list[str]:
    newest = {one["approval_id"]: one for one in _things(row, "approval")}
    return [
        _cut(
            f"{name}: {one.get('approval_decision') or 'used'}"
            + (f" by {one['approval_actor']}" if one.get("approval_actor") else "")
            + (f" for {one['tool_name']}" if one.get("tool_name") else "")
        )
        for name, one in newest.items()
    ]


def _credentials(row: Row) -> dict[str, str]:
    """Fingerprint, else the id of the credential → its scopes. Never a secret."""
    found = {
        _cut(f"id:{one['credential_id']}"): ", ".join(one.get("credential_scopes") or ())
        for one in _things(row, "key")
    }
    for one in _things(row, "credential"):
        found[one["credential_fingerprint"]] = ", ".join(one.get("credential_scopes") or ())
    return found


def _chain(row: Row) -> list[str]:
    chain = row.get("delegation_chain") or []
    parent = row.get("parent_agent_id")
    return [_cut(name) for name in chain] or ([_cut(parent)] if parent else [])


def _open_calls(row: Row) -> list[str]:
    """Calls that were made and of which no end is known, oldest first."""
    waiting: dict[str, str] = {}
    for one in _things(row, "call"):
        call = one["tool_call_id"]
        if one.get("kind") == "tool_result" or one.get("outcome") in _ENDED:
            waiting.pop(call, None)
        elif one.get("kind") == "tool_call":
            waiting[call] = one.get("tool_name") or "?"
    return [_cut(f"{tool} ({call})") for call, tool in waiting.items()]


def _delegates(row: Row) -> list[str]:
    called = (one for one in _things(row, "peer") if one.get("kind") in ("agent_call", "message"))
    return list(dict.fromkeys(_cut(one["peer_agent_id"]) for one in called))


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARS else name[: MAX_NAME_CHARS - 1] + "…"
