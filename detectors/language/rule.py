"""A rule as the engine holds it: what it asks, over which time, and what it says of itself."""

from typing import Any, Literal

import msgspec

from tachograph.detectors.language.conditions import Node
from tachograph.detectors.language.tuning import Knob
from tachograph.schemas.alert import RiskCategory, Severity, SignalKind

MICROS = 1_000_000


class Samples(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Actions that a rule must match and must not, as flat fields; for a window each sample is a
    list of them.
    """

    match: list[Any] = []
    no_match: list[Any] = []
    # Reference data that the samples are judged with, as a YAML file holds it.
    reference: dict[str, Any] = {}


class FirstSeenOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """For how long a group is only watched before its new values are said."""

    learning: str | int


class Tacho(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The `tacho:` section of a rule file: what Sigma has no place for."""

    detection: str | None = None
    risk_category: RiskCategory = "agent_operation"
    confidence: int = 50
    runbook: str | None = None
    owner_team: str | None = None
    lookalikes: list[str] = []
    source: list[str] = []
    tuning: dict[str, Knob] = {}
    samples: Samples = Samples()
    # Field → value → steps by which the severity rises or falls where the event says so.
    severity_by: dict[str, dict[str, int]] = {}
    # A rule that others refer to speaks for itself too (Sigma's `generate` says so of all of them
    # at once).
    standalone: bool = False
    # What Sigma's correlations have no word for (see docs/correlations.md): windows that do not
    # slide, the pause that ends a session, the rule that must not follow, values never seen before.
    window: Literal["sliding", "tumbling", "session"] = "sliding"
    gap: str | None = None
    absent: str | None = None
    first_seen: FirstSeenOptions | None = None


class Meta(msgspec.Struct, frozen=True):
    """What a rule says of itself. `version` is its semantic hash: what it asks, not how it is
    worded.
    """

    rule_id: str
    version: str
    title: str
    severity: Severity
    kind: SignalKind
    tags: list[str]
    tacho: Tacho
    file: str
    line: int
    # What other rules may call it beside its id.
    name: str | None = None


class Detection(msgspec.Struct, frozen=True):
    """One condition on a single event, shared by the rules that refer to it."""

    name: str
    title: str
    condition: Node
    fields: list[str]
    # Where it stands.
    file: str = ""
    line: int = 0


class Stateless(msgspec.Struct, frozen=True, tag=True):
    """Every event that matches is a signal."""

    meta: Meta
    detection: int


Op = Literal["gt", "gte", "lt", "lte", "eq", "neq"]


class Bound(msgspec.Struct, frozen=True):
    """What a count or a value is compared with."""

    op: Op
    number: int | float


class Count(msgspec.Struct, frozen=True, tag=True):
    """How many events; an action that was reported twice counts once."""

    bounds: list[Bound]


class Values(msgspec.Struct, frozen=True, tag=True):
    """How many different values, or combinations of values of several fields."""

    fields: list[str]
    bounds: list[Bound]


class Figure(msgspec.Struct, frozen=True, tag=True):
    """A figure made of the events' numbers. `percent`: which percentile; 50 is the median."""

    fold: Literal["sum", "avg", "percentile"]
    field: str
    bounds: list[Bound]
    percent: int = 50


class Seen(msgspec.Struct, frozen=True, tag=True):
    """An event of this step is in the window."""

    step: int


class AllOf(msgspec.Struct, frozen=True, tag=True):
    """All parts hold."""

    parts: "tuple[Expression, ...]"


class AnyOf(msgspec.Struct, frozen=True, tag=True):
    """A part holds."""

    parts: "tuple[Expression, ...]"


class Not(msgspec.Struct, frozen=True, tag=True):
    """The part does not hold."""

    part: "Expression"


Expression = Seen | AllOf | AnyOf | Not


class Together(msgspec.Struct, frozen=True, tag=True):
    """Steps that are in one window in any order: how many of them, or which."""

    bounds: list[Bound] = []
    expression: Expression | None = None


class Link(msgspec.Struct, frozen=True):
    """One event of a chain: of which step, and of which steps there is none between it and the
    event before (or, for the first one, in the window before it).
    """

    step: int
    without: tuple[int, ...] = ()


class Ordered(msgspec.Struct, frozen=True, tag=True):
    """Events one after the other, all within the timespan: any of the paths, or (`bounds`) how many
    of the steps.
    """

    paths: tuple[tuple[Link, ...], ...] = ()
    bounds: list[Bound] = []


class Absent(msgspec.Struct, frozen=True, tag=True):
    """An event of the first step and then, within the timespan, none of the second."""


class FirstSeen(msgspec.Struct, frozen=True, tag=True):
    """A value that a group did not have within the timespan before. At first it is only watched."""

    fields: list[str]
    learning_us: int


Asks = Count | Values | Figure | Together | Ordered | Absent | FirstSeen


class Leaf(msgspec.Struct, frozen=True):
    """A detection that feeds a step, and the fields of its events behind the names that the rule
    groups by and asks values of.
    """

    detection: int
    group: list[str]
    values: list[str] = []


class Step(msgspec.Struct, frozen=True):
    """What a correlation refers to: rules on single events, or another correlation's signals.

    `leaves`: the detections that the events may come from in the end. Of a correlation the event is
    the one that made it true, with the time and id of the signal.
    """

    name: str
    leaves: list[Leaf]
    inner: "Correlation | None" = None


class Correlation(msgspec.Struct, frozen=True, tag=True):
    """A rule on several events of a group."""

    meta: Meta
    asks: Asks
    steps: list[Step]
    group_by: list[str]
    timespan_us: int
    window: Literal["sliding", "tumbling", "session"] = "sliding"
    # A session ends when nothing happens for so long.
    gap_us: int = 0
    # No partition has all events of a group: judged where its matches are sent to.
    across: bool = False

    @property
    def leaves(self) -> list[Leaf]:
        """All leaves, in the order of the steps."""
        return [leaf for step in self.steps for leaf in step.leaves]

    @property
    def detections(self) -> list[int]:
        """The conditions on single events that it rests on, each once."""
        return list(dict.fromkeys(leaf.detection for leaf in self.leaves))

    @property
    def bounds(self) -> list[Bound]:
        """What a count or a value is compared with; none where something else is asked."""
        return getattr(self.asks, "bounds", [])

    @property
    def closed(self) -> bool:
        """Only judged when nothing to come can change it: what is not there could still come."""
        match self.asks:
            case Absent():
                return True
            case FirstSeen():
                return False
            case Together(expression=expression) if expression is not None:
                return self.window != "sliding" or _negates(expression)
            case Ordered(paths=paths) if any(link.without for path in paths for link in path):
                return True
            case _:
                only_up = all(bound.op in {"gt", "gte"} for bound in self.bounds)
                return self.window != "sliding" or not only_up


def _negates(expression: Expression) -> bool:
    match expression:
        case Seen():
            return False
        case Not():
            return True
        case AllOf(parts=parts) | AnyOf(parts=parts):
            return any(map(_negates, parts))


Rule = Stateless | Correlation
Judged = Literal["stateless", "window", "sequence", "first_seen"]
