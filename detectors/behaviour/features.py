"""What is measured of an agent: each feature with its unit, its source and what is said of it."""

from typing import NamedTuple

import msgspec

from tachograph.schemas.alert import RiskCategory

PANE_US = 10_000_000


class Scale(NamedTuple):
    """A length of window, in base panes; it ends where whole ones of the shorter lengths end."""

    panes: int
    name: str

    @property
    def span_us(self) -> int:
        return self.panes * PANE_US


SCALES = (Scale(1, "10 s"), Scale(6, "1 min"), Scale(60, "10 min"), Scale(360, "1 h"))
# How a window is judged: by each length alone, and the longest also with those before it, added up.
ADDED_UP = len(SCALES)
JUDGEMENTS = (*(scale.name for scale in SCALES), f"{SCALES[-1].name}, added up")


class Finding(msgspec.Struct, frozen=True):
    """What is said when a feature is out of line."""

    rule_id: str
    title: str
    detection: str
    tags: list[str]
    runbook: str
    risk_category: RiskCategory = "agent_operation"


class Feature(msgspec.Struct, frozen=True):
    """One measure of a window. `grain`: amounts are compared in this many units. `least`: below it
    nothing is out of line, by length of window. `source`: fields it is made of.
    """

    name: str
    unit: str
    source: str
    grain: int
    least: tuple[int, int, int, int]
    finding: Finding
    # Means nothing until the agent itself is known.
    own: bool = False
    # Comes of acts: who does more than usual has more of it.
    of_acts: bool = False
    # How much is usual differs between places: who is not known is held against his company.
    of_place: bool = False


_SPEED = ["atlas.aml.t0124", "owasp-llm.2026.llm03", "owasp-asi.asi10", "nist-ai-rmf.measure-2.4"]
_LOOK = (
    "Compare with the agent's releases and jobs of that hour. If nothing explains it, throttle the "
    "agent and read its last actions."
)

RATE = Finding(
    "0c4a1f0e-5a0d-5c0b-9a63-6b1b2f5e7a02",
    "Action rate out of line with the agent's own history",
    "A02",
    [*_SPEED, "atlas.aml.t0126", "owasp-llm.2026.llm06", "owasp-asi.asi08", "iso-42001.a.6.2.6"],
    _LOOK,
)
FAILING = Finding(
    "5e0c34f2-7f37-5a39-8b1f-0f7f6f0f6a11",
    "Failures and denials out of line with the agent's own history",
    "A02",
    _SPEED,
    "Read what failed. Many denials of an agent that has none are somebody trying doors.",
)
OUTFLOW = Finding(
    "c6d1a2b7-3a1e-5b77-9c7d-2d0f1f8b9d13",
    "Data sent out of line with the agent's own history",
    "D13",
    [*_SPEED, "owasp-asi.asi02"],
    "See where it went and what it was. Cut the way out until the owner has explained it.",
)
INTAKE = Finding(
    "9a2d7f64-1b0c-5d3a-8f42-7c9e5a1d4e06",
    "Read volume out of line with the agent's own history",
    "D06",
    [*_SPEED, "owasp-asi.asi02"],
    "See which tables or stores were read and whether the task asked for it.",
)
OUT_TO_NEW = Finding(
    "6a0f4d83-2b9e-5c71-9d58-e4b7c1a3f60b",
    "Data sent to targets that are new to the agent, more than usual",
    "D13",
    [*_SPEED, "owasp-asi.asi02"],
    "See which targets are new, what was sent there and who asked for it.",
)
SPENDING = Finding(
    "2f8b6c1d-4e7a-5f90-a1c3-8d5e2b7f9005",
    "Tokens used out of line with the agent's own history",
    "A05",
    [*_SPEED, "owasp-llm.2026.llm06"],
    "Look for a loop. Set a budget, and stop the agent when nobody waits for its result.",
)
FAN_OUT = Finding(
    "7b3e9d52-6c1f-5a84-b2d7-4f0a8c6e1d07",
    "Targets out of line with the agent's own history",
    "A07",
    [*_SPEED, "atlas.aml.t0089", "owasp-asi.asi02"],
    "List the targets and what was asked of them. Cut the network down to what the agent needs.",
)
NOVELTY = Finding(
    "e1f5a8c3-9d2b-5e67-8a40-3c7b6d9f2e04",
    "Targets or tools that are new to the agent, more than usual",
    "D04",
    [*_SPEED, "owasp-asi.asi02"],
    "See which targets are new and who asked for them.",
)
LOOPING = Finding(
    "4d9c2e7a-8b3f-5c15-9e6d-1a5f7b0c3d03",
    "The same calls again, more than the agent's own history has",
    "A03",
    [*_SPEED, "owasp-llm.2026.llm06", "owasp-asi.asi08"],
    "Look at the answers. If they do not change, stop the loop.",
)

FEATURES = (
    Feature("acts", "actions", "kind", 1, (12, 24, 60, 150), RATE),
    Feature(
        "failures", "actions", "outcome", 1, (8, 12, 24, 48), FAILING, own=True, of_acts=True
    ),
    Feature(
        "bytes_out", "bytes", "tool.bytes_out", 4096, (2**18, 2**18, 2**19, 2**20), OUTFLOW,
        own=True, of_place=True,
    ),
    Feature(
        "rows_read", "rows", "tool.rows_returned", 16, (2000, 2000, 4000, 8000), INTAKE, own=True,
        of_place=True,
    ),
    Feature(
        "tokens", "tokens", "usage.input_tokens + usage.output_tokens", 1024,
        (200_000, 400_000, 1_000_000, 3_000_000), SPENDING, own=True,
        of_place=True,
    ),
    Feature("targets", "targets", "target.*", 1, (10, 12, 20, 30), FAN_OUT),
    Feature(
        "new_targets", "targets", "target.*", 1, (6, 8, 10, 12), NOVELTY, own=True, of_acts=True
    ),
    Feature("tools", "tools", "tool.name", 1, (8, 10, 12, 16), NOVELTY, own=True),
    Feature("new_tools", "tools", "tool.name", 1, (3, 3, 4, 5), NOVELTY, own=True),
    Feature(
        "bytes_to_new", "bytes", "tool.bytes_out, target.*", 4096,
        (2**17, 2**17, 2**18, 2**18), OUT_TO_NEW, own=True, of_acts=True,
    ),
    Feature(
        "repeats", "calls", "tool.name, tool.args_hash", 1, (10, 20, 40, 100), LOOPING, own=True,
        of_acts=True,
    ),
)  # fmt: skip
NAMES = tuple(feature.name for feature in FEATURES)
ACTS, NEW_TARGETS = NAMES.index("acts"), NAMES.index("new_targets")
BYTES_OUT, TO_NEW = NAMES.index("bytes_out"), NAMES.index("bytes_to_new")
# What single acts may have any amount of, or nothing.
AMOUNTS = [at for at, feature in enumerate(FEATURES) if feature.grain > 1]
# A change of what is measured makes older states and calibrations void.
FEATURE_SET = 6
