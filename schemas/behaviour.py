"""What is measured of behaviour in a window of time, as fields of rules: `behaviour.acts` is column
`behaviour_acts` of a row that stands for one window of one agent.
"""

from typing import Final, NamedTuple

import polars as pl

PREFIX: Final = "behaviour_"
# The kind of these rows; no producer sends it.
KIND: Final = "behaviour"


# What windows are of. Rows of the latter kinds are seen only by rules that name the subject.
AGENT: Final = "agent"
PERSON: Final = "person"
SESSION: Final = "session"
INSTANCE: Final = "instance"
PRINCIPAL: Final = "principal"
CREDENTIAL: Final = "credential"
# Parts of agents are measured where the agents are, what is shared where all of it meets.
PARTS: Final = frozenset({SESSION, INSTANCE})
SHARED: Final = frozenset({PRINCIPAL, CREDENTIAL})


class Measure(NamedTuple):
    """One field: its type, its unit, what it is and which fields of actions it is made of."""

    type: pl.DataType
    unit: str
    meaning: str
    source: str


_WHOLE, _REAL, _TEXT = pl.Int64(), pl.Float64(), pl.String()

MEASURES: Final[dict[str, Measure]] = {
    "subject": Measure(
        _TEXT, "", "agent or person; where a rule asks: session, instance, principal, credential",
        "agent.id, agent.kind, session.id, agent.instance_id, principal.id, credential.id",
    ),
    "window": Measure(_TEXT, "", "10 s, 1 min, 10 min or 1 h", "event_time"),
    "window_s": Measure(_WHOLE, "s", "the same as a number", "event_time"),
    "windows_known": Measure(_WHOLE, "windows", "of this length that are known of it", ""),
    "hour_of_week": Measure(_WHOLE, "hours", "since Monday 00:00 UTC", "event_time"),
    # Compared with what is usual, too.
    "acts": Measure(_WHOLE, "actions", "what the agent did", "kind"),
    "failures": Measure(_WHOLE, "actions", "that failed or were denied", "outcome"),
    "bytes_out": Measure(_WHOLE, "bytes", "sent out", "tool.bytes_out, content.bytes"),
    "rows_read": Measure(_WHOLE, "rows", "read", "tool.rows_returned"),
    "tokens": Measure(_WHOLE, "tokens", "in and out", "usage.input_tokens, usage.output_tokens"),
    "targets": Measure(_WHOLE, "targets", "different ones", "target.*, file.path, peer_agent.id"),
    "new_targets": Measure(_WHOLE, "targets", "not met before by the agent", "target.*"),
    "tools": Measure(_WHOLE, "tools", "different ones", "tool.name"),
    "new_tools": Measure(_WHOLE, "tools", "not used before by the agent", "tool.name"),
    "bytes_to_new": Measure(
        _WHOLE, "bytes", "sent to targets not met before", "tool.bytes_out, target.*"
    ),
    "repeats": Measure(_WHOLE, "calls", "beyond two of each different one", "tool.args_hash"),
    "score": Measure(_REAL, "spreads", "the highest, above what is usual", ""),
    # Rates, bursts and shares.
    "actions_per_minute": Measure(_REAL, "actions/min", "over the whole window", "kind"),
    "tokens_per_minute": Measure(_REAL, "tokens/min", "over the whole window", "usage.*"),
    "burst_actions": Measure(_WHOLE, "actions", "the most in any 10 s", "kind"),
    "failure_ratio": Measure(_REAL, "share", "failures of actions", "outcome"),
    "denials": Measure(_WHOLE, "actions", "that were denied", "outcome"),
    "denial_ratio": Measure(_REAL, "share", "denials of actions", "outcome"),
    "denied_again": Measure(
        _WHOLE, "calls", "denied after the same call was denied", "outcome, tool.args_hash"
    ),
    "new_target_share": Measure(_REAL, "share", "new targets of all", "target.*"),
    "new_tool_share": Measure(_REAL, "share", "new tools of all", "tool.name"),
    "cost_usd": Measure(_REAL, "USD", "spent", "usage.cost_usd"),
    "cost_usd_per_minute": Measure(_REAL, "USD/min", "over the whole window", "usage.cost_usd"),
    "bytes_in": Measure(_WHOLE, "bytes", "brought in", "tool.result_bytes, content.bytes"),
    "bytes_out_share": Measure(_REAL, "share", "bytes out of all bytes", "as both"),
    # Who takes part.
    "sessions": Measure(_WHOLE, "sessions", "different ones", "session.id"),
    "sessions_open": Measure(_WHOLE, "sessions", "the most that acted in one minute", "session.id"),
    "calls_open": Measure(_WHOLE, "calls", "the most open at once", "duration_ms"),
    "agents_called": Measure(_WHOLE, "agents", "different ones", "peer_agent.id"),
    "delegation_depth": Measure(_WHOLE, "steps", "the deepest", "delegation.depth"),
    "approvals": Measure(_WHOLE, "approvals", "given or refused", "kind"),
    "hasty_approvals": Measure(
        _WHOLE, "approvals", "decided sooner than what was shown can be read",
        "approval.latency_ms, content.text, tool.args",
    ),
    # The course of calls.
    "gap_median_ms": Measure(_REAL, "ms", "between calls, within a doubling", "event_time"),
    "gap_p05_ms": Measure(_REAL, "ms", "one gap of twenty is no longer", "event_time"),
    "gap_cv": Measure(_REAL, "", "deviation over mean; 0: a clock, 1: chance", "event_time"),
    "gap_autocorrelation": Measure(_REAL, "", "of a gap with the one before", "event_time"),
    "tool_entropy": Measure(_REAL, "bits", "of which tool is called", "tool.name"),
    "target_entropy": Measure(_REAL, "bits", "of which target is met", "target.*"),
    "tool_surprise": Measure(
        _REAL, "bits", "a call, by which tool came before it and the agent's own past", "tool.name"
    ),
    "alternation_share": Measure(_REAL, "share", "calls that go A-B-A, of those", "tool.name"),
}  # fmt: skip
COLUMNS: Final = {PREFIX + name: measure.type for name, measure in MEASURES.items()}
