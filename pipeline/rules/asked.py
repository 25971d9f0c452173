"""What a rule asks, in the words of its author: its conditions, and their named selections."""

import msgspec

from tachograph.detectors.language.conditions import And, Node
from tachograph.detectors.language.detection import detected
from tachograph.detectors.language.pipelines import Pipelines
from tachograph.detectors.language.rule import Detection, Rule, Stateless
from tachograph.detectors.language.rulefile import Document
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.pipeline.rules.loading import Sources

_NO_SELECTIONS = frozenset({"condition", "timeframe"})


class Asked(msgspec.Struct, frozen=True):
    """One condition of a rule: as a whole, in its author's words, and by its named selections."""

    title: str
    node: Node
    condition: str = ""
    selections: dict[str, Node] = {}

    @property
    def nodes(self) -> list[Node]:
        """All that has to be asked."""
        return [self.node, *self.selections.values()]


def asked_by(rule: Rule, rules: RuleSet, sources: Sources) -> list[Asked]:
    """The conditions of a rule, in the order of its steps. `sources`: where the rules are from."""
    by_place = {(document.file, document.line): document for document in sources.documents()}
    fitting = sources.fitting()
    places = [rule.detection] if isinstance(rule, Stateless) else rule.detections
    found = []
    for detection in (rules.detections[at] for at in places):
        document = by_place.get((detection.file, detection.line))
        named = _selections(document, fitting) if document is not None else None
        found.append(named(detection) if named else Asked(detection.title, detection.condition))
    return found


class _Named(msgspec.Struct, frozen=True):
    """A Sigma detection's parts that have names, and what it asks without filters."""

    condition: str
    whole: Node
    selections: dict[str, Node]

    def __call__(self, detection: Detection) -> Asked:
        """The detection by its named parts; what filters add is one of them."""
        node = detection.condition
        selections = dict(self.selections)
        if isinstance(node, And) and node.parts[:1] == (self.whole,) and len(node.parts) == 2:
            selections["(filter)"] = node.parts[1]
        return Asked(detection.title, node, self.condition, selections)


def _selections(document: Document, fitting: Pipelines) -> _Named | None:
    """The named parts of a Sigma detection; None for rules of another kind."""
    detection = document.data.get("detection")
    if not isinstance(detection, dict) or "condition" not in detection:
        return None
    condition = detection["condition"]
    words = condition if isinstance(condition, str) else " or ".join(map(str, condition))
    named = [name for name in detection if name not in _NO_SELECTIONS]
    whole = detected(document, fitting, []).condition
    return _Named(words, whole, {name: _alone(document, name, fitting) for name in named})


def _alone(document: Document, name: str, fitting: Pipelines) -> Node:
    """What one named part of a detection asks: the rule it would be alone."""
    asked = {**document.data["detection"], "condition": name}
    alone = msgspec.structs.replace(document, data={**document.data, "detection": asked})
    return detected(alone, fitting, []).condition
