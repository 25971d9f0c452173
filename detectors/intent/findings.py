"""What a session is told of, and what it is found to be."""

from typing import Literal

import msgspec

from tachograph.detectors.intent.asks import Request
from tachograph.detectors.intent.steps import Step
from tachograph.schemas.alert import Severity

Kind = Literal[
    "jailbreak", "harmful_request", "rephrased", "split", "refused_call", "drift", "leak",
    "output_run", "told_another", "memory_obeyed",
]  # fmt: skip
# How a request was met: by a call that changes something, by one that looks, by words; by a call
# that only its second half asks for, which sets the first aside.
Way = Literal["done", "looked up", "said", "instead"]


class Refusal(msgspec.Struct, frozen=True):
    """Who refused, and where."""

    event_id: str
    time_us: int
    by: str

    @property
    def by_control(self) -> bool:
        """Whether a control refused, not the model's own words."""
        return self.by != BY_MODEL


BY_MODEL = "the model"


class Turn(msgspec.Struct):
    """A request of the user, and what became of it."""

    event_id: str
    time_us: int
    request: Request
    refused: Refusal | None = None
    # An earlier request that was refused, which this one is again.
    again: "Turn | None" = None
    # Requests that together are that one, this one being the last.
    pieces: list[str] = []
    # Of a refused one: words of it that later requests asked for, by request.
    asked_again: dict[str, set[str]] = msgspec.field(default_factory=dict)


class Finding(msgspec.Struct, frozen=True):
    """Something to be said of a session. `key` tells it apart there."""

    kind: Kind
    step: Step
    severity: Severity
    key: str
    text: str
    # Events it rests on, beside the step.
    events: list[str]
    fields: dict[str, str]
    scores: dict[str, float]
