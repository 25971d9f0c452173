"""Spans to actions, all of a batch at once: the columns, and what only the kind of a span tells."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from tachograph.pipeline.normalize import genai, limits, messages, results, vocabulary
from tachograph.pipeline.normalize.identity import RESPONSE
from tachograph.pipeline.normalize.raw import Row
from tachograph.pipeline.normalize.rows import TEXTS, json_text, lists
from tachograph.pipeline.normalize.span_columns import Attributes, Kept, fields
from tachograph.pipeline.normalize.spans import Source, Spans
from tachograph.pipeline.normalize.wire import Bools, Ints
from tachograph.schemas.batch import COLUMNS, TIME

ERROR: Final = 2
SERVER: Final = 2
SERVER_SOURCE: Final = " (server)"
USER: Final = frozenset({"user", "human"})
ATTRIBUTES: Final = "attributes"
EVENTS: Final = "span.events"


class Actions(msgspec.Struct, frozen=True):
    """What the spans became: typed columns, and by what a report of one meets its twin."""

    frame: pl.DataFrame
    twin_kind: pl.Series
    twin_call: pl.Series


def actions(spans: Spans, attributes: Attributes, kind: pl.Series) -> Actions:
    """The actions of spans that all are some, in their order."""
    return _Making(spans, attributes, kind).actions()


class _Making:
    """Columns in the making. A column that is absent has no value."""

    def __init__(self, spans: Spans, attributes: Attributes, kind: pl.Series) -> None:
        self._spans, self._attributes, self._kind = spans, attributes, kind
        self._is: dict[str, Bools] = {}
        self._columns: Kept = {}

    def actions(self) -> Actions:
        spans = self._spans
        self._columns = fields(self._attributes)
        self._shared()
        call = self._call()
        self._servers()
        self._columns |= {
            "kind": self._kind,
            "event_time": pl.Series(spans.event_us).cast(TIME),
            "attempt": pl.repeat("executed", len(spans), dtype=pl.String, eager=True),
            "trace_id": _named(spans.trace_id),
            "span_id": _named(spans.span_id),
            "parent_span_id": _named(spans.parent_span_id),
        }
        began = spans.start_ns != 0
        if began.any():
            start = pl.Series(spans.start_us).cast(TIME)
            self._columns["start_time"] = start if began.all() else _where(began, start)
        self._outcome()
        told = self._exceptions()
        self._libraries()
        self._of_events()
        self._words()
        self._results()
        self._set("operation", spans.name)
        twin_kind, twin_call = self._twins(call)
        cut = self._rest(told)
        self._cut_lists(cut)
        frame = pl.DataFrame([self._columns[n].alias(n) for n in COLUMNS if n in self._columns])
        return Actions(frame, twin_kind, twin_call)

    # --- small ones

    def _of(self, *kinds: str) -> Bools:
        """Which spans are of one of the kinds."""
        key = "/".join(kinds)
        if key not in self._is:
            self._is[key] = self._kind.is_in(list(kinds)).to_numpy()
        return self._is[key]

    def _has(self, field: str) -> Bools:
        column = self._columns.get(field)
        if column is None:
            return np.zeros(len(self._spans), np.bool_)
        return column.is_not_null().to_numpy()

    def _set(self, field: str, values: pl.Series) -> None:
        """Give the field to spans that have none."""
        column = self._columns.get(field)
        if column is None:
            self._columns[field] = values
        elif column.null_count():
            self._columns[field] = _either(column, values)

    def _put(self, field: str, values: pl.Series) -> None:
        """Give the field to spans for which there is a value."""
        column = self._columns.get(field)
        self._columns[field] = values if column is None else _either(values, column)

    def _shared(self) -> None:
        """What the resources and scopes say, where the spans say nothing."""
        groups, group = self._spans.groups, self._spans.group
        names = dict.fromkeys(name for source in groups for name in source.fields)
        for name in names:
            values = pl.Series([s.fields.get(name) for s in groups], dtype=COLUMNS[name])
            self._set(name, values.gather(group))

    def _call(self) -> pl.Series:
        """What tells a call from others of its trace: its id, or the span of an MCP call."""
        call = self._columns.get("tool_call_id", self._nothing())
        if "mcp_method" not in self._columns:
            return call
        # The server's span is the child of the client's, and all that it knows of the call. So
        # the client's span stands for it, also where a span of the agent wraps that.
        served = self._spans.kind == SERVER
        span = _either(_where(served, _named(self._spans.parent_span_id)), self._spans.span_id)
        spoken = _where(self._has("mcp_method"), _named(span))
        return _either(_either(spoken, self._wrapped(served)), call)

    def _wrapped(self, served: Bools) -> pl.Series:
        """For a tool call that wraps a single MCP call of the same record, the span of that."""
        spans = self._spans
        keys = ["record", "trace", "span"]
        called = self._of("tool_call")
        asked = called & self._has("mcp_method") & ~served & ~spans.timeless
        table = pl.DataFrame({"record": spans.record, "trace": spans.trace_id})
        inner = (
            table.with_columns(span=spans.parent_span_id, inner=spans.span_id)
            .filter(pl.Series(asked))
            .filter(pl.col("span") != "", pl.col("inner") != "")
            .group_by(keys).agg(pl.col("inner").first(), pl.len().alias("many"))
            .filter(pl.col("many") == 1)
        )  # fmt: skip
        outer = table.with_columns(span=spans.span_id)
        found = outer.join(inner, on=keys, how="left", maintain_order="left")["inner"]
        return _where(called, found)

    def _servers(self) -> None:
        """The server of an MCP call is another source than its client, by whatever library."""
        served = self._has("mcp_method") & (self._spans.kind == SERVER)
        source = self._columns.get("source_id")
        if source is not None and served.any():
            self._put("source_id", _where(served, source + SERVER_SOURCE))

    def _nothing(self) -> pl.Series:
        return pl.Series([None], dtype=pl.String).new_from_index(0, len(self._spans))

    def _outcome(self) -> None:
        failed = (self._spans.status == ERROR) | self._has("error_type")
        ends = pl.Series(["succeeded", "failed"])
        self._columns["outcome"] = ends.gather(failed.astype(np.int64))
        said = self._spans.status_message
        if (said != "").any():
            self._set("error_message", _named(said))

    def _exceptions(self) -> dict[int, str]:
        """Errors that exceptions name, and all events of each span as JSON."""
        told: dict[int, str] = {}
        found: dict[str, dict[int, Any]] = {"error_type": {}, "error_message": {}}
        for at, events in self._spans.events.items():
            for name, _, attributes in events:
                if name == "exception":
                    for field, values in found.items():
                        said = attributes.get(f"exception.{field[6:]}")
                        if said is not None and said != "":
                            values.setdefault(at, genai.fitted(field, said))
            told[at] = json_text([list(event) for event in events])
        for field, values in found.items():
            if values:
                self._set(field, self._sparse(values))
        return told

    def _of_events(self) -> None:
        """Messages that came as events of the span."""
        sides: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
        for at, events in self._spans.events.items():
            said = messages.of_events((name, attributes) for name, _, attributes in events)
            for found, side in zip(said, sides, strict=True):
                if found:
                    side[at] = json_text(found)
        for field, side in zip(("input_messages", "output_messages"), sides, strict=True):
            if side:
                self._set(field, self._sparse(side))

    def _results(self) -> None:
        """What tools gave corrects outcomes, and an MCP call says so in its type."""
        spoken = self._of("tool_call") & self._has("mcp_method")
        if spoken.any():
            self._set("tool_type", _where(spoken, _MCP))
        telling = self._has("process_exit_code")
        given = self._columns.get("tool_result")
        if given is not None:
            telling |= given.str.contains(results.TELLING).fill_null(value=False).to_numpy()
        names = [n for n in _JUDGED if n in self._columns]
        changed: dict[str, dict[int, Any]] = {name: {} for name in _CORRECTED}
        for at in np.flatnonzero(telling & self._of(*results.CALLS)).tolist():
            row: Row = {n: v for n in names if (v := self._columns[n][at]) is not None}
            results.judge(row)
            for name, values in changed.items():
                if name in row:
                    values[at] = row[name]
        for name, values in changed.items():
            if values:
                self._put(name, self._sparse(values, COLUMNS[name]))

    def _sparse(self, values: dict[int, Any], dtype: pl.DataType | None = None) -> pl.Series:
        every: list[Any] = [None] * len(self._spans)
        for at, value in values.items():
            every[at] = value
        return pl.Series(every, dtype=dtype or pl.String())

    # --- what only the kind tells

    def _libraries(self) -> None:
        """Where older conventions put things: names, messages, servers, values."""
        rows = self._left(self._attributes.rows("traceloop.entity.name"))
        if len(rows):
            names = self._attributes.texts(self._attributes.pick(rows))
            self._set("tool_name", _where(self._of("tool_call"), names))
            self._set("agent_name", _where(~self._of("tool_call"), names))
        if not messages.FLAT_FIRST.isdisjoint(self._attributes.names):
            self._unflatten()
        if "target_host" in self._columns:
            self._server()
        for values, side in ((_INPUTS, 0), (_OUTPUTS, 1)):
            for name in values:
                rows = self._left(self._attributes.rows(name))
                if len(rows):
                    self._value(rows, side)

    def _left(self, rows: Ints) -> Ints:
        return rows[self._attributes.left[rows]]

    def _unflatten(self) -> None:
        """Flattened messages become messages, and their attributes go."""
        pairs, left = self._attributes.pairs, self._attributes.left
        first = [self._left(self._attributes.rows(name)) for name in messages.FLAT_FIRST]
        sides: tuple[dict[int, Any], dict[int, Any]] = ({}, {})
        for span in np.unique(pairs.owner[np.concatenate(first)]).tolist():
            begin, end = np.searchsorted(pairs.owner, [span, span + 1]).tolist()
            flat = {
                pairs.keys[pairs.key[at]]: pairs.value(at)
                for at in range(begin, end)
                if left[at] and pairs.keys[pairs.key[at]].startswith(messages.FLAT_PREFIXES)
            }
            for found, side in zip(messages.unflatten(flat), sides, strict=True):
                if found:
                    side[span] = json_text(found)
            for at in range(begin, end):
                left[at] &= pairs.keys[pairs.key[at]] not in flat
        for field, side in zip(("input_messages", "output_messages"), sides, strict=True):
            if side:
                self._set(field, self._sparse(side))

    def _server(self) -> None:
        """server.address is where the model or the tool server is, not what the action was done
        to.
        """
        plain = self._of("http")
        host, port = self._columns["target_host"], self._columns.get("target_port")
        place = host
        if port is not None:
            place = _either(host + ":" + port.cast(pl.String), host)
            self._columns["target_port"] = _where(plain | host.is_null().to_numpy(), port)
        self._columns["target_host"] = _where(plain, host)
        models = self._of("completion", "agent_call", "index")
        self._put("model_base_url", _where(models, place))
        self._put("tool_server", _where(~models & ~plain, place))

    def _value(self, rows: Ints, side: int) -> None:
        """A library's input and output value mean what its kind of span says."""
        owner = self._attributes.spans(rows)
        for field, kinds in _VALUES[side].items():
            own = self._of(*kinds)[owner] & ~self._has(field)[owner]
            taken = rows[own]
            if len(taken):
                self._attributes.left[taken] = False
                full = taken[~self._attributes.blank[taken]]
                self._set(field, self._attributes.texts(self._attributes.pick(full)))

    def _words(self) -> None:
        """What was said, out of the messages; what was done to a memory."""
        said: dict[int, Any] = {}
        for field, kinds, roles in (
            ("output_messages", ("completion", "agent_call"), None),
            ("input_messages", ("prompt",), USER),
        ):
            if field in self._columns:
                places = np.flatnonzero(self._of(*kinds) & self._has(field))
                texts = self._columns[field].gather(places).to_list()
                found = {
                    at: messages.words(text, roles)
                    for at, text in zip(places.tolist(), texts, strict=True)
                }
                said |= {at: text for at, text in found.items() if text is not None}
        if said:
            spoken = np.zeros(len(self._spans), np.bool_)
            spoken[list(said)] = True
            asked = self._of("prompt")
            self._columns["content_text"] = self._sparse(said)
            roles_of = pl.Series(["assistant", "user"]).gather(asked.astype(np.int64))
            ways = pl.Series(["out", "in"]).gather(asked.astype(np.int64))
            self._columns["content_role"] = _where(spoken, roles_of)
            self._columns["content_direction"] = _where(spoken, ways)
        for kind in ("memory_read", "memory_write"):
            if self._of(kind).any():
                self._memory(kind)

    def _memory(self, kind: str) -> None:
        operation = self._columns.get("operation", self._nothing())
        known = operation.fill_null("").replace_strict(
            vocabulary.MEMORY_OPS, default=kind.removeprefix("memory_")
        )
        self._set("memory_op", _where(self._of(kind), known))

    # --- what is left

    def _twins(self, call: pl.Series) -> tuple[pl.Series, pl.Series]:
        """(kind, call) by which two reports of one action meet: by the call, else the response."""
        call = _named(call)
        rows = self._left(self._attributes.rows(RESPONSE))
        if not len(rows):
            return self._kind, call
        response = _named(self._attributes.texts(self._attributes.pick(rows)))
        by_response = call.is_null().to_numpy()
        kind = pl.select(
            pl.when(pl.Series(by_response)).then(pl.lit("response")).otherwise(self._kind)
        ).to_series()
        return kind, _either(call, response)

    def _rest(self, told: dict[int, str]) -> Bools:
        """`attributes`: what no field took, after what the resource says; which were too many."""
        attributes, spans = self._attributes, self._spans
        for at in attributes.rows(EVENTS).tolist():
            attributes.left[at] &= int(attributes.pairs.owner[at]) not in told
        rows = np.flatnonzero(attributes.left)
        owner = attributes.pairs.owner[rows]
        keys = pl.Series(attributes.pairs.keys, dtype=pl.String).gather(attributes.pairs.key[rows])
        tables = [
            _of_sources(spans, keys, owner),
            (owner, keys, attributes.pairs.text.gather(rows)),
            (
                np.array(list(told), np.int64),
                pl.repeat(EVENTS, len(told), dtype=pl.String, eager=True),
                pl.Series(list(told.values()), dtype=pl.String),
            ),
        ]
        return self._put_pairs([table for table in tables if len(table[0])])

    def _put_pairs(self, tables: Sequence[tuple[Ints, pl.Series, pl.Series]]) -> Bools:
        size = len(self._spans)
        if not tables:
            return np.zeros(size, np.bool_)
        owner = np.concatenate([owner for owner, _, _ in tables])
        order = np.argsort(owner, kind="stable") if len(tables) > 1 else np.arange(len(owner))
        each = np.bincount(owner, minlength=size)
        many: Bools = each > limits.ATTRIBUTES
        if many.any():
            turn = np.arange(len(order)) - np.repeat(np.cumsum(each) - each, each)
            order = order[turn < limits.ATTRIBUTES]
            each = np.minimum(each, limits.ATTRIBUTES)
        keys = pl.concat([keys for _, keys, _ in tables]).gather(order)
        texts = pl.concat([texts for _, _, texts in tables]).gather(order)
        pairs = pl.DataFrame({"key": keys, "value": texts}).to_struct()
        self._columns[ATTRIBUTES] = lists(ATTRIBUTES, each, each == 0, pairs)
        return many

    def _cut_lists(self, cut: Bools) -> None:
        """Lists beyond their limit are cut, and `truncated` says so."""
        named: dict[int, list[str]] = {int(at): [ATTRIBUTES] for at in np.flatnonzero(cut)}
        for name, column in sorted(self._columns.items()):
            if column.dtype != TEXTS:
                continue
            long = (column.list.len() > limits.LIST_ITEMS).fill_null(value=False)
            if long.any():
                self._columns[name] = column.list.head(limits.LIST_ITEMS)
                for at in long.arg_true().to_list():
                    named.setdefault(at, []).append(name)
        if named:
            every = [named.get(at) for at in range(len(self._spans))]
            self._columns["truncated"] = pl.Series(every, dtype=TEXTS)


# What a result may correct, and what it is judged by.
_CORRECTED: Final = ("outcome", "error_type", "process_exit_code")
_JUDGED: Final = ("kind", "tool_result", *_CORRECTED)
_MCP: Final = pl.Series(["mcp"])
_INPUTS: Final = ("input.value", "traceloop.entity.input")
_OUTPUTS: Final = ("output.value", "traceloop.entity.output")
# Field → the kinds of span whose input, or output, it is.
_VALUES: Final[tuple[dict[str, tuple[str, ...]], ...]] = (
    {
        "tool_args": ("tool_call",),
        "input_messages": ("completion", "agent_call", "prompt", "guardrail"),
        "retrieval_query": ("retrieval",),
    },
    {
        "tool_result": ("tool_call", "retrieval", "guardrail"),
        "output_messages": ("completion", "agent_call", "prompt"),
    },
)


def _either(first: pl.Series, second: pl.Series) -> pl.Series:
    return first.zip_with(first.is_not_null(), second)


def _where(chosen: Bools, values: pl.Series) -> pl.Series:
    """The values of the chosen rows, null elsewhere."""
    return pl.select(pl.when(pl.Series(chosen)).then(values)).to_series()


def _named(texts: pl.Series) -> pl.Series:
    """Null where a text is empty."""
    empty = texts == ""
    return _where(~empty.fill_null(value=False).to_numpy(), texts) if empty.any() else texts


def _of_sources(spans: Spans, keys: pl.Series, owner: Ints) -> tuple[Ints, pl.Series, pl.Series]:
    """Attributes of the resources, for every span under them but where a span says it itself."""
    groups: Sequence[Source] = spans.groups
    sizes = np.array([len(source.attributes) for source in groups], np.int64)
    if not sizes.sum():
        return np.empty(0, np.int64), pl.Series(dtype=pl.String), pl.Series(dtype=pl.String)
    each = sizes[spans.group]
    of = np.repeat(np.arange(len(spans)), each)
    within = np.arange(len(of)) - np.repeat(np.cumsum(each) - each, each)
    place = np.repeat((np.cumsum(sizes) - sizes)[spans.group], each) + within
    names = pl.Series([name for s in groups for name in s.attributes], dtype=pl.String)
    texts = pl.Series([text for s in groups for text in s.attributes.values()], dtype=pl.String)
    own = keys.is_in(names.unique().implode())
    if own.any():
        said = set(zip(owner[own.to_numpy()].tolist(), keys.filter(own).to_list(), strict=True))
        listed = zip(of.tolist(), names.gather(place).to_list(), strict=True)
        kept = np.array([pair not in said for pair in listed], np.bool_)
        of, place = of[kept], place[kept]
    return of, names.gather(place), texts.gather(place)
