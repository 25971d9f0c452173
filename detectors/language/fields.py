"""Which column, or which part of one, a field name of a rule means.

ACTIONS: Sigma's `tool.name` is column `tool_name`; `tool.args.path` looks into the JSON text of the
arguments; `register.known` and its like are what reference data says of the action; a name nobody
knows is looked up in `attributes`. RAW: any JSON objects, flattened, names as they are.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from tachograph.detectors.reference import catalogue
from tachograph.detectors.texts import PREFIX
from tachograph.schemas.batch import ATTRIBUTES, JUDGED

# Names that catalogues and other packs use for columns of ours.
ALIASES: dict[str, str] = {
    "agent.charter": "agent_purpose",
    "content.guardrail.error": "guardrail_error",
    "content.guardrail.mode": "guardrail_mode",
    "content.guardrail.name": "guardrail_name",
    "content.guardrail.score": "guardrail_score",
    "content.guardrail.verdict": "guardrail_verdict",
    "content.size": "content_bytes",
    "event.kind": "kind",
    "event.type": "kind",
    "ingest.time": "observed_time",
    "latency_ms": "duration_ms",
    "message.role": "content_role",
    "model.call.guardrail_id": "guardrail_id",
    "model.requested": "model_name",
    "recipient.list": "recipients",
    "retrieval.doc_id": "retrieval_doc_ids",
    "rows_affected": "tool_rows_affected",
    "secret.fingerprint": "secret_fingerprints",
    "secret.type": "secret_types",
    "seq": "sequence",
    "tool.class": "tool_risk",
    "tool.error": "error_message",
    "tool.latency_ms": "duration_ms",
    "tool.list": "tool_definitions",
    "tool.outcome": "outcome",
    "trigger.source": "session_trigger",
}
# JSON text that a rule may look into: tool.args.x is member x of tool_args.
JSON_COLUMNS: dict[str, str] = {"tool.args.": "tool_args", "tool.result.": "tool_result"}
# Text long enough that looking for a rule's words first is cheaper than asking the whole rule.
LONG_TEXTS = frozenset({
    "artifact_name", "change_diff", "content_text", "error_message", "file_path", "input_messages",
    "memory_value", "output_messages", "process_command_line", "process_parent", "retrieval_query",
    "system_instructions", "target_resource", "target_url", "tool_args", "tool_definitions",
    "tool_description", "tool_result", "tool_schema",
})  # fmt: skip
# Columns that say where a record was or what is known of it, not what was done: a keyword does not
# look there.
_PLUMBING = frozenset({
    *catalogue.COLUMNS,
    "event_id", "tenant", "partition_key", "raw_topic", "twin_key", "assurance", "authenticated_as",
    "source_kind", "source_id", "producer_id", "trace_id", "span_id", "parent_span_id",
})  # fmt: skip
# An agent's actions are all in one partition; so is what lies within an agent.
LOCAL_FIELDS = frozenset({
    "agent_id", "agent_instance_id", "partition_key", "session_id", "span_id", "trace_id",
    "turn_id",
})  # fmt: skip
_PATH_KEY = re.compile(r"^[^'\"\\\[\]]+$")


class UnknownField(ValueError):
    """A field name that can mean no column; the message says why."""


@dataclass(frozen=True, slots=True)
class Source:
    """A column, or one member of the JSON text (`path`) or the attributes (`attribute`) in it."""

    column: str
    path: str | None = None
    attribute: str | None = None

    @property
    def whole(self) -> bool:
        return self.path is None and self.attribute is None


@dataclass(frozen=True, eq=False)
class FieldMap:
    """How names of fields become columns, for one shape of frames. Each is only itself."""

    name: str
    # Columns with fixed types; None: whatever a frame brings.
    columns: Mapping[str, pl.DataType] | None = None
    # Fields by which this process may group because it sees all their events; None: any.
    local: frozenset[str] | None = None
    # Prefix of the columns that are ours in a frame of foreign fields.
    own_prefix: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)

    def source(self, name: str) -> Source:
        """Where the field's value is. Raises UnknownField."""
        if self.columns is None:
            return Source(name)
        column = self.aliases.get(name, name.replace(".", "_"))
        if column in self.columns:
            return (
                Source("attributes", attribute=name) if column == "attributes" else Source(column)
            )
        for prefix, text in JSON_COLUMNS.items():
            if name.startswith(prefix):
                return Source(text, path=_path(name, name.removeprefix(prefix)))
        return Source("attributes", attribute=name.removeprefix("attributes."))

    def own(self, name: str) -> str:
        """Column of one of our own fields (event_id, event_time, session_id …)."""
        return f"{self.own_prefix}{name}"

    def keyword_columns(self, schema: Mapping[str, pl.DataType]) -> list[str]:
        """Columns a keyword is looked for in."""
        if self.columns is None:
            return [name for name in schema if not name.startswith(self.own_prefix)]
        texts = (pl.String(), pl.List(pl.String), ATTRIBUTES)
        return [
            name
            for name, kind in schema.items()
            if kind in texts and name not in _PLUMBING and not name.startswith(PREFIX)
        ]

    def long(self, column: str) -> bool:
        """Whether the column may hold long text, so that even comparing it is not cheap."""
        return self.columns is None or column in LONG_TEXTS


def _path(name: str, inner: str) -> str:
    keys = inner.split(".")
    if not all(_PATH_KEY.match(key) for key in keys):
        raise UnknownField(f"field {name} does not name members of a JSON object")
    return "$" + "".join(f"['{key}']" for key in keys)


ACTIONS = FieldMap(
    "actions",
    columns={**JUDGED, **catalogue.COLUMNS},
    local=LOCAL_FIELDS,
    aliases=ALIASES,
)
RAW = FieldMap("raw", own_prefix="~")
