"""The detection of a Sigma document, fitted by pipelines and filters, as one condition of ours."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sigma.exceptions import SigmaError
from sigma.rule import SigmaLevel, SigmaLogSource, SigmaRule, SigmaRuleTag

from tachograph.detectors.language import atr
from tachograph.detectors.language.conditions import And, Node
from tachograph.detectors.language.filters import Filter
from tachograph.detectors.language.pipelines import Pipelines
from tachograph.detectors.language.refusals import in_words
from tachograph.detectors.language.rulefile import Document, RefusedDocument, semantic_hash
from tachograph.detectors.language.sigma import POLICY, UnsupportedRule, condition_of
from tachograph.detectors.language.spelling import spelled

_ANY_SOURCE = {"category": "any"}
_NO_SELECTIONS = frozenset({"condition", "timeframe", "rules"})


class Detected(NamedTuple):
    """What a document asks of one event. `version` is its semantic hash; `original` is the log
    source it names, `logsource` the one that pipelines leave it with.
    """

    condition: Node
    version: str
    original: SigmaLogSource
    logsource: SigmaLogSource
    # What is not as its author meant it.
    notes: tuple[str, ...] = ()


def detected(document: Document, pipelines: Pipelines, filters: Sequence[Filter]) -> Detected:
    """Read the detection. Raises RefusedDocument, and UnknownField through its caller's fields."""
    data = document.data
    if atr.is_atr(document):
        original = logsource = SigmaLogSource.from_dict(data["logsource"])
        condition, notes = atr.asked_of(document)
        changed = False
    else:
        rule, original, condition, changed = _asked(document, data["detection"], pipelines)
        logsource, notes = rule.logsource, ()
    fitting = [found for found in filters if found.fits(document, original)]
    for found in fitting:
        asked = {**found.selections, "condition": found.condition}
        _, _, added, _ = _asked(document, asked, pipelines, of=found.document)
        condition = And((condition, added))
    # What pipelines and filters do not touch keeps its hash, whatever else they say.
    version = semantic_hash(data["detection"])
    if changed or fitting:
        version = semantic_hash([version, repr(condition)])
    return Detected(condition, version, original, logsource, notes)


def _asked(
    document: Document, detection: Any, pipelines: Pipelines, *, of: Document | None = None
) -> tuple[SigmaRule, SigmaLogSource, Node, bool]:
    """A detection (a filter's, if it is `of` a filter) as a rule that pipelines fitted, its log
    source before that, what it asks, and whether they changed it. Raises RefusedDocument.
    """
    try:
        rule = _rule(document, detection, of=of)
        original = rule.logsource
        return rule, original, *_condition(of or document, rule, pipelines)
    except RefusedDocument as refused:
        if not isinstance(detection, Mapping):
            raise
        raise _pointed(refused, document, detection, pipelines, of) from refused


def _pointed(
    refused: RefusedDocument,
    document: Document,
    detection: Mapping[str, Any],
    pipelines: Pipelines,
    of: Document | None,
) -> RefusedDocument:
    """The refusal as those of single items, where these are what cannot be honoured."""

    def refusal(item: Any) -> str | None:
        alone = {"item": item, "condition": "item"}
        try:
            _condition(of or document, _rule(document, alone, of=of), pipelines)
        except RefusedDocument as error:
            return str(error)
        return None

    if refusal({"any": "text"}):
        return refused  # the rule as a whole, whatever it asks
    section = "detection" if of is None else "filter"
    found = [
        RefusedDocument(reason, section, *keys, document=of)
        for keys, item in _single(detection)
        if (reason := refusal(item))
    ]
    if not found:
        return refused
    found[0].more = found[1:]
    return found[0]


def _single(detection: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each item of each selection, with the keys of its place."""
    for name, selection in detection.items():
        if name in _NO_SELECTIONS:
            continue
        listed = isinstance(selection, list)
        for at, one in enumerate(selection if listed else [selection]):
            place = (str(name), str(at)) if listed else (str(name),)
            if isinstance(one, Mapping) and one:
                yield from (((*place, str(key)), {key: value}) for key, value in one.items())
            else:
                yield place, [one] if listed else one


def _rule(document: Document, detection: Any, *, of: Document | None = None) -> SigmaRule:
    """A detection (a filter's, if it is `of` a filter) with the rule's log source."""
    data = document.data
    place = of or document
    section = "detection" if of is None else "filter"
    try:
        rule = SigmaRule.from_dict(
            {
                "title": str(data.get("title", "untitled")),
                "logsource": data.get("logsource", _ANY_SOURCE),
                "detection": spelled(detection),
            },
            collect_errors=True,
            policy=POLICY,
        )
    except SigmaError as error:
        raise RefusedDocument(in_words(error), section, "condition", document=place) from error
    except (TypeError, AttributeError, KeyError, ValueError, RecursionError) as error:
        raise RefusedDocument(f"no Sigma {section}: {error!r}", section, document=place) from error
    if rule.errors:
        raise RefusedDocument(in_words(rule.errors[0]), section, document=place)
    _identify(rule, data)
    return rule


def _identify(rule: SigmaRule, data: Mapping[str, Any]) -> None:
    """What conditions of pipelines may ask of a rule beside its detection."""
    with contextlib.suppress(ValueError):
        rule.id = UUID(str(data.get("id")))
    rule.name = data.get("name")
    with contextlib.suppress(KeyError):
        rule.level = SigmaLevel[str(data.get("level")).upper()]
    for tag in data.get("tags") or []:
        with contextlib.suppress(SigmaError, AttributeError):
            rule.tags.append(SigmaRuleTag.from_str(tag))


def _condition(place: Document, rule: SigmaRule, pipelines: Pipelines) -> tuple[Node, bool]:
    """What a rule made of the document asks once pipelines have fitted it; whether any did."""
    section = "filter" if "filter" in place.data else "detection"
    try:
        changed = pipelines.apply(rule)
        return condition_of(rule), changed
    except UnsupportedRule as error:
        raise RefusedDocument(str(error), section, document=place) from error
    except SigmaError as error:
        raise RefusedDocument(in_words(error), section, "condition", document=place) from error
    except (TypeError, AttributeError, KeyError, ValueError, RecursionError) as error:
        raise RefusedDocument(f"no Sigma {section}: {error!r}", section, document=place) from error
