"""How a field of a contract stands in ClickHouse and in the Arrow table that is inserted there.

One rule each way, so that contracts, migrations and inserts cannot drift apart:
absent text is '', absent lists and maps are empty; absent numbers, flags and times stay NULL,
because 0 and false mean something. A closed vocabulary is LowCardinality. A record inside a record
is JSON text, unless it is small enough to be a tuple (reasons, observables, rules).
"""

import types
import typing
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
import pyarrow as pa

from tachograph.schemas.action import Action
from tachograph.schemas.alert import Observable, Reason, RuleHit
from tachograph.schemas.fields import Record
from tachograph.schemas.records import IncidentJoin, SharedValue

TIME_TYPE = "DateTime64(6, 'UTC')"
TIME_ARROW = pa.timestamp("us", "UTC")
# Records small and flat enough to be read as columns of a tuple.
TUPLES = (Observable, Reason, RuleHit, SharedValue, IncidentJoin)
# Never negative, and compared as what they are: offsets shifted left.
UNSIGNED = frozenset({"revision"})

# Fields of Action that carry text of any length: compressed harder than ids.
LONG_TEXT = frozenset(
    {
        "tool_args", "tool_result", "tool_description", "tool_schema", "tool_definitions",
        "content_text", "system_instructions", "input_messages", "output_messages",
        "memory_value", "retrieval_query", "process_command_line", "error_message", "change_diff",
        "policy_reason", "model_settings", "target_url", "agent_purpose", "scan_finding",
    }
)  # fmt: skip
# Fields with few different values within a part: read and grouped as numbers.
FEW_VALUES = frozenset(
    {
        "tenant", "raw_topic", "authenticated_as", "operation", "error_type", "environment",
        "source_kind", "source_id", "principal_type", "principal_role", "agent_kind",
        "agent_version", "agent_role", "agent_framework", "agent_owner", "agent_privilege_tier",
        "service_name", "session_trigger", "tool_name", "tool_type", "tool_server",
        "tool_approval_mode", "mcp_method", "mcp_protocol_version", "transport",
        "target_resource_type", "target_env", "target_visibility", "currency", "src_country",
        "http_method", "file_op", "content_role", "content_direction", "content_category",
        "content_language", "guardrail_name", "guardrail_verdict", "guardrail_mode", "memory_op",
        "memory_scope", "memory_source_trust", "model_name", "model_served", "model_provider",
        "model_version", "model_region", "policy_decision", "approval_decision", "control_action",
        "control_state", "artifact_type", "change_actor_kind", "change_author_kind",
        "change_action", "vector_op", "scan_severity", "rule_id", "rule_version", "title",
        "entity_type", "owner_team", "runbook", "component", "stage",
    }
)  # fmt: skip
# What a stored action cannot be without: its sort key and what FINAL goes by.
REQUIRED = ("event_id", "tenant", "partition_key", "event_time", "observed_time")


class Column(NamedTuple):
    """A column: its ClickHouse type and codec, its Arrow type, and the comment analysts see."""

    name: str
    type: str
    arrow: pa.DataType
    codec: str
    comment: str
    default: str = ""

    @property
    def clause(self) -> str:
        """The column as CREATE TABLE and ADD COLUMN have it."""
        default = f" DEFAULT {self.default}" if self.default else ""
        return (
            f"`{self.name}` {self.type}{default} COMMENT {quoted(self.comment)} CODEC({self.codec})"
        )

    @property
    def shown(self) -> str:
        """The column as CREATE VIEW has it."""
        return f"`{self.name}` {self.type} COMMENT {quoted(self.comment)}"


def quoted(text: str) -> str:
    """The text as a ClickHouse string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\0", "\\0")
    return f"'{escaped}'"


def columns_of(contract: type[Record]) -> list[Column]:
    """The columns that hold a contract, in its order."""
    hints = typing.get_type_hints(contract, include_extras=True)
    required = frozenset(REQUIRED) if contract is Action else frozenset[str]()
    columns = [_column(name, hint, required=name in required) for name, hint in hints.items()]
    return [_cropped(one) for one in columns] if contract is Action else columns


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Arrow schema of some columns."""
    return pa.schema([(column.name, column.arrow) for column in columns])


def _column(name: str, hint: Any, *, required: bool) -> Column:
    comment = " ".join(filter(None, (_said(hint, "description"), _unit(hint))))
    bare, optional = bare_type(hint)
    kind, arrow = _types(name, bare)
    if optional and not required and _can_be_null(bare):
        kind = f"Nullable({kind})"
    return Column(name, kind, arrow, _codec(name, bare), comment)


def _cropped(column: Column) -> Column:
    """Numbers of actions are small and often absent: as many bits as the largest nearby has."""
    small = column.type == "Nullable(Int64)" and column.codec == "ZSTD(1)"
    return column._replace(codec="T64, ZSTD(1)") if small else column


def _said(hint: Any, what: str) -> str:
    metas = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, msgspec.Meta)]
    return next((str(getattr(meta, what)) for meta in metas if getattr(meta, what)), "")


def _unit(hint: Any) -> str:
    metas = [m for m in getattr(hint, "__metadata__", ()) if isinstance(m, msgspec.Meta)]
    units = [meta.extra_json_schema.get("x-unit") for meta in metas if meta.extra_json_schema]
    return f"[{units[0]}]" if units and units[0] else ""


def bare_type(hint: Any) -> tuple[Any, bool]:
    """An annotation without its wrapping, and whether it may be None."""
    if get_origin(hint) is Annotated:
        return bare_type(get_args(hint)[0])
    if get_origin(hint) in (typing.Union, types.UnionType):
        [inner] = [arg for arg in get_args(hint) if arg is not type(None)]
        return bare_type(inner)[0], True
    return hint, False


def _can_be_null(bare: Any) -> bool:
    return bare in (int, float, bool, datetime)


_SCALARS: dict[Any, tuple[str, pa.DataType]] = {
    str: ("String", pa.string()),
    bytes: ("String", pa.binary()),
    int: ("Int64", pa.int64()),
    float: ("Float64", pa.float64()),
    bool: ("Bool", pa.bool_()),
    datetime: (TIME_TYPE, TIME_ARROW),
}


def _types(name: str, bare: Any) -> tuple[str, pa.DataType]:
    """ClickHouse and Arrow type of an unwrapped annotation."""
    if name in UNSIGNED:
        return "UInt64", pa.uint64()
    if get_origin(bare) is Literal or (bare is str and name in FEW_VALUES):
        return "LowCardinality(String)", pa.string()
    if bare in _SCALARS:
        return _SCALARS[bare]
    if get_origin(bare) is list:
        inner, arrow = _types("", bare_type(get_args(bare)[0])[0])
        return f"Array({inner})", pa.list_(arrow)
    if get_origin(bare) is dict:
        inner, arrow = _types("", get_args(bare)[1])
        return f"Map(String, {inner})", pa.map_(pa.string(), arrow)
    if bare in TUPLES:
        return _tuple(bare)
    return "String", pa.string()


def _tuple(contract: type[Record]) -> tuple[str, pa.DataType]:
    parts = {
        name: _types(name, bare_type(hint)[0])
        for name, hint in typing.get_type_hints(contract, include_extras=True).items()
    }
    inner = ", ".join(f"{name} {kind}" for name, (kind, _) in parts.items())
    return f"Tuple({inner})", pa.struct([(name, arrow) for name, (_, arrow) in parts.items()])


def _codec(name: str, bare: Any) -> str:
    if bare is datetime:
        return "Delta(8), ZSTD(1)"
    if name in ("raw_offset", "offset", "log_offset", "sequence"):
        return "Delta(8), ZSTD(1)"
    if name in LONG_TEXT or (isinstance(bare, type) and issubclass(bare, msgspec.Struct)):
        return "ZSTD(3)"
    return "ZSTD(1)"
