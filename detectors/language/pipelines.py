"""Sigma processing pipelines: an operator's files that fit rules to the events they are asked of.

pySigma reads and applies them. What speaks to the world (files, commands, HTTP) or makes query text
has no place here and is refused. A name without a path is a pipeline that ships with the engine.
"""

import copy
import functools
import operator
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from sigma.correlations import SigmaCorrelationRule
from sigma.exceptions import SigmaError
from sigma.policy import default_policy
from sigma.processing.pipeline import ProcessingItem, ProcessingPipeline
from sigma.processing.transformations import (
    NestedProcessingTransformation,
    RegexTransformation,
    ValueListPlaceholderTransformation,
)
from sigma.rule import SigmaRule
from sigma.types import SigmaCasedString, SigmaString

from tachograph.detectors.language.bounds import simplified
from tachograph.detectors.language.rulefile import Document, Problem, Unreadable, read

SHIPPED = Path(__file__).parent / "pipelines_shipped"
_REFUSED = {
    "file_placeholders": "it reads files",
    "http_placeholders": "it speaks to the network",
    "command_placeholders": "it runs commands",
    "field_name_transform": (
        "it calls a function of Python, which no file can hold; field_name_mapping renames fields"
    ),
    "query_expression_placeholders": "it makes query text, and rules are not turned into queries",
}
_NO_QUERIES = ("postprocessing", "finalizers")
# How the parser says which keys of a transformation are wrong: by its own insides.
_LACKING = re.compile(r"\w+\.__init__\(\) missing \d+ required positional arguments?: ")
_UNKNOWN = re.compile(r"\w+\.__init__\(\) got an unexpected keyword argument ")
_WILDCARDS = re.compile(r"[*?\\]")


class _AsText(RegexTransformation):
    """What pySigma makes expressions for backends that mind case. Texts mind none here, so they
    stay what they are; `plain` makes them mind it.
    """

    # Its parent reads which methods there are from the annotation of the class itself.
    method: Literal["plain", "ignore_case_flag", "ignore_case_brackets"]

    def apply_string_value(self, field: str | None, val: SigmaString) -> SigmaString:  # noqa: ARG002
        """See pySigma."""
        mind = self.method == "plain" and not isinstance(val, SigmaCasedString)
        return SigmaCasedString.from_sigma_string(val) if mind else val


Lists = Mapping[str, Sequence[str | int]]


class Pipelines:
    """What is done to every rule before it is read, in order of priority."""

    def __init__(
        self, pipelines: Sequence[ProcessingPipeline] = (), lists: Lists | None = None
    ) -> None:
        """`lists`: values of placeholders (`%name%` with the modifier `expand`), asked last."""
        ordered = sorted(pipelines, key=lambda pipeline: pipeline.priority)
        made = [*ordered, *([_of_lists(lists)] if lists else [])]
        self._whole = functools.reduce(operator.add, made) if made else None

    def apply(self, rule: SigmaRule) -> bool:
        """Change the rule, in place; whether anything did. Raises SigmaError."""
        if self._whole is None:
            return False
        self._whole.apply(rule)
        return any(self._whole.applied)

    def correlation(self, document: Document) -> Document:
        """A correlation with the fields it groups by and asks under their new names. Raises
        SigmaError.
        """
        asked = document.data["correlation"]
        if self._whole is None:
            return document
        try:
            rule = SigmaCorrelationRule.from_dict(
                {"title": "any", "correlation": simplified(asked)}
            )
        except (SigmaError, TypeError, ValueError, AttributeError, KeyError):
            # Whoever reads it says what is wrong with it.
            return document
        self._whole.apply(rule)
        data = {**document.data, "correlation": {**asked, **_renamed(rule, asked)}}
        return msgspec.structs.replace(document, data=data)


def _renamed(rule: SigmaCorrelationRule, asked: Mapping[str, Any]) -> dict[str, Any]:
    names: dict[str, Any] = {}
    if rule.group_by:
        names["group-by"] = list(rule.group_by)
    if rule.aliases:
        names["aliases"] = rule.aliases.to_dict()
    field = getattr(rule.condition, "fieldref", None)
    if field is not None:
        names["condition"] = {**asked["condition"], "field": field}
    return names


def _of_lists(lists: Lists) -> ProcessingPipeline:
    known = ValueListPlaceholderTransformation(include=list(lists))
    values = {name: [_plain(value) for value in values] for name, values in lists.items()}
    return ProcessingPipeline([ProcessingItem(known)], vars=values, policy=default_policy)


def _plain(value: str | int) -> str | int:
    """A value of a list means itself: its stars are no wildcards."""
    return _WILDCARDS.sub(r"\\\g<0>", value) if isinstance(value, str) else value


def read_pipelines(
    names: Sequence[Path | str], lists: Lists | None = None
) -> tuple[Pipelines, list[Problem]]:
    """The pipelines of these files or shipped names, and what is wrong with them."""
    documents: list[Document] = []
    problems: list[Problem] = []
    for name in names:
        try:
            documents += read(pipeline_file(name))
        except Unreadable as error:
            problems.append(error.problem)
    made, wrong = pipelines_of(documents, lists)
    return made, [*problems, *wrong]


def pipelines_of(
    documents: Iterable[Document], lists: Lists | None = None
) -> tuple[Pipelines, list[Problem]]:
    """The pipelines of documents already read, and what is wrong with them."""
    made: list[ProcessingPipeline] = []
    problems: list[Problem] = []
    for document in documents:
        try:
            made.append(_pipeline(document))
        except Unreadable as error:
            problems.append(error.problem)
    return Pipelines(made, lists), problems


def pipeline_file(name: Path | str) -> Path:
    """The file of a pipeline, or the shipped one of that name."""
    path = Path(name)
    shipped = SHIPPED / f"{name}.yml"
    return shipped if not path.exists() and path.name == str(name) and shipped.is_file() else path


def _pipeline(document: Document) -> ProcessingPipeline:
    data = copy.deepcopy(document.data)
    for key in _NO_QUERIES:
        if data.get(key):
            raise Unreadable(document.problem(f"{key} works on query text: there is none", key))
    for item in _items(data.get("transformations")):
        kind = str(item.get("type"))
        if kind in _REFUSED:
            reason = f"transformation {kind} is not supported: {_REFUSED[kind]}"
            raise Unreadable(document.problem(reason, "transformations"))
    try:
        made = ProcessingPipeline.from_dict(data, policy=default_policy)
        _keep_ends(made)
        return made
    except (SigmaError, TypeError, ValueError, AttributeError, KeyError) as error:
        reason = f"no processing pipeline: {_in_words(error)}"
        raise Unreadable(document.problem(reason, "transformations")) from error


def _in_words(error: Exception) -> str:
    """What is wrong with a pipeline, without the names of the parser's classes."""
    told = str(error.args[0]) if error.args else repr(error)
    return _UNKNOWN.sub("there is no key ", _LACKING.sub("there is no value for ", told))


def _keep_ends(pipeline: ProcessingPipeline) -> None:
    """Let no text become an expression that is found anywhere in another, nested items too."""
    for item in pipeline.items:
        if isinstance(item.transformation, RegexTransformation):
            item.transformation = _AsText(item.transformation.method)
            item.transformation.set_processing_item(item)
        elif isinstance(item.transformation, NestedProcessingTransformation):
            _keep_ends(item.transformation._nested_pipeline)  # noqa: SLF001


def _items(transformations: Any) -> Iterator[dict[str, Any]]:
    """All transformations, nested ones too."""
    for item in transformations if isinstance(transformations, list) else []:
        if isinstance(item, dict):
            yield item
            yield from _items(item.get("items"))
