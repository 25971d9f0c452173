"""Sigma correlations, parsed by pySigma, as correlations of ours: over which time, by which groups.

Whatever cannot be honoured raises RefusedDocument with the reason and the keys that say so.
"""

from collections.abc import Callable

from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationConditionOperator,
    SigmaCorrelationRule,
    SigmaCorrelationType,
)
from sigma.exceptions import SigmaError

from tachograph.detectors.language.fields import FieldMap, UnknownField
from tachograph.detectors.language.rule import MICROS, Correlation, Judged, Meta, Sequence, Window
from tachograph.detectors.language.rulefile import Document, RefusedDocument, semantic_hash
from tachograph.detectors.language.sigma import in_words

# The longest timespan a window may have: the topic must still hold what a replay needs (SEMANTICS
# 4).
MAX_TIMESPAN_S = 24 * 3600
MAX_STEPS = 8
_KNOWN_TYPES = (SigmaCorrelationType.EVENT_COUNT, SigmaCorrelationType.TEMPORAL_ORDERED)

# Name or id of a rule → its place among the detections and its version. Raises RefusedDocument.
Referred = Callable[[str], tuple[int, str]]
# Kind and version → what the document says of itself.
MetaOf = Callable[[Judged, str], Meta]


def correlation_of(
    document: Document, fields: FieldMap, referred: Referred, meta_of: MetaOf
) -> Correlation:
    """The correlation that a document asks for. Raises RefusedDocument."""
    rule = _parsed(document)
    if rule.type not in _KNOWN_TYPES:
        name = getattr(rule.type, "name", str(rule.type)).lower()
        raise RefusedDocument(
            f"correlation type {name} is not supported yet", "correlation", "type"
        )
    if len(rule.aliases):
        raise RefusedDocument("aliases are not supported yet", "correlation", "aliases")
    if rule.timespan.seconds > MAX_TIMESPAN_S:
        raise RefusedDocument(
            f"timespan {rule.timespan.spec} is longer than {MAX_TIMESPAN_S} s",
            "correlation",
            "timespan",
        )
    group_by, across = _group_by(rule, fields)
    found = [referred(ref.reference) for ref in rule.rules or []]
    if not found:
        raise RefusedDocument("refers to no rules", "correlation", "rules")
    detections = [at for at, _ in found]
    version = semantic_hash([document.data["correlation"], [asked for _, asked in found]])
    span_us = rule.timespan.seconds * MICROS
    if rule.type is SigmaCorrelationType.EVENT_COUNT:
        meta = meta_of("window", version)
        return Window(meta, detections, group_by, span_us, _threshold(rule), across)
    _check_sequence(rule)
    return Sequence(meta_of("sequence", version), detections, group_by, span_us, across)


def _parsed(document: Document) -> SigmaCorrelationRule:
    try:
        rule = SigmaCorrelationRule.from_dict(
            {
                "title": str(document.data.get("title", "untitled")),
                "correlation": document.data["correlation"],
            },
            collect_errors=True,
        )
    except SigmaError as error:
        raise RefusedDocument(in_words(error), "correlation") from error
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise RefusedDocument(f"no Sigma correlation: {error!r}", "correlation") from error
    if rule.errors:
        raise RefusedDocument(in_words(rule.errors[0]), "correlation")
    return rule


def _group_by(rule: SigmaCorrelationRule, fields: FieldMap) -> tuple[list[str], bool]:
    """Names to group by, and whether a group's events lie in several partitions."""
    names = list(rule.group_by or [])
    try:
        sources = [fields.source(name) for name in names]
    except UnknownField as error:
        raise RefusedDocument(str(error), "correlation", "group-by") from error
    local = fields.local
    return names, local is not None and not any(s.whole and s.column in local for s in sources)


def _threshold(rule: SigmaCorrelationRule) -> int:
    condition = rule.condition
    keys = ("correlation", "condition")
    if not isinstance(condition, SigmaCorrelationCondition):
        raise RefusedDocument("event_count needs a condition such as gte: 5", *keys)
    ops = SigmaCorrelationConditionOperator
    if condition.op not in {ops.GTE, ops.GT}:
        raise RefusedDocument(
            f"condition {condition.op.name.lower()} is judged when a window closes, "
            "which is not supported yet: use gte or gt",
            *keys,
        )
    least = condition.count if condition.op is ops.GTE else condition.count + 1
    if least != int(least) or least < 1:
        raise RefusedDocument(f"a count of {condition.count} makes no threshold", *keys)
    return int(least)


def _check_sequence(rule: SigmaCorrelationRule) -> None:
    steps = len(rule.rules or [])
    if not 2 <= steps <= MAX_STEPS:
        raise RefusedDocument(
            f"a sequence has 2 to {MAX_STEPS} steps, not {steps}", "correlation", "rules"
        )
    condition = rule.condition
    if not isinstance(condition, SigmaCorrelationCondition):
        raise RefusedDocument(
            "boolean conditions of temporal_ordered are not supported yet",
            "correlation",
            "condition",
        )
    ops = SigmaCorrelationConditionOperator
    if condition.op not in {ops.GTE, ops.EQ} or condition.count not in {1, steps}:
        raise RefusedDocument(
            f"a sequence asks for all its {steps} steps; other counts are not supported yet",
            "correlation",
            "condition",
        )
