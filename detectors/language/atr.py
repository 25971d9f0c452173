"""Agent Threat Rules, as rules of ours.

A document of that format becomes one that has its severity, references and test cases where our
rules have theirs, and whose conditions `condition_of` reads; one that looks at traces or counts
becomes Sigma documents (see atr_traces). What it asks of wording is asked of the texts that an
action holds (see detectors.texts): the reference engine's kinds of events are kinds of actions.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from tachograph.detectors.language.atr_cases import samples_of
from tachograph.detectors.language.atr_traces import documents_of
from tachograph.detectors.language.conditions import And, Leaf, Node, Not, Or, Pattern, Test, Text
from tachograph.detectors.language.frameworks import known_tags
from tachograph.detectors.language.javascript import respelled
from tachograph.detectors.language.logsources import PRODUCT
from tachograph.detectors.language.regexes import linear
from tachograph.detectors.language.rulefile import Document, RefusedDocument
from tachograph.detectors.matching.lookaround import needs_judge, split
from tachograph.schemas.alert import RiskCategory

# The texts behind the fields of the format, by the source a rule names, else for all.
_INPUT, _OUTPUT, _CALL, _RESULT = "text.input", "text.output", "text.call", "text.result"
_DEFINITION, _DOCUMENT = "text.definition", "text.document"
_MESSAGE, _MEMORY = "text.message", "text.memory"
_Fields = Mapping[str, tuple[str, ...]]
_ANYWHERE: _Fields = {
    "tool_name": ("tool.name",),
    "tool_args": (_CALL,),
    "tool_input": (_CALL,),
    "tool_response": (_RESULT,),
    "tool_description": (_DEFINITION,),
    "agent_message": (_MESSAGE,),
    "memory_write": (_MEMORY,),
    "skill_content": (_DOCUMENT,),
    # Wording of a prompt is looked for in what tools bring in too: so it is injected.
    "user_input": (_INPUT, _RESULT),
    "agent_output": (_OUTPUT, _RESULT),
}
_SKILL: _Fields = {"content": (_CALL, _DEFINITION, _DOCUMENT)}
_BY_SOURCE: Mapping[str, _Fields] = {
    "llm_io": {"content": (_INPUT, _OUTPUT, _RESULT)},
    "mcp_exchange": {"content": (_RESULT, _CALL, _DEFINITION), "user_input": (_RESULT,)},
    "tool_call": {"content": (_CALL, _DEFINITION), "user_input": (_CALL,)},
    "multi_agent_comm": {"content": (_MESSAGE,), "user_input": (_MESSAGE,)},
    "context_window": {"content": (_INPUT, _RESULT)},
    "memory_access": {
        "content": (_MEMORY,),
        "user_input": (_MEMORY, _INPUT),
        "tool_response": (_MEMORY, _RESULT),
    },
    "skill_lifecycle": _SKILL,
    "skill_permission": _SKILL,
    "skill_chain": _SKILL,
    "agent_behavior": {},
    "agent_trace": {},
}
_CATEGORIES: Mapping[str, RiskCategory] = {
    "prompt-injection": "prompt_misuse",
    "agent-manipulation": "prompt_misuse",
    "model-abuse": "prompt_misuse",
    "tool-poisoning": "ai_supply_chain",
    "skill-compromise": "ai_supply_chain",
    "data-poisoning": "ai_development",
    "model-security": "ai_development",
}
_CONFIDENCE = {"high": 90, "medium": 70, "low": 50}
_CORRELATED = frozenset({"trace", "behavioral"})
_ANY = frozenset({"any", "or"})
_EVERY = frozenset({"all", "and"})
_SKILLS = frozenset({"skill", "both"})
MAX_CONDITIONS = 500
# Where a document keeps the format's tags once it has tags of ours.
_LABELS = "atr"


def is_atr(document: Document) -> bool:
    """Whether a document is of this format."""
    return "agent_source" in document.data and isinstance(document.data.get("detection"), dict)


def translated(document: Document) -> list[Document]:
    """The documents of ours that say the same. Raises RefusedDocument."""
    main = msgspec.structs.replace(document, data=_described(document))
    detection = document.data["detection"]
    if detection.get("method") in _CORRELATED:
        return documents_of(main, detection)
    return [main]


class Asked(NamedTuple):
    """What a document asks of one action, and what of it is not as its author meant it."""

    condition: Node
    notes: tuple[str, ...]


def asked_of(document: Document) -> Asked:
    """Read the conditions. Raises RefusedDocument."""
    detection = document.data["detection"]
    expression = str(detection.get("condition", "any")).strip()
    parts = dict(_conditions(document))
    notes = (_PATTERNS_ALONE,) if detection.get("method") == "semantic" else ()
    if isinstance(detection["conditions"], dict):
        return Asked(_Expression(expression, parts).node(), notes)
    nodes = tuple(parts.values())
    if expression not in {*_ANY, *_EVERY}:
        raise RefusedDocument(f"condition {expression}", "detection", "condition")
    node = nodes[0] if len(nodes) == 1 else Or(nodes) if expression in _ANY else And(nodes)
    return Asked(node, notes)


_PATTERNS_ALONE = "judged by patterns alone: no model judges within the stream"


def _conditions(document: Document) -> Iterator[tuple[str, Node]]:
    """The conditions by name. Raises RefusedDocument."""
    detection = document.data["detection"]
    if detection.get("method") == "semantic":
        _has_patterns(detection)
    given = detection.get("conditions")
    if isinstance(given, list):
        given = {str(at + 1): one for at, one in enumerate(given)}
    if not isinstance(given, dict) or not 0 < len(given) <= MAX_CONDITIONS:
        raise RefusedDocument(
            f"detection.conditions: 1 to {MAX_CONDITIONS} conditions", "detection", "conditions"
        )
    texts = _Texts(document)
    for name, one in given.items():
        try:
            yield str(name), texts.condition(one)
        except (KeyError, TypeError, ValueError) as error:
            reason = f"condition {name}: {error.args[0] if error.args else error!r}"
            raise RefusedDocument(reason, "detection", "conditions") from error


def _has_patterns(detection: Mapping[str, Any]) -> None:
    semantic = detection.get("semantic")
    fallback = semantic.get("fallback_method") if isinstance(semantic, dict) else None
    if fallback != "pattern":
        raise RefusedDocument(
            "method semantic needs a model, which does not judge within the stream, and the rule "
            "names no patterns to fall back on",
            "detection",
            "method",
        )


class _Texts:
    """Makes conditions on the texts that a rule's fields mean."""

    def __init__(self, document: Document) -> None:
        tags = _labels(document.data)
        self._fields = {**_ANYWHERE, **_BY_SOURCE[source_of(document)]}
        self._skill = tags.get("scan_target") in _SKILLS
        self._prose = tags.get("suppress_in_code_blocks") is True

    def condition(self, given: Any) -> Node:
        """One condition. Raises ValueError, TypeError or KeyError for what is none."""
        if not isinstance(given, dict) or "field" not in given:
            raise TypeError("only conditions on a field are supported")
        names = self._names(str(given["field"]))
        if "patterns" in given:
            cased = given.get("case_sensitive") is True
            kind = str(given.get("match_type", "regex"))
            asked = [_tests(kind, str(one), cased=cased) for one in given["patterns"]]
        else:
            asked = [_tests(str(given["operator"]), str(given["value"]), cased=False)]
        leaves = [_all(Leaf(name, test) for test in tests) for tests in asked for name in names]
        return leaves[0] if len(leaves) == 1 else Or(tuple(leaves))

    def _names(self, field: str) -> list[str]:
        """Fields of ours that hold what the field does."""
        found = list(self._fields.get(field, (field,)))
        if self._skill and field in self._fields and _DOCUMENT not in found:
            # The text of a skill is judged whole, whatever part of an event the field names.
            found.append(_DOCUMENT)
        return [f"{name}_prose" if self._prose and name[:5] == "text." else name for name in found]


def _tests(operator: str, value: str, *, cased: bool) -> list[Test]:
    """Tests that must all pass."""
    match operator:
        case "regex":
            pattern, flags = respelled(value)
            flags = flags if cased else f"{flags}i"
            if not needs_judge(pattern):
                return [Pattern(linear(pattern, flags))]
            parts = split(pattern, flags)
            return [*map(Pattern, parts.musts), Pattern(parts.rough, exact=parts.exact)]
        case "contains":
            return [Text("contains", value if cased else value.lower(), cased)]
        case "starts_with":
            return [Text("prefix", value if cased else value.lower(), cased)]
        case "exact":
            return [Text("equals", value, cased=True)]
    raise ValueError(f"operator {operator} is none of regex, contains, starts_with, exact")


def _all(leaves: Iterable[Leaf]) -> Node:
    parts = tuple(leaves)
    return parts[0] if len(parts) == 1 else And(parts)


class _Expression:
    """A condition over named conditions: `a AND (b OR NOT c)`; AND binds before OR."""

    _TOKEN = re.compile(r"\s*(\(|\)|[^\s()]+)")

    def __init__(self, text: str, parts: Mapping[str, Node]) -> None:
        self._tokens = self._TOKEN.findall(text)
        self._parts = parts

    def node(self) -> Node:
        """What it asks. Raises RefusedDocument."""
        if len(self._tokens) == 1 and self._tokens[0] in {*_ANY, *_EVERY}:
            nodes = tuple(self._parts.values())
            return Or(nodes) if self._tokens[0] in _ANY else And(nodes)
        found = self._alternatives()
        if self._tokens:
            raise self._unread(self._tokens[0])
        return found

    def _alternatives(self) -> Node:
        parts = [self._conjunction()]
        while self._takes("or"):
            parts.append(self._conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _conjunction(self) -> Node:
        parts = [self._single()]
        while self._takes("and"):
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _single(self) -> Node:
        if self._takes("not"):
            return Not(self._single())
        if self._takes("("):
            inner = self._alternatives()
            if not self._takes(")"):
                raise self._unread("end")
            return inner
        name = self._tokens.pop(0) if self._tokens else "end"
        if name not in self._parts:
            raise self._unread(name)
        return self._parts[name]

    def _takes(self, word: str) -> bool:
        if self._tokens and self._tokens[0].lower() == word:
            self._tokens.pop(0)
            return True
        return False

    @staticmethod
    def _unread(token: str) -> RefusedDocument:
        reason = f"condition is not understood at {token}"
        return RefusedDocument(reason, "detection", "condition")


def source_of(document: Document) -> str:
    """The kind of source that a document names. Raises RefusedDocument."""
    source = document.data["agent_source"]
    kind = source.get("type") if isinstance(source, dict) else None
    if kind not in _BY_SOURCE:
        known = ", ".join(sorted(_BY_SOURCE))
        raise RefusedDocument(f"agent_source.type {kind} is none of {known}", "agent_source")
    return str(kind)


def _labels(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The format's own tags, which are names and values."""
    tags = data.get(_LABELS, data.get("tags"))
    return tags if isinstance(tags, dict) else {}


def _described(document: Document) -> dict[str, Any]:
    """The document with what our rules say of themselves, where they say it."""
    data = document.data
    tags = _labels(data)
    detection = data["detection"]
    source = source_of(document)
    skill = tags.get("scan_target") in _SKILLS
    return {
        **data,
        "level": data.get("severity", "medium"),
        "tags": tags_of(data),
        _LABELS: tags,
        "logsource": {"product": PRODUCT, "category": source},
        "tacho": {
            "risk_category": _CATEGORIES.get(str(tags.get("category")), "agent_operation"),
            "confidence": _CONFIDENCE.get(str(tags.get("confidence")), 50),
            "lookalikes": _texts(detection.get("false_positives")),
            "source": _sources(data.get("references")),
            "samples": samples_of(data, source, skill=skill),
        },
    }


def tags_of(data: Mapping[str, Any]) -> list[str]:
    """References to frameworks as tags of ours; what is no id of one is tagged as the format's."""
    tags = _labels(data)
    found = [f"atr.{_slug(tags.get(key))}" for key in ("category", "subcategory") if tags.get(key)]
    references = data.get("references")
    for framework, ids in references.items() if isinstance(references, dict) else ():
        found += [tag for one in _texts(ids) if (tag := _tag(str(framework), one)) is not None]
    known = known_tags()
    own = ("atr.", "attack.", "cve.", "cwe.")
    return [
        tag if tag in known or tag.startswith(own) else f"atr.{tag}" for tag in dict.fromkeys(found)
    ]


_REFERENCES: Mapping[str, re.Pattern[str]] = {
    "owasp_llm": re.compile(r"(?P<id>LLM\d+)(?::(?P<year>\d{4}))?"),
    "owasp_agentic": re.compile(r"(?P<id>ASI\d+)"),
    "mitre_atlas": re.compile(r"(?P<id>AML\.T[A]?\d+(?:\.\d+)?)"),
    "mitre_attack": re.compile(r"(?P<id>TA?\d+(?:\.\d+)?)"),
    "cve": re.compile(r"CVE-(?P<id>\d{4}-\d+)"),
    "cwe": re.compile(r"CWE-(?P<id>\d+)"),
}
_NAMESPACES = {
    "owasp_agentic": "owasp-asi", "mitre_atlas": "atlas", "mitre_attack": "attack", "cve": "cve",
    "cwe": "cwe",
}  # fmt: skip


def _tag(framework: str, text: str) -> str | None:
    pattern = _REFERENCES.get(framework)
    found = pattern.match(text) if pattern is not None else None
    if found is None:
        return None
    if framework == "owasp_llm":
        return f"owasp-llm.{found['year'] or '2025'}.{found['id'].lower()}"
    return f"{_NAMESPACES[framework]}.{found['id'].lower()}"


def _sources(references: Any) -> list[str]:
    if not isinstance(references, dict):
        return []
    return [text for key in ("research", "external") for text in _texts(references.get(key))]


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(one) for one in value] if isinstance(value, list) else []


def _slug(text: Any) -> str:
    return re.sub(r"[^a-z0-9]+", "-", str(text).lower()).strip("-")
