"""Rules of old Sigma that stand in several documents of a file, by `action`: global, repeat, reset.

What a global document says, the ones after it say too (its word counts where both say something);
`repeat` is the document before, changed. Correlations and filters stand for themselves.
"""

import copy
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from tachograph.detectors.language.rulefile import Document, Problem, Unreadable

_Data = dict[str, Any]


def whole(documents: Sequence[Document]) -> tuple[list[Document], list[Problem]]:
    """The documents of some files, each saying all that it says, and what is wrong with them."""
    made: list[Document] = []
    problems: list[Problem] = []
    for _, group in itertools.groupby(documents, key=lambda document: document.file):
        of_file = list(group)
        if not any("action" in document.data for document in of_file):
            made += of_file
            continue
        try:
            said = list(_said(of_file))
        except Unreadable as error:
            problems.append(error.problem)
            continue
        made += _parts(said)
        if not said:
            problems.append(of_file[0].problem("this is said of no document", "action"))
    return made, problems


def _said(documents: Sequence[Document]) -> Iterator[Document]:
    common: Document | None = None
    before: Document | None = None
    for document in documents:
        match document.data.get("action"):
            case "global":
                common = before = document
            case "reset":
                common = None
            case "repeat" if before is not None:
                before = _joined(before, document)
                yield before
            case None if document.data.keys() & {"correlation", "filter"}:
                yield document
            case None:
                before = document if common is None else _joined(document, common, at=document)
                yield before
            case "repeat":
                raise Unreadable(document.problem("repeats nothing: no document before", "action"))
            case action:
                reason = f"action {action} is none of global, repeat and reset"
                raise Unreadable(document.problem(reason, "action"))


def _joined(one: Document, other: Document, *, at: Document | None = None) -> Document:
    """Both together, `other` last; placed at the later document."""
    data = _updated(copy.deepcopy(one.data), other.data)
    data.pop("action", None)
    place = other if at is None else at
    lines = {**one.lines, **other.lines, **place.lines}
    return Document(place.file, place.line, data, lines)


def _updated(data: _Data, more: _Data) -> _Data:
    for key, value in more.items():
        inner = data.get(key)
        both = isinstance(value, dict) and isinstance(inner, dict)
        data[key] = _updated(inner, value) if both else copy.deepcopy(value)  # type: ignore[arg-type]
    return data


def _parts(documents: list[Document]) -> list[Document]:
    """Documents of one name are parts of one rule, which matches where any of them does."""
    times = Counter(document.names[0] for document in documents if document.names)
    return [
        msgspec.structs.replace(document, part=True)
        if document.names and times[document.names[0]] > 1
        else document
        for document in documents
    ]
