"""The captured state of an alert, as far as the stream alone can tell it."""

import msgspec

from tachograph.detectors.published import joined
from tachograph.pipeline.triage.entry import Entry
from tachograph.schemas.alert import Signal, Stage, StateSnapshot
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import CaptureAnswer, Context

# What a full picture of an agent has, and who could tell what is not here. What may well be empty
# (approvals, open calls, delegates) is told and not scored.
_NEITHER = "neither in the telemetry of the session nor published by the agent"
PARTS: dict[str, str] = {
    "agent_id": "not named in the telemetry",
    "agent_version": _NEITHER,
    "session_id": "not named in the telemetry",
    "principal_id": _NEITHER,
    "last_actions": "none are known any more",
    "goals": "not published by the agent",
    "memory": _NEITHER,
    "tools": _NEITHER,
    "policies": _NEITHER,
    "model": _NEITHER,
    "credentials": _NEITHER,
    "system_prompt_hash": _NEITHER,
    "delegation_chain": _NEITHER,
    "usage": _NEITHER,
}
NO_CONTEXT = "no context has come for this entity yet"


def stage_of(entry: Entry) -> Stage:
    """Answered when any capture request was, unanswered when all that were decided timed out."""
    if not entry.answers:
        return "initial"
    return "answered" if _answer(entry) else "unanswered"


def _answer(entry: Entry) -> CaptureAnswer | None:
    found = [answer for answer in entry.answers.values() if answer.answered]
    return min(found, key=lambda answer: (answer.decided_at, answer.directive_id), default=None)


def snapshot_of(
    entry: Entry, alert_id: str, group_id: str, gravest: Signal
) -> StateSnapshot | None:
    """State at the gravest signal, else at the earliest context; None when no context has come."""
    if not entry.contexts:
        return None
    ordered = sorted(entry.contexts.items(), key=lambda item: (item[1].taken_at, item[0]))
    name, context = next((pair for pair in ordered if pair[1].group_id == group_id), ordered[0])
    answer = _answer(entry)
    known = context.state or StateSnapshot(
        snapshot_id="", tenant=entry.tenant, taken_at=context.taken_at
    )
    whole = msgspec.structs.replace(
        known,
        snapshot_id=plain_id(alert_id, "stream", name),
        tenant=entry.tenant,
        taken_at=context.taken_at,
        alert_id=alert_id,
        directive_id=answer.directive_id if answer else None,
        agent_id=context.agent_id or gravest.agent_id,
        session_id=context.session_id or gravest.session_id,
        principal_id=known.principal_id or _principal(context, gravest),
        last_actions=context.actions,
    )
    if answer and answer.snapshot and answer.snapshot.agent_id == whole.agent_id:
        whole = joined(whole, answer.snapshot)
    return _scored(whole, [*context.missing, *known.missing, *_unheard(entry)])


def _unheard(entry: Entry) -> list[str]:
    if stage_of(entry) != "unanswered":
        return []
    return ["published state: the agent was asked for it and did not answer in time"]


def _principal(context: Context, gravest: Signal) -> str | None:
    """The signal's principal, when both speak of the same session."""
    return gravest.principal_id if context.session_id == gravest.session_id else None


def _scored(state: StateSnapshot, told: list[str]) -> StateSnapshot:
    """The same state with its share of known parts, and why the others are missing."""
    absent = [name for name in PARTS if not getattr(state, name)]
    said = {text.split(":", 1)[0] for text in told}
    missing = [*told, *(f"{name}: {PARTS[name]}" for name in absent if name not in said)]
    present = len(PARTS) - len(absent)
    completeness = 100 * present // len(PARTS)
    return msgspec.structs.replace(state, completeness=completeness, missing=missing)
