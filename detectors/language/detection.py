"""The detection of a Sigma document, fitted by pipelines and filters, as one condition of ours."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from sigma.exceptions import SigmaError
from sigma.rule import SigmaLevel, SigmaLogSource, SigmaRule, SigmaRuleTag

from tachograph.detectors.language import atr
from tachograph.detectors.language.conditions import And, Node
from tachograph.detectors.language.filters import Filter
from tachograph.detectors.language.pipelines import Pipelines
from tachograph.detectors.language.rulefile import Document, RefusedDocument, semantic_hash
from tachograph.detectors.language.sigma import POLICY, UnsupportedRule, condition_of, in_words
from tachograph.detectors.language.spelling import spelled

_ANY_SOURCE = {"category": "any"}


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
        rule = _rule(document, data["detection"])
        original = rule.logsource
        condition, changed = _condition(document, rule, pipelines)
        logsource, notes = rule.logsource, ()
    fitting = [found for found in filters if found.fits(document, original)]
    for found in fitting:
        asked = {**found.selections, "condition": found.condition}
        added, _ = _condition(found.document, _rule(document, asked, of=found.document), pipelines)
        condition = And((condition, added))
    # What pipelines and filters do not touch keeps its hash, whatever else they say.
    version = semantic_hash(data["detection"])
    if changed or fitting:
        version = semantic_hash([version, repr(condition)])
    return Detected(condition, version, original, logsource, notes)


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
