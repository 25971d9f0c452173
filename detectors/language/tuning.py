"""Tuning knobs: what a rule leaves to its operator, put in before the rule is read.

A rule names its knobs in `tacho.tuning`. Elsewhere in the rule `$name` as a whole value stands for
the knob's value with its type, and `${name}` within a text for its words. An operator's file gives
other values by rule (id or name) and knob; the rule's file stays as it is, and its semantic hash
follows the values.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from tachograph.detectors.language.documents import (
    Document,
    Problem,
    RefusedDocument,
    Unreadable,
)

_WHOLE = re.compile(r"\$([a-z][a-z0-9_]*)\Z")
_WITHIN = re.compile(r"\$\{([a-z][a-z0-9_]*)\}")

Value = bool | int | float | str | list[str | int | float]


class Knob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One value that an operator may set."""

    default: Value
    unit: str
    meaning: str


class Tuning(msgspec.Struct, frozen=True):
    """Values of an operator: by rule, by knob. `documents` know the lines."""

    values: dict[str, dict[str, Any]] = {}
    documents: list[Document] = []

    def problem(self, reason: str, *keys: str) -> Problem:
        """A problem at the line that sets it."""
        for document in self.documents:
            if keys[0] in document.data:
                return document.problem(reason, *keys)
        return Problem("", 0, reason)


UNTUNED = Tuning()


def read_tuning(path: Path) -> Tuning:
    """An operator's file: rule → knob → value. Raises Unreadable."""
    # A knob is part of a compiled rule, and reading files takes long to load.
    from tachograph.detectors.language.rulefile import read

    return tuning_of(read(path))


def tuning_of(documents: list[Document]) -> Tuning:
    """The tuning of documents already read. Raises Unreadable."""
    values: dict[str, dict[str, Any]] = {}
    for document in documents:
        for rule, knobs in document.data.items():
            if not isinstance(knobs, dict) or not all(isinstance(name, str) for name in knobs):
                raise Unreadable(document.problem(f"{rule}: names of knobs and values", rule))
            values.setdefault(rule, {}).update(knobs)
    return Tuning(values, documents)


def knobs_of(document: Document) -> dict[str, Knob]:
    """The knobs that a rule names. Raises RefusedDocument."""
    tacho = document.data.get("tacho")
    named = tacho.get("tuning") if isinstance(tacho, dict) else None
    try:
        return msgspec.convert(named or {}, dict[str, Knob])
    except msgspec.ValidationError as error:
        raise RefusedDocument(f"section tacho.tuning: {error}", "tacho", "tuning") from error


def unused(document: Document) -> list[str]:
    """Knobs that stand nowhere in the rule: turning them would change nothing."""
    used = {name for text in _texts(_tunable(document.data)) for name in _placeholders(text)}
    return [name for name in knobs_of(document) if name not in used]


def tuned(
    documents: Sequence[Document], tuning: Tuning, *, whole: bool = True
) -> tuple[list[Document], list[Problem]]:
    """The documents with values in place of knobs, and what is wrong with knobs and values.

    `whole`: these are all the rules there are, so a value for a rule that is not among them is
    wrong too.
    """
    done: list[Document] = []
    problems: list[Problem] = []
    for document in documents:
        try:
            values, wrong = _values(document, tuning)
        except RefusedDocument as refused:
            problems.append(document.problem(str(refused), *refused.keys))
            continue
        problems += wrong
        done.append(_filled(document, values) if values else document)
    known = {name for document in documents for name in document.names}
    if whole:
        strange = [name for name in tuning.values if name not in known]
        problems += [tuning.problem(f"{name} is no rule that is loaded", name) for name in strange]
    return done, problems


def _values(document: Document, tuning: Tuning) -> tuple[dict[str, Any], list[Problem]]:
    knobs = knobs_of(document)
    values: dict[str, Any] = {name: knob.default for name, knob in knobs.items()}
    wrong: list[Problem] = []
    for rule in reversed(document.names):
        for name, value in tuning.values.get(rule, {}).items():
            if name not in knobs:
                known = ", ".join(knobs) or "none"
                reason = f"{name} is no knob of {rule}; its knobs: {known}"
                wrong.append(tuning.problem(reason, rule, name))
            elif _kind(value) != _kind(knobs[name].default):
                reason = f"{name} of {rule} is a {_kind(knobs[name].default)}, not {value!r}"
                wrong.append(tuning.problem(reason, rule, name))
            else:
                values[name] = value
    return values, wrong


def _kind(value: Any) -> str:
    match value:
        case bool():
            return "truth value"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list() if all(isinstance(v, str | int | float) for v in value):
            return "list"
    return "value of no known kind"


def _filled(document: Document, values: Mapping[str, Any]) -> Document:
    data = {key: _put(value, values) for key, value in _tunable(document.data).items()}
    tacho = document.data["tacho"]
    data["tacho"] = {**data["tacho"], "tuning": tacho["tuning"]}
    return msgspec.structs.replace(document, data=data)


def _tunable(data: Mapping[str, Any]) -> dict[str, Any]:
    """The rule without the section that names its knobs."""
    tacho = data.get("tacho")
    if not isinstance(tacho, dict):
        return dict(data)
    return {**data, "tacho": {key: value for key, value in tacho.items() if key != "tuning"}}


def _put(value: Any, values: Mapping[str, Any]) -> Any:
    match value:
        case str():
            whole = _WHOLE.match(value)
            if whole and whole[1] in values:
                return values[whole[1]]
            return _WITHIN.sub(lambda found: _word(found, values), value)
        case dict():
            return {key: _put(inner, values) for key, inner in value.items()}
        case list():
            return [_put(inner, values) for inner in value]
    return value


def _word(found: re.Match[str], values: Mapping[str, Any]) -> str:
    name = found[1]
    return str(values[name]) if name in values else found[0]


def _placeholders(text: str) -> list[str]:
    whole = _WHOLE.match(text)
    return [whole[1]] if whole else _WITHIN.findall(text)


def _texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for inner in value.values():
                yield from _texts(inner)
        case list():
            for inner in value:
                yield from _texts(inner)
