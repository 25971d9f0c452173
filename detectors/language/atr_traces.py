"""Agent Threat Rules about traces and counts, as Sigma: shapes of spans are conditions on actions,
and what must or must not come before is a correlation over a session.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from tachograph.detectors.language.rulefile import Document, RefusedDocument

_Data = Mapping[str, Any]
# Kinds of spans as kinds of actions.
_KINDS: Mapping[str, list[str]] = {
    "TOOL": ["tool_call", "http", "file", "process", "memory_write"],
    "TOOL_RESPONSE": ["tool_result"],
    "RETRIEVER": ["retrieval"],
    "AGENT": ["agent_call"],
    "LLM": ["completion"],
    "HUMAN": ["approval"],
    "GUARDRAIL": ["guardrail"],
    "EMBEDDING": ["index"],
}
_FIELDS: Mapping[str, str] = {
    "session.id": "session.id",
    "conversation.id": "session.id",
    "gen_ai.conversation.id": "session.id",
    "user.id": "principal.id",
    "tool.privilege": "tool.risk",
    "source.trust": "content.trust",
}
_VALUES: Mapping[str, Mapping[Any, Any]] = {"tool.privilege": {"exfil": "egress"}}
_ACROSS: Mapping[str, str] = {
    "trace": "session.id",
    "session": "session.id",
    "conversation": "session.id",
    "agent.delegation_chain": "agent.delegation_chain",
}
_REFERENCE = re.compile(r"\$\{span\.attributes\.(.+)\}\Z")
_DURATION = re.compile(r"PT(\d+)([SMH])\Z")
# A trace is looked at for as long as a window may be.
_WHOLE_TRACE = "24h"
MAX_CALLS = 2_000


def documents_of(main: Document, detection: _Data) -> list[Document]:
    """The Sigma documents. Raises RefusedDocument."""
    method = detection["method"]
    asked = detection.get(method)
    if not isinstance(asked, dict):
        raise RefusedDocument(f"detection.{method} is missing", "detection")
    made = _Made(main)
    try:
        made.window(asked) if method == "behavioral" else made.trace(asked)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = error.args[0] if error.args else repr(error)
        raise RefusedDocument(f"detection.{method}: {reason}", "detection", method) from error
    if not made.documents:
        raise RefusedDocument(f"detection.{method} asks for nothing", "detection", method)
    return made.documents


class _Made:
    """The documents made of one rule."""

    def __init__(self, main: Document) -> None:
        self.documents: list[Document] = []
        self._main = main
        self._speaking = 0
        self._named = 0

    def trace(self, asked: _Data) -> None:
        """What must not be, what must come first, what must stay as it is."""
        for forbid in asked.get("forbid", []):
            shape = _detection([forbid["shape"]])
            if "preceded_by" in forbid:
                before = self._base(_detection(_shapes(forbid["preceded_by"])))
                self._correlated("temporal_ordered", [before, self._base(shape)])
            else:
                self._says({"detection": shape})
        for require in asked.get("require", []):
            target = self._base(_detection([require["target_shape"]]))
            before = self._base(_detection(_shapes(require["must_be_preceded_by"])))
            condition = f"{target} and not {before}"
            self._correlated("temporal", [target, before], condition=condition)
        for same in asked.get("invariant", []):
            field, across = _field(same["attribute"]), _ACROSS[same["across"]]
            seen = self._base({"s": {f"{field}|exists": True}, "condition": "s"})
            count = {"field": field, "gte": 2}
            self._correlated("value_count", [seen], group_by=[across], condition=count)

    def window(self, asked: _Data) -> None:
        """So many events of a kind within a time."""
        if asked.get("aggregation", "count") != "count":
            raise ValueError(f"aggregation {asked['aggregation']} is not supported, only count")
        shape = asked.get("filter") or {}
        counted = self._base(_detection([{"span.kind": "TOOL"}] if not shape else [shape]))
        self._correlated(
            "event_count",
            [counted],
            group_by=[_field(name) for name in asked.get("group_by", ["session.id"])],
            condition={str(asked["operator"]): asked["threshold"]},
            timespan=f"{seconds_of(asked['window'])}s",
        )

    def _base(self, detection: dict[str, Any]) -> str:
        """A condition that others refer to; its name."""
        self._named += 1
        name = f"{_slug(self._main)}_{self._named}"
        main = self._main.data
        data = {key: main[key] for key in ("level", "tags", "logsource")}
        data |= {"title": f"{main['title']} ({self._named})", "name": name, "detection": detection}
        self.documents.append(msgspec.structs.replace(self._main, data=data))
        return name

    def _correlated(
        self,
        kind: str,
        rules: Sequence[str],
        *,
        group_by: Sequence[str] = ("session.id",),
        condition: Any = None,
        timespan: str = _WHOLE_TRACE,
    ) -> None:
        correlation = {
            "type": kind,
            "rules": list(rules),
            "group-by": list(group_by),
            "timespan": timespan,
            **({"condition": condition} if condition is not None else {}),
        }
        self._says({"correlation": correlation})

    def _says(self, asked: dict[str, Any]) -> None:
        """A part of the rule itself; the first has its samples."""
        data = {key: value for key, value in self._main.data.items() if key not in _REPLACED}
        if self._speaking:
            data["tacho"] = {k: v for k, v in data["tacho"].items() if k != "samples"}
        self._speaking += 1
        self.documents.append(
            msgspec.structs.replace(self._main, data={**data, **asked}, part=True)
        )


_REPLACED = frozenset({"detection", "agent_source", "test_cases", "name"})


def _slug(document: Document) -> str:
    name = document.names[0] if document.names else "rule"
    return re.sub(r"[^A-Za-z0-9]+", "_", name)


def _shapes(asked: _Data) -> list[Any]:
    """One shape, or any of several."""
    return list(asked["one_of_shapes"]) if "one_of_shapes" in asked else [asked]


def _detection(shapes: Sequence[_Data]) -> dict[str, Any]:
    """A Sigma detection of any of the shapes."""
    detection: dict[str, Any] = {}
    options: list[str] = []
    for at, shape in enumerate(shapes):
        wanted, unwanted = _selections(shape)
        names = []
        if wanted:
            detection[f"s{at}"] = wanted
            names.append(f"s{at}")
        for number, one in enumerate(unwanted):
            detection[f"n{at}_{number}"] = one
            names.append(f"not n{at}_{number}")
        if not names:
            raise ValueError("a shape that fits everything")
        options.append(" and ".join(names))
    return {**detection, "condition": " or ".join(f"({option})" for option in options)}


def _selections(shape: _Data) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What an action must be, and what it must not be."""
    wanted: dict[str, Any] = {}
    unwanted: list[dict[str, Any]] = []
    kind = shape.get("span.kind")
    kinds = kind.get("in", []) if isinstance(kind, dict) else [kind] if kind else []
    if kinds:
        wanted["kind"] = [one for name in kinds for one in _KINDS[str(name)]]
    for path, predicate in (shape.get("attributes") or {}).items():
        field = _field(path)
        asked = predicate if isinstance(predicate, dict) else {"equals": predicate}
        for operator, value in asked.items():
            key, given = _item(path, field, operator, value)
            if operator in {"not_equals", "not_in"}:
                unwanted.append({key: given})
            else:
                wanted[key] = given
    return wanted, unwanted


def _item(path: str, field: str, operator: str, value: Any) -> tuple[str, Any]:
    match operator:
        case "exists":
            return f"{field}|exists", bool(value)
        case "regex":
            return f"{field}|re", str(value)
        case "in" | "not_in":
            return field, [_value(path, one) for one in value]
        case "equals" | "not_equals":
            found = _REFERENCE.match(value) if isinstance(value, str) else None
            if found is not None:
                return f"{field}|fieldref", _field(found[1])
            return field, _value(path, value)
    raise ValueError(f"operator {operator} of attribute {path}")


def _field(path: str) -> str:
    return _FIELDS.get(path, path)


def _value(path: str, value: Any) -> Any:
    return _VALUES.get(path, {}).get(value, value)


def seconds_of(duration: str) -> int:
    """Seconds of an ISO 8601 duration such as PT5M. Raises ValueError."""
    found = _DURATION.match(str(duration))
    if found is None:
        raise ValueError(f"window {duration} is no duration such as PT5M")
    return int(found[1]) * {"S": 1, "M": 60, "H": 3600}[found[2]]


def actions_of_trace(text: str) -> list[dict[str, Any]]:
    """The spans of a trace in JSON as actions, a second apart."""
    spans = msgspec.json.decode(text)["spans"]
    return [{"at_s": at, **_action(span)} for at, span in enumerate(spans)]


def _action(span: _Data) -> dict[str, Any]:
    kind = str(span.get("span.kind", span.get("kind", "")))
    action: dict[str, Any] = {"kind": _KINDS.get(kind, ["other"])[0]}
    attributes: dict[str, str] = {}
    for path, value in _flat(span.get("attributes") or {}):
        name, said = _field(path), _value(path, value)
        if name in _OURS or name.startswith("tool.args."):
            action[name] = said
        else:
            attributes[name] = str(said).lower() if isinstance(said, bool) else str(said)
    return {**action, "attributes": attributes} if attributes else action


_OURS = frozenset({*_FIELDS.values(), "tool.name"})


def _flat(attributes: _Data) -> Iterator[tuple[str, Any]]:
    for name, value in attributes.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", one) for inner, one in _flat(value))
        else:
            yield str(name), value


def actions_of_window(text: str, detection: _Data) -> list[dict[str, Any]]:
    """Actions of which a window would count as many as a test case says."""
    said = msgspec.json.decode(text)
    calls = min(int(said["event_count"]), MAX_CALLS)
    every_s = seconds_of(detection["behavioral"]["window"]) / (calls + 1)
    group = {_field(name): value for name, value in said.get("group", {}).items()}
    return [{"kind": "tool_call", **group, "repeat": calls, "every_s": every_s}]
