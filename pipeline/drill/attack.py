"""The attack of a drill: a rule's own sample, as an agent that nobody has would send it.

It is marked as synthetic, and every drill has an agent and a session of its own: so none is counted
together with another, and none is mistaken for an agent at work.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.language.sample_rows import ActionShape, Row
from tachograph.detectors.language.samples import Sample, fields_asked, samples_of
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.schemas.alert import Signal

AGENT: Final = "tacho-drill-"
# What is older when it comes is late, and no rule over time counts it.
LONGEST_S: Final = 50
# A rehearsal tells nobody anything, so its ids need no secret.
_KEY: Final = bytes(32)
_OURS: Final = frozenset({"event_time", "observed_time", "partition_key"})


class Attack(msgspec.Struct, frozen=True):
    """What is sent, and by what its alert is known. `lines`: native actions as JSON objects;
    `state`: what the agent says of itself before, so that its alert is as whole as any.
    """

    rule_id: str
    title: str
    agent_id: str
    session_id: str
    state: bytes
    lines: list[bytes]

    def is_told_by(self, alert: Mapping[str, Any]) -> bool:
        """Whether an alert, as the feed has it, is of this attack."""
        rules = {rule["rule_id"] for rule in alert.get("rules", ())}
        return alert.get("agent_id") == self.agent_id and self.rule_id in rules


def attack(rule: Rule, rules: RuleSet, drill_id: str, now: datetime) -> Attack:
    """The first sample of a rule that fires when it is sent so, its last action at `now`.

    Raises ConfigError when none does.
    """
    for sample in samples_of(rule, ActionShape(fields_asked(rules))):
        if isinstance(sample, Sample) and sample.wanted:
            made = _sent(sample, drill_id, now)
            if made is not None and _fires(made, rule, rules):
                return made
    meta = rule.meta
    raise ConfigError(
        f"{meta.title} ({meta.rule_id}): none of its samples fires within {LONGEST_S} s when it is"
        " sent as telemetry of one agent, with the reference data that is known here: name"
        " another rule"
    )


def _sent(sample: Sample, drill_id: str, now: datetime) -> Attack | None:
    """A sample as what is posted; None where it takes too long or names several sessions."""
    rows, meta = sample.rows, sample.rule.meta
    last = max(row["event_time"] for row in rows)
    if (last - min(row["event_time"] for row in rows)).total_seconds() > LONGEST_S:
        return None
    whose = [(row["agent_id"], row["session_id"], row.get("tenant")) for row in rows]
    if len(set(whose)) > 1:
        return None
    agent_id = AGENT + drill_id
    session_id = f"drill/{drill_id}"
    lines = [
        msgspec.json.encode(
            {
                **_native(row),
                "event_time": now - (last - row["event_time"]),
                "agent_id": agent_id,
                "agent_name": agent_id,
                "session_id": session_id,
                "producer_id": f"{drill_id}-{place}",
                "synthetic": True,
            }
        )
        for place, row in enumerate(rows)
    ]
    state = msgspec.json.encode(
        {
            "agent_id": agent_id,
            "session_id": session_id,
            "taken_at": now,
            "goals": [f"a drill of {meta.title}"],
            "memory": {"drill": drill_id},
            "tools": {"drill": drill_id},
            "policies": {"drill": "harmless"},
            "model": {"name": "none"},
            "system_prompt_hash": drill_id,
        }
    )
    return Attack(meta.rule_id, meta.title, agent_id, session_id, state, lines)


def _native(row: Row) -> dict[str, Any]:
    """A row of actions as a native action."""
    given = {name: value for name, value in row.items() if name not in _OURS and value is not None}
    if attributes := given.pop("attributes", None):
        given["attributes"] = {one["key"]: one["value"] for one in attributes}
    return given


def _fires(made: Attack, rule: Rule, rules: RuleSet) -> bool:
    """Whether the rule says it at once, of this agent: what waits for time to pass is no drill."""
    core = Normalizer(_KEY, "drill", observed_from_event=True)
    found = core.normalize([RawRecord("agent.raw", 0, n, one) for n, one in enumerate(made.lines)])
    if found.dead or found.frame.is_empty():
        return False
    said = WholeDetector(rules.only([rule])).process(found.frame, found.links, 0)
    return any(_is_of(signal, made) for signal in said.signals)


def _is_of(signal: Signal, made: Attack) -> bool:
    mine = signal.entity_type in ("agent", "session") and signal.agent_id == made.agent_id
    return mine and signal.rule_id == made.rule_id
