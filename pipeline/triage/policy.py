"""What triage is told: weights, half-life, what is suppressed. Data, no code of an operator's."""

import tomllib
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.schemas.alert import SEVERITIES, Severity, SignalGroup
from tachograph.schemas.codec import canonical
from tachograph.schemas.identity import plain_id

PATH_VARIABLE = "TACHO_TRIAGE_POLICY"

Positive = Annotated[int, msgspec.Meta(gt=0)]
Scoped = Literal["tool", "target", "per_minute"]
Weight = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]

# Thousandths of risk that one signal adds while it is new.
DEFAULT_WEIGHTS: dict[Severity, Weight] = {
    "informational": 100,
    "low": 1_000,
    "medium": 3_000,
    "high": 8_000,
    "critical": 20_000,
}


class Suppression(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Groups that are kept but do not count: all that is stated must fit.

    `rule` and `entity` are shell patterns (`*`, `?`). The window [starts, ends) holds the start of
    the group's bucket, so whether a group is suppressed depends on the group alone.
    """

    reason: Annotated[str, msgspec.Meta(min_length=1)]
    tenant: str = "*"
    rule: str = "*"
    entity: str = "*"
    starts: datetime | None = None
    ends: datetime | None = None

    def covers(self, group: SignalGroup) -> bool:
        """Whether the group is suppressed by this."""
        if self.starts and group.bucket_start < self.starts:
            return False
        if self.ends and group.bucket_start >= self.ends:
            return False
        pairs = ((group.tenant, self.tenant), (group.rule_id, self.rule))
        return all(fnmatchcase(value, pattern) for value, pattern in pairs) and fnmatchcase(
            group.entity, self.entity
        )


class Capture(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of which alerts the agent is asked for its state, and how long an answer may take."""

    enabled: bool = True
    min_severity: Severity = "high"
    answer_within_s: Annotated[int, msgspec.Meta(ge=1, le=3_600)] = 20


class Response(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a gateway or agent is told when an alert fits: all that is stated must.

    `tenant`, `rule` (any rule of the alert that counts), `entity` and `agent` are shell patterns.
    """

    kind: Literal["throttle", "require_approval", "quarantine"]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
    min_severity: Severity = "critical"
    tenant: str = "*"
    rule: str = "*"
    entity: str = "*"
    agent: str = "*"
    # Whether it holds for the session of the alert only.
    session_only: bool = True
    expires_after_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 900
    # Limits it further: tool, target (shell patterns); per_minute of a throttle.
    scope: dict[Scoped, Annotated[str, msgspec.Meta(min_length=1, max_length=200)]] = {}
    dry_run: bool = False


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """How groups become an alert. Its name is part of every alert id; its content is not."""

    name: str = "default"
    half_life_s: Positive = 900
    weights: dict[Severity, Weight] = msgspec.field(default_factory=DEFAULT_WEIGHTS.copy)
    suppressions: list[Suppression] = []
    capture: Capture = Capture()
    # What is done to agents: nothing, unless it is stated.
    respond: Annotated[list[Response], msgspec.Meta(max_length=32)] = []
    # Nothing is done, everything is told: each directive is a dry run.
    dry_run: bool = False

    def __post_init__(self) -> None:
        """Weights that are not stated are the default ones. Raises ValueError on a naive time."""
        msgspec.structs.force_setattr(self, "weights", DEFAULT_WEIGHTS | self.weights)
        for rule in self.suppressions:
            for time in (rule.starts, rule.ends):
                if time is not None and time.tzinfo is None:
                    raise ValueError(f"suppression {rule.reason!r}: write times with Z")

    @cached_property
    def version(self) -> str:
        """Name and hash of the content: the same policy gives the same version everywhere."""
        return f"{self.name}/{plain_id(canonical(self).decode())[:12]}"

    def suppressed(self, group: SignalGroup) -> str | None:
        """Reason why the group does not count; the first that covers it."""
        return next((rule.reason for rule in self.suppressions if rule.covers(group)), None)


_RANKS = {severity: place for place, severity in enumerate(SEVERITIES)}


def rank(severity: Severity) -> int:
    """Order of severities: informational is 0."""
    return _RANKS[severity]


def load(path: Path) -> Policy:
    """A policy from a TOML file. Raises ConfigError that names the file and what is wrong."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
        return msgspec.convert(content, Policy)
    except OSError as error:
        raise ConfigError(f"{PATH_VARIABLE}: cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
