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


class Stateless(msgspec.Struct, frozen=True):
    """Every event that matches is a signal."""

    meta: Meta
    detection: int


class Window(msgspec.Struct, frozen=True):
    """At least `threshold` events of a group that match any detection, within the timespan."""

    meta: Meta
    detections: list[int]
    group_by: list[str]
    timespan_us: int
    threshold: int
    # No partition has all events of a group: judged where its matches are sent to.
    across: bool = False


class Sequence(msgspec.Struct, frozen=True):
    """Events of a group that match the detections in this order, all within the timespan."""

    meta: Meta
    detections: list[int]
    group_by: list[str]
    timespan_us: int
    # As for a window.
    across: bool = False


Correlation = Window | Sequence
Rule = Stateless | Window | Sequence
Judged = Literal["stateless", "window", "sequence"]
