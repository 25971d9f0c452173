"""`tacho coverage --sources`: which detections each kind of source can feed, and which are blind
with it alone.

A detection is blind with a source when a field that it cannot do without is never filled by it.
What a source fills is told by its mapping and its samples, by what is derived from them, and for
the conventions of OpenTelemetry by the whole of their vocabulary.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
import polars as pl
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tachograph.detectors.engine import Engine
from tachograph.detectors.language.compiled import RuleSet
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize import coding_clis, vocabulary
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.formats.decoder import Decoder
from tachograph.pipeline.normalize.formats.mapping import Mapped
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.rules.loading import Sources
from tachograph.schemas.batch import COLUMNS

_AT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_KEY: Final = bytes(32)
# What `normalize` itself fills in, or takes out of arguments, contents and addresses.
_ALWAYS: Final = frozenset(
    {
        "event_id", "tenant", "partition_key", "kind", "event_time", "observed_time", "assurance",
        "late", "far", "source_kind", "agent_id", "outcome", "operation",
    }
)  # fmt: skip
_DERIVED: Final[Mapping[str, frozenset[str]]] = {
    "tool_args": frozenset(
        {"tool_args_hash", "process_command_line", "file_path", "file_op", "target_url",
         "target_domain", "target_host", "recipients", "recipient_count", "amount", "currency"}
    ),
    "target_url": frozenset({"target_domain", "target_host", "target_port"}),
    "content_text": frozenset({"content_hash", "content_bytes", "content_urls", "redactions"}),
    "tool_result": frozenset({"tool_result_hash", "tool_result_bytes", "content_urls"}),
    "process_command_line": frozenset({"target_url"}),
}  # fmt: skip
_SPANS: Final = frozenset(
    {"trace_id", "span_id", "parent_span_id", "duration_ms", "start_time", "content_text",
     "content_role", "content_direction", "input_messages", "output_messages", "attempt",
     "tool_server", "attributes", "memory_op"}
)  # fmt: skip


class Reached(msgspec.Struct, frozen=True):
    """One source, and the detections that it cannot feed."""

    source: str
    title: str
    fields: int
    rules: int
    can_fire: int
    blind: list[str]


def reached(rules: RuleSet, formats: Formats) -> Iterator[Reached]:
    """Every source with what it reaches, best first."""
    found = [
        _reached(rules, name, title, _with_derived(fields))
        for name, title, fields in _sources(formats)
    ]
    return iter(sorted(found, key=lambda one: (-one.can_fire, one.source)))


def _reached(rules: RuleSet, name: str, title: str, fields: Collection[str]) -> Reached:
    engine = Engine(rules)
    engine.judge(_row(fields), 0)
    stats = engine.stats
    blind = [rule.meta.title for rule in rules.rules if not stats[rule.meta.rule_id].can_fire]
    return Reached(
        name, title, len(fields), len(rules.rules), len(rules.rules) - len(blind), sorted(blind)
    )


def _row(fields: Collection[str]) -> pl.DataFrame:
    """One action in which these fields have some value."""
    values: dict[str, Any] = {}
    for name, dtype in COLUMNS.items():
        if name in fields:
            values[name] = pl.Series(name, [_some(dtype)], dtype)
    return pl.DataFrame(values)


def _some(dtype: pl.DataType) -> Any:
    if dtype == pl.String:
        return "x"
    if isinstance(dtype, pl.Datetime):
        return _AT
    if isinstance(dtype, pl.List):
        inner = dtype.inner
        return [{"key": "x", "value": "x"}] if isinstance(inner, pl.Struct) else ["x"]
    return True if dtype == pl.Boolean else 1


def _with_derived(fields: Collection[str]) -> frozenset[str]:
    found = _ALWAYS.union(fields)
    for _ in _DERIVED:
        found = found.union(*(more for name, more in _DERIVED.items() if name in found))
    return found


def _sources(formats: Formats) -> Iterator[tuple[str, str, Collection[str]]]:
    conventions = {
        *vocabulary.NEW.values(),
        *vocabulary.OLD.values(),
        *vocabulary.RESOURCE.values(),
    }
    yield "actions", "native actions (SDK, POST /v1/actions)", COLUMNS.keys()
    yield "otlp", "OpenTelemetry GenAI and MCP conventions", conventions | _SPANS
    for cli in (coding_clis.CLAUDE, coding_clis.CODEX, coding_clis.GEMINI):
        said = {*cli.fields.values(), *vocabulary.RESOURCE.values()}
        yield cli.name, f"{cli.name}, events over OTLP", said | _CLI
    for name in formats.names:
        decoder = formats.named(name)
        yield name, decoder.title, _fields_of(decoder)


_CLI: Final = frozenset(
    {"agent_kind", "attempt", "policy_decision", "policy_reason", "approval_decision", "session_id",
     "content_text", "content_role", "content_direction", "principal_id", "attributes"}
)  # fmt: skip


def _fields_of(decoder: Decoder) -> set[str]:
    found = set[str]()
    if isinstance(decoder, Mapped):
        found |= {name for action in decoder.mapping.actions for name in action.fields}
        if decoder.mapping.conventions:
            found |= set(vocabulary.NEW.values())
    core = Normalizer(_KEY, "default", observed_from_event=True, undated_us=0)
    for number, sample in enumerate(decoder.samples):
        value = b"\n".join(map(msgspec.json.encode, sample.objects))
        made = core.normalize([RawRecord("agent.raw", 0, number, value, format=decoder.name)])
        found |= {c.name for c in made.frame if c.null_count() < len(c)}
    return found


def run_reach(sources: Sources, *, name: str | None, as_json: bool, sink: TextIO) -> None:
    """Print what every source reaches, or which detections are blind with one of them."""
    found = [one for one in reached(sources.rules(), Formats()) if name in (None, one.source)]
    if not found:
        raise ConfigError(f"{name}: no source of that name (`tacho coverage --sources` has them)")
    if as_json:
        sink.write(msgspec.json.encode({"sources": found}).decode() + "\n")
        return
    if name is not None:
        for one in found:
            sink.write(
                f"{one.source}: {one.can_fire} of {one.rules} detections; blind with it alone:\n"
            )
            sink.writelines(f"  {title}\n" for title in one.blind)
        return
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("source", "what it is", "fields", "detections", "blind"):
        table.add_column(heading, justify="right" if heading in ("fields", "blind") else "left")
    for one in found:
        share = f"{one.can_fire} of {one.rules}"
        table.add_row(one.source, one.title, str(one.fields), share, str(len(one.blind)))
    Console(file=sink).print(table)
