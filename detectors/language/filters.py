"""Sigma filters: what an operator adds to the conditions of rules, mostly what they are to leave
alone.

A filter names rules (or any) and their log source; to each rule that fits, its condition is added.
It never touches correlations, only the rules they refer to.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sigma.exceptions import SigmaError
from sigma.filters import SigmaFilter
from sigma.rule import SigmaLogSource

from tachograph.detectors.language.refusals import in_words
from tachograph.detectors.language.rulefile import Document, RefusedDocument
from tachograph.detectors.language.sigma import POLICY

_NOT_SELECTIONS = frozenset({"rules", "condition"})


@dataclass(frozen=True)
class Filter:
    """A filter read. `rules`: ids and names, None for any rule of the log source."""

    document: Document
    logsource: SigmaLogSource
    rules: frozenset[str] | None
    selections: Mapping[str, Any]
    condition: str

    def names(self, document: Document) -> bool:
        """Whether it speaks of the rule, whatever its log source."""
        return self.rules is None or not self.rules.isdisjoint(document.names)

    def fits(self, document: Document, logsource: SigmaLogSource) -> bool:
        """Whether it is added to the rule."""
        return self.names(document) and logsource in self.logsource


def filter_of(document: Document) -> Filter:
    """The filter that a document is. Raises RefusedDocument."""
    data = document.data
    try:
        read = SigmaFilter.from_dict(
            {
                "title": str(data.get("title", "untitled")),
                **{key: data[key] for key in ("logsource", "filter") if key in data},
            },
            collect_errors=True,
            policy=POLICY,
        )
    except (SigmaError, TypeError, AttributeError, KeyError, ValueError) as error:
        reason = in_words(error) if isinstance(error, SigmaError) else f"{error!r}"
        raise RefusedDocument(f"no Sigma filter: {reason}", "filter") from error
    if read.errors:
        raise RefusedDocument(in_words(read.errors[0]), "filter")
    asked = read.filter.rules
    selections = {
        name: value for name, value in data["filter"].items() if name not in _NOT_SELECTIONS
    }
    return Filter(
        document=document,
        logsource=read.logsource,
        rules=None if isinstance(asked, str) else frozenset(ref.reference for ref in asked),
        selections=selections,
        condition=read.filter.condition[0],
    )


def idle(found: Filter, documents: Sequence[Document], logsources: Sequence[SigmaLogSource]) -> str:
    """Why a filter is added to no rule, or not to one that it names; empty if it is to all.

    `documents` and `logsources`: the rules that are loaded, correlations without a log source left
    out.
    """
    pairs = list(zip(documents, logsources, strict=True))
    if found.rules is None:
        used = any(source in found.logsource for _, source in pairs)
        return "" if used else "no rule that is loaded has its log source"
    for name in sorted(found.rules):
        fitting = [source for document, source in pairs if name in document.names]
        if not fitting:
            return f"{name} is no rule that is loaded (a filter cannot reach correlations)"
        if not any(source in found.logsource for source in fitting):
            return f"{name} is of another log source than the filter"
    return ""
