"""Rules as they are judged: compiled, and without what compiles them, which takes long to load."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from tachograph.detectors.language.conditions import leaves
from tachograph.detectors.language.documents import Problem
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.rule import Correlation, Detection, Rule, Stateless
from tachograph.detectors.reference.reference import Reference, shipped

BUILTIN = Path(__file__).parents[1] / "rules"


class RuleErrors(ValueError):
    """Rules that cannot be honoured: all of them, in order of file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        # A filter with a problem has it in every rule that it fits.
        self.problems = sorted(set(problems))
        listing = "\n".join(str(problem) for problem in self.problems)
        super().__init__(f"{len(self.problems)} problem(s) in rules:\n{listing}")


class RuleSet(msgspec.Struct, frozen=True):
    """Compiled rules. `refused` is empty unless the caller asked to go on without them; `skipped`
    names sound rules that are not asked, because these events are not of their log source; `notes`
    say of rules that are asked what is not as their author meant it.
    """

    rules: list[Rule]
    detections: list[Detection]
    fields: FieldMap
    rules_hash: str
    refused: list[Problem] = []
    skipped: list[Problem] = []
    notes: list[Problem] = []
    reference: Reference = msgspec.field(default_factory=shipped)
    # Where the reference data changes in time: from which observed time (µs) on each holds.
    known_since: list[tuple[int, Reference]] = []
    # Sessions are followed beside the rules, as with the shipped pack.
    follows_sessions: bool = False

    def only(self, rules: Sequence[Rule]) -> "RuleSet":
        """A set of just these of its rules, and of what they ask; nothing else is judged."""
        asked = sorted({at for rule in rules for at in _asked(rule)})
        place = {at: new for new, at in enumerate(asked)}
        return msgspec.structs.replace(
            self,
            rules=[_moved(rule, place) for rule in rules],
            detections=[self.detections[at] for at in asked],
            follows_sessions=False,
        )

    def joined(self, other: "RuleSet") -> "RuleSet":
        """With those rules of another set that this one has not, by id and version."""
        known = {(rule.meta.rule_id, rule.meta.version) for rule in self.rules}
        more = other.only(
            [one for one in other.rules if (one.meta.rule_id, one.meta.version) not in known]
        )
        place = {at: at + len(self.detections) for at in range(len(more.detections))}
        return msgspec.structs.replace(
            self,
            rules=[*self.rules, *(_moved(rule, place) for rule in more.rules)],
            detections=[*self.detections, *more.detections],
        )

    def beside_sessions(self) -> "RuleSet":
        """The same rules, and sessions followed beside them where the events have any."""
        return msgspec.structs.replace(self, follows_sessions=self.fields.columns is not None)

    def knowing(self, reference: Reference) -> "RuleSet":
        """The same rules above other reference data."""
        return msgspec.structs.replace(self, reference=reference)

    @property
    def versions(self) -> dict[str, str]:
        """What stands on their signals: which rules and which reference data were in force."""
        return {"rule_set": self.rules_hash, "reference": self.reference.version}

    @property
    def correlations(self) -> list[Correlation]:
        """Those of its rules that look at more than one event."""
        return [rule for rule in self.rules if not isinstance(rule, Stateless)]

    @property
    def anywhere(self) -> bool:
        """Whether any rule looks for keywords, in whatever text an event has."""
        found = (leaf.field is None for one in self.detections for leaf in leaves(one.condition))
        return any(found)

    @property
    def columns(self) -> list[str]:
        """Columns of a frame that the rules read."""
        found: set[str] = set()
        if self.anywhere:
            found |= set(self.fields.keyword_columns(self.fields.columns or {}))
        for detection in self.detections:
            found |= {self.fields.source(name).column for name in detection.fields}
        for rule in self.correlations:
            for leaf in rule.leaves:
                names = [*leaf.group, *leaf.values]
                found |= {self.fields.source(name).column for name in names}
        return sorted(found)


def _asked(rule: Rule) -> list[int]:
    return [rule.detection] if isinstance(rule, Stateless) else rule.detections


def _moved(rule: Rule, place: Mapping[int, int]) -> Rule:
    if isinstance(rule, Stateless):
        return msgspec.structs.replace(rule, detection=place[rule.detection])
    return _moved_correlation(rule, place)


def _moved_correlation(rule: Correlation, place: Mapping[int, int]) -> Correlation:
    steps = [
        msgspec.structs.replace(
            step,
            leaves=[
                msgspec.structs.replace(leaf, detection=place[leaf.detection])
                for leaf in step.leaves
            ],
            inner=_moved_correlation(step.inner, place) if step.inner is not None else None,
        )
        for step in rule.steps
    ]
    return msgspec.structs.replace(rule, steps=steps)
