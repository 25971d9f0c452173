"""Sigma correlations, parsed by pySigma, as correlations of ours: over which time, by which groups.

Whatever cannot be honoured raises RefusedDocument with the reason and the keys that say so.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sigma.correlations import (
    SigmaCorrelationCondition,
    SigmaCorrelationRule,
    SigmaCorrelationTimespan,
    SigmaCorrelationType,
    SigmaExtendedCorrelationCondition,
)
from sigma.exceptions import SigmaError

from tachograph.detectors.language.bounds import (
    bounds_of,
    check_count,
    check_figure,
    simplified,
)
from tachograph.detectors.language.expressions import (
    check_positive,
    expression_of,
    paths_of,
)
from tachograph.detectors.language.fields import FieldMap, UnknownField
from tachograph.detectors.language.refusals import in_words
from tachograph.detectors.language.rule import (
    MICROS,
    Absent,
    Asks,
    Bound,
    Correlation,
    Count,
    Figure,
    FirstSeen,
    Judged,
    Leaf,
    Link,
    Meta,
    Ordered,
    Step,
    Tacho,
    Together,
    Values,
)
from tachograph.detectors.language.rulefile import Document, RefusedDocument, semantic_hash
from tachograph.detectors.limits import Limits
from tachograph.schemas import contracts

MAX_STEPS = 8
# How long a value may stay known. It is remembered in checkpoints; whoever loses them all learns
# anew from what the topic still has.
MAX_KNOWN_S = 90 * 24 * 3600
MAX_LEAVES = 64

Types = SigmaCorrelationType


class Target(msgspec.Struct, frozen=True):
    """What a name in `rules` stands for: detections, or a correlation; all its names; and what it
    asks, hashed.
    """

    names: list[str]
    detections: list[int]
    inner: Correlation | None
    version: str


# Name or id of a rule → what it stands for. Raises RefusedDocument.
Referred = Callable[[str], Target]
# Kind and version → what the document says of itself.
MetaOf = Callable[[Judged, str], Meta]


def correlation_of(
    document: Document, fields: FieldMap, referred: Referred, meta_of: MetaOf
) -> Correlation:
    """The correlation that a document asks for. Raises RefusedDocument."""
    parsed = _parsed(document)
    names = _names(parsed)
    targets = {name: referred(name) for name in names}
    extension = _extension(document)
    reader = _Reader(parsed, names, targets, fields, extension)
    asks = reader.asks(bounds_of(_condition(document)))
    steps = reader.steps(asks)
    asked = [document.data["correlation"], [targets[name].version for name in names]]
    said = _said(extension)
    version = semantic_hash([*asked, said] if said else asked)
    local = all(reader.is_local(leaf) for step in steps for leaf in step.leaves)
    return Correlation(
        meta=meta_of(_kind(asks), version),
        asks=asks,
        steps=steps,
        group_by=list(parsed.group_by or []),
        timespan_us=_timespan_us(parsed, asks),
        window=extension.window,
        gap_us=_gap_us(extension, parsed),
        across=not local or any(step.inner is not None and step.inner.across for step in steps),
    )


def _parsed(document: Document) -> SigmaCorrelationRule:
    asked = document.data["correlation"]
    if isinstance(asked, Mapping):
        asked = simplified(asked)
    try:
        rule = SigmaCorrelationRule.from_dict(
            {"title": str(document.data.get("title", "untitled")), "correlation": asked},
            collect_errors=True,
        )
    except SigmaError as error:
        raise RefusedDocument(in_words(error), "correlation") from error
    except (TypeError, AttributeError, KeyError, ValueError, RecursionError) as error:
        raise RefusedDocument(f"no Sigma correlation: {error!r}", "correlation") from error
    if rule.errors:
        raise RefusedDocument(in_words(rule.errors[0]), "correlation")
    return rule


def _names(rule: SigmaCorrelationRule) -> list[str]:
    """The rules that are referred to: listed, or those that the condition names."""
    names = [ref.reference for ref in rule.rules or []]
    if not names and isinstance(rule.condition, SigmaExtendedCorrelationCondition):
        names = rule.condition.get_referenced_rules()
    if not names:
        raise RefusedDocument("refers to no rules", "correlation", "rules")
    return names


def _condition(document: Document) -> Mapping[str, Any]:
    condition = document.data["correlation"].get("condition")
    return condition if isinstance(condition, Mapping) else {}


def _extension(document: Document) -> Tacho:
    """Of the section `tacho` what concerns time; the rest is read elsewhere."""
    try:
        return msgspec.convert(document.data.get("tacho") or {}, Tacho)
    except msgspec.ValidationError as error:
        raise RefusedDocument(f"section tacho: {error}", "tacho") from error


def _said(extension: Tacho) -> dict[str, Any]:
    """What the extension adds to what the rule asks."""
    usual = Tacho()
    return {
        name: msgspec.to_builtins(getattr(extension, name))
        for name in ("window", "gap", "absent", "first_seen")
        if getattr(extension, name) != getattr(usual, name)
    }


def _kind(asks: Asks) -> Judged:
    match asks:
        case Ordered() | Absent():
            return "sequence"
        case FirstSeen():
            return "first_seen"
        case _:
            return "window"


def _timespan_us(rule: SigmaCorrelationRule, asks: Asks) -> int:
    kept = contracts.topics()["agent.matches"].retention_hours or 0
    most = MAX_KNOWN_S if isinstance(asks, FirstSeen) else kept * 3600
    if rule.timespan.seconds > most:
        why = "" if isinstance(asks, FirstSeen) else ": so long are actions kept"
        raise RefusedDocument(
            f"timespan {rule.timespan.spec} is longer than {most // 3600} hours{why}",
            "correlation",
            "timespan",
        )
    return rule.timespan.seconds * MICROS


def _gap_us(extension: Tacho, rule: SigmaCorrelationRule) -> int:
    if (extension.window == "session") != (extension.gap is not None):
        raise RefusedDocument("`window: session` and `gap` go together", "tacho", "gap")
    if extension.gap is None:
        return 0
    seconds = _duration_s(extension.gap, "gap")
    if not 0 < seconds <= rule.timespan.seconds:
        raise RefusedDocument(
            f"a gap of {extension.gap} is not between 0 and the timespan, which is the longest "
            "session",
            "tacho",
            "gap",
        )
    return seconds * MICROS


def _duration_s(text: str, name: str) -> int:
    """A time span as Sigma writes it, or 0."""
    if text in {"0", "0s"}:
        return 0
    try:
        return SigmaCorrelationTimespan(text).seconds
    except SigmaError as error:
        raise RefusedDocument(f"{name}: {in_words(error)}", "tacho", name) from error


class _Reader:
    """Reads one parsed correlation."""

    def __init__(
        self,
        rule: SigmaCorrelationRule,
        names: Sequence[str],
        targets: Mapping[str, Target],
        fields: FieldMap,
        extension: Tacho,
    ) -> None:
        self._rule = rule
        self._names = names
        self._targets = targets
        self._fields = fields
        self._extension = extension
        self._aliases = self._read_aliases()

    # --- what it asks -----------------------------------------------------------------------------

    def asks(self, bounds: list[Bound]) -> Asks:
        """What is asked of the events in a window."""
        asks = self._extended(bounds)
        if asks is None:
            asks = self._usual(bounds)
        if self._extension.window != "sliding" and isinstance(asks, Absent | FirstSeen):
            raise RefusedDocument("has no window of its own kind", "tacho", "window")
        return asks

    def _extended(self, bounds: list[Bound]) -> Asks | None:
        """What Sigma has no words for."""
        absent, first = self._extension.absent, self._extension.first_seen
        if absent is not None and first is not None:
            raise RefusedDocument("either absent or first_seen", "tacho", "absent")
        if absent is not None:
            asked = bounds or isinstance(self._rule.condition, SigmaExtendedCorrelationCondition)
            if self._rule.type is not Types.TEMPORAL_ORDERED or len(self._names) != 2 or asked:
                raise RefusedDocument(
                    "absent goes with a temporal_ordered correlation of two rules and no condition",
                    "tacho",
                    "absent",
                )
            if absent != self._names[1]:
                raise RefusedDocument(
                    f"absent names the second rule, {self._names[1]}", "tacho", "absent"
                )
            return Absent()
        if first is None:
            return None
        if self._rule.type is not Types.VALUE_COUNT or bounds != [Bound("gte", 1)]:
            raise RefusedDocument(
                "first_seen goes with a value_count correlation and the condition gte: 1",
                "tacho",
                "first_seen",
            )
        learning = _duration_s(str(first.learning), "first_seen")
        if learning > self._rule.timespan.seconds:
            raise RefusedDocument(
                f"learns for {first.learning}, but knows values for {self._rule.timespan.spec}",
                "tacho",
                "first_seen",
            )
        return FirstSeen(self._value_fields(), learning * MICROS)

    def _usual(self, bounds: list[Bound]) -> Asks:
        condition = self._rule.condition
        if isinstance(condition, SigmaExtendedCorrelationCondition):
            return self._boolean(condition)
        most = Limits().events_per_group
        match self._rule.type:
            case Types.EVENT_COUNT:
                check_count(bounds, most, "events")
                return Count(bounds)
            case Types.VALUE_COUNT:
                check_count(bounds, most, "values")
                return Values(self._value_fields(), bounds)
            case Types.TEMPORAL:
                return Together(self._of_steps(bounds))
            case Types.TEMPORAL_ORDERED:
                return self._ordered(bounds)
            case _:
                return self._figure(condition, bounds)

    def _boolean(self, condition: SigmaExtendedCorrelationCondition) -> Asks:
        places = {name: place for place, name in enumerate(self._names)}
        self._check_steps(least=1)
        expression = expression_of(condition.parsed, places)
        if self._rule.type is Types.TEMPORAL_ORDERED:
            return Ordered(paths_of(expression, MAX_STEPS))
        check_positive(expression)
        return Together(expression=expression)

    def _ordered(self, bounds: list[Bound]) -> Ordered:
        """Sigma's default, and `gte: 1`, which many write for "it happened": all steps."""
        number = len(self._names)
        bounds = self._of_steps(bounds)
        once = bounds in ([Bound("gte", 1)], [Bound("eq", 1)], [Bound("gt", 0)])
        if once or bounds == [Bound("gte", number)]:
            return Ordered((tuple(map(Link, range(number))),))
        return Ordered(bounds=bounds)

    def _of_steps(self, bounds: list[Bound]) -> list[Bound]:
        number = len(self._names)
        self._check_steps()
        if not bounds or bounds == [Bound("eq", number)]:
            return [Bound("gte", number)]
        check_count(bounds, number, "rules")
        return bounds

    def _check_steps(self, least: int = 2) -> None:
        number = len(self._names)
        if not least <= number <= MAX_STEPS:
            raise RefusedDocument(
                f"refers to {least} to {MAX_STEPS} rules, not to {number}", "correlation", "rules"
            )
        different = {tuple(self._targets[name].names) for name in self._names}
        if self._rule.type is Types.TEMPORAL and len(different) != number:
            raise RefusedDocument("refers to a rule twice", "correlation", "rules")

    def _figure(self, condition: SigmaCorrelationCondition, bounds: list[Bound]) -> Figure:
        check_figure(bounds)
        fields = self._value_fields()
        if len(fields) != 1:
            raise RefusedDocument("a figure is made of one field", "correlation", "condition")
        match self._rule.type:
            case Types.VALUE_SUM:
                return Figure("sum", fields[0], bounds)
            case Types.VALUE_AVG:
                return Figure("avg", fields[0], bounds)
            case Types.VALUE_MEDIAN:
                return Figure("percentile", fields[0], bounds)
        percent = condition.percentile
        if percent is None or not 0 <= percent <= 100:
            raise RefusedDocument(
                f"value_percentile needs percentile: 0 to 100, not {percent}",
                "correlation",
                "condition",
            )
        return Figure("percentile", fields[0], bounds, percent)

    def _value_fields(self) -> list[str]:
        condition = self._rule.condition
        found = condition.fieldref if isinstance(condition, SigmaCorrelationCondition) else None
        fields = [found] if isinstance(found, str) else [str(name) for name in found or []]
        if not fields:
            raise RefusedDocument("the condition names no field", "correlation", "condition")
        return fields

    # --- what feeds it ----------------------------------------------------------------------------

    def steps(self, asks: Asks) -> list[Step]:
        """The steps, with the fields of their events behind every name."""
        values: list[str] = []
        match asks:
            case Values(fields=fields) | FirstSeen(fields=fields):
                values = fields
            case Figure(field=field):
                values = [field]
        steps = [self._step(name, values) for name in self._names]
        if sum(len(step.leaves) for step in steps) > MAX_LEAVES:
            raise RefusedDocument(
                f"rests on more than {MAX_LEAVES} detections", "correlation", "rules"
            )
        return steps

    def _step(self, name: str, values: Sequence[str]) -> Step:
        target = self._targets[name]
        group_by = list(self._rule.group_by or [])
        if target.inner is None:
            group = [self._field(name, field) for field in group_by]
            asked = [self._field(name, field, "condition") for field in values]
            return Step(name, [Leaf(at, group, asked) for at in target.detections])
        inner = target.inner
        leaves = [
            Leaf(
                leaf.detection,
                [self._field(name, field, of=(inner, leaf)) for field in group_by],
                [self._field(name, field, "condition", of=(inner, leaf)) for field in values],
            )
            for leaf in inner.leaves
        ]
        return Step(name, leaves, inner)

    def _field(
        self,
        step: str,
        name: str,
        key: str = "group-by",
        of: tuple[Correlation, Leaf] | None = None,
    ) -> str:
        """The field of a step's events that a name stands for: itself, or what an alias says."""
        field = self._aliases.get(name, {}).get(step, name)
        if name in self._aliases and step not in self._aliases[name]:
            raise RefusedDocument(
                f"alias {name} does not say which field of {step} it means",
                "correlation",
                "aliases",
            )
        if of is not None and field in of[0].group_by:
            return of[1].group[of[0].group_by.index(field)]
        try:
            self._fields.source(field)
        except UnknownField as error:
            raise RefusedDocument(str(error), "correlation", key) from error
        return field

    def _read_aliases(self) -> dict[str, dict[str, str]]:
        steps = {other: name for name in self._names for other in self._targets[name].names}
        found: dict[str, dict[str, str]] = {}
        for alias in self._rule.aliases:
            mapping = {ref.reference: str(field) for ref, field in alias.mapping.items()}
            unknown = sorted(set(mapping) - set(steps))
            if unknown:
                raise RefusedDocument(
                    f"alias {alias.alias} speaks of {', '.join(unknown)}, which the correlation "
                    "does not refer to",
                    "correlation",
                    "aliases",
                )
            found[alias.alias] = {steps[name]: field for name, field in mapping.items()}
        return found

    def is_local(self, leaf: Leaf) -> bool:
        """Whether one partition has all events of a group."""
        local = self._fields.local
        sources = [self._fields.source(name) for name in leaf.group]
        return local is None or any(s.whole and s.column in local for s in sources)
