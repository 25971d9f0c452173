"""`tacho rules new`: a rule file to fill in."""

import json
import re
import uuid
from pathlib import Path

from tachograph.pipeline.errors import ConfigError
from tachograph.schemas.alert import SEVERITIES

_HEAD = """\
title: {title}
id: {id}
status: experimental
description: What it finds, and why that matters.
author: you
# Ids of frameworks (`tacho rules list --coverage` has them), or tags of your own.
tags: []
level: {level}
"""
_EVENT = """\
logsource: {product: ai_agent, category: tool_call}
detection:
  call:
    kind: tool_call
    tool.name|contains: CHANGE_ME
  condition: call
"""
_BASE = """\
title: {title}
id: {id}
name: {name}
description: One of the actions that the rule below counts.
level: informational
"""
_CORRELATIONS = {
    "event_count": """\
correlation:
  type: event_count
  rules: [{names}]
  group-by: [session.id]
  timespan: $timespan
  condition: {{gte: $threshold}}
""",
    "value_count": """\
correlation:
  type: value_count
  rules: [{names}]
  group-by: [session.id]
  timespan: $timespan
  condition: {{field: target.resource, gte: $threshold}}
""",
    "temporal_ordered": """\
correlation:
  type: temporal_ordered
  rules: [{names}]
  group-by: [session.id]
  timespan: $timespan
""",
}
_TACHO = """\
falsepositives: [who does the same for a good reason]
tacho:
  risk_category: agent_operation
  confidence: 50
  runbook: What to do first, what to look at, whom to call.
  lookalikes: [what looks the same and is not]
  source: [where you know this from]
"""
_THRESHOLD = "    threshold: {default: 5, unit: actions, meaning: how many are too many}\n"
_TIMESPAN = "    timespan: {default: 10m, unit: time, meaning: how close together they are}\n"
_SAMPLES = """\
  # Put at least two of each in place of [], the look-alike among them; such as the line below it.
  samples:
    match: []
{match}
    no_match: []
{no_match}
"""
_ONE = "    #  - {kind: tool_call, tool.name: …}"
_SEVERAL = (
    "    #  - [{kind: tool_call, tool.name: …}, {at_s: 30, repeat: 4, every_s: 10, tool.name: …}]"
)
_STEPS = {"event_count": ("",), "value_count": ("",), "temporal_ordered": ("_first", "_then")}
KINDS = ("stateless", *_CORRELATIONS)


def run_new(title: str, kind: str, level: str, out: Path | None) -> str:
    """Write the file; what a person is told. Raises ConfigError; never overwrites."""
    if kind not in KINDS:
        raise ConfigError(f"--kind {kind}: choose one of {', '.join(KINDS)}")
    if level not in SEVERITIES:
        raise ConfigError(f"--level {level}: choose one of {', '.join(SEVERITIES)}")
    name = _name(title)
    path = out or Path(f"{name}.yml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(rule_text(title, kind, level, name))
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already: choose another with --out") from error
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from error
    return f"{path}: fill it in, then `tacho rules check {path}` and `tacho rules test {path}`"


def rule_text(title: str, kind: str, level: str, name: str) -> str:
    """The text of a new rule file."""
    head = _HEAD.format(title=_quoted(title), id=uuid.uuid4(), level=level)
    if kind == "stateless":
        return head + _EVENT + _TACHO + _SAMPLES.format(match=_ONE, no_match=_ONE)
    bases = [f"{name}{suffix}" for suffix in _STEPS[kind]]
    one = _quoted(f"{title} (one action)")
    parts = [_BASE.format(title=one, id=uuid.uuid4(), name=base) + _EVENT for base in bases]
    threshold = _THRESHOLD if "$threshold" in _CORRELATIONS[kind] else ""
    tuning = f"  tuning:\n{threshold}{_TIMESPAN}"
    samples = _SAMPLES.format(match=_SEVERAL, no_match=_SEVERAL)
    correlation = _CORRELATIONS[kind].format(names=", ".join(bases))
    return "---\n".join([*parts, head + correlation + _TACHO + tuning + samples])


def _quoted(text: str) -> str:
    """A text as YAML takes it whatever is in it."""
    return json.dumps(text, ensure_ascii=False)


def _name(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "rule"
