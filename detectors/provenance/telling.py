"""What is said of a call that was somebody else's wish: where its values came from, which sentence
asked for it, where they went. Quotes are short, of text that `normalize` redacted.
"""

from collections.abc import Sequence

import msgspec

from tachograph.detectors.provenance.features import MEANINGS
from tachograph.detectors.provenance.model import Model
from tachograph.detectors.provenance.session import Judged
from tachograph.detectors.signals import of_action
from tachograph.schemas.alert import Observable, Reason, Severity, Signal, Witness
from tachograph.schemas.identity import plain_id

RULE_ID = "4f0a52b1-6d0e-5b6c-9c2e-6a1f8d7c3b90"
TITLE = "An agent did what brought-in text asked, not what its user asked"
FRAMEWORKS = ["atlas.aml.t0051.001", "atlas.aml.t0053", "owasp-llm.2026.llm01", "owasp-asi.asi01"]
RUNBOOK = (
    "Read the quoted sentence where it stands and ask the user whether he wanted the call. If not:"
    " undo the call, stop the session, keep the text it came by away from other agents."
)
MAX_VALUE_CHARS = 60
MAX_VALUES = 3
_MOST_REASONS = 5
_CONFIDENCE: dict[Severity, int] = {"high": 85, "medium": 60, "low": 35}


class Verdict(msgspec.Struct, frozen=True):
    """What a model makes of a call."""

    score: float
    severity: Severity
    model: Model
    version: str


def signal_of(judged: Judged, verdict: Verdict, blind: list[str]) -> Signal:
    """The signal of a call; `revision` and `change` are the caller's to fill in."""
    facts, sentence = judged.step.facts, judged.match.sentence
    said = _fields(judged)
    events = list(dict.fromkeys([facts.event_id, sentence.source.event_id]))
    return Signal(
        signal_id=_signal_id(judged, verdict.version),
        revision=0,
        change="new",
        rule_id=RULE_ID,
        rule_version=verdict.version,
        title=TITLE,
        severity=verdict.severity,
        confidence=_CONFIDENCE[verdict.severity],
        kind="provenance",
        risk_category="prompt_misuse",
        frameworks=FRAMEWORKS,
        event_ids=events,
        event_count=len(events),
        tool_name=judged.call.tool or None,
        scores=_scores(judged, verdict),
        reason=Reason(text=_text(judged), fields=said),
        observables=_observables(judged),
        witness=Witness(
            events=[{"event_id": facts.event_id, "time_us": str(facts.time_us), **said}],
            window={name: f"{value:.17g}" for name, value in judged.match.features.items()},
            versions={"model": verdict.version},
        ),
        blind_spots=blind,
        runbook=RUNBOOK,
        owner_team="soc",
        **of_action(facts),
    )


def _signal_id(judged: Judged, version: str) -> str:
    facts, call = judged.step.facts, judged.call
    place = facts.partition_key or ""
    return plain_id(
        facts.tenant, RULE_ID, version, place, facts.event_id, call.call_id, call.tool, call.text
    )


def _text(judged: Judged) -> str:
    match = judged.match
    source = match.sentence.source
    brought = f"the answer of {source.tool}" if source.tool else "a tool's answer"
    if source.definition:
        brought = f"the description of {source.tool or 'a tool'}"
    named = _listed(match.foreign[:MAX_VALUES])
    values = f"; the user never named {named}" if named else ""
    nearer = match.features["fit_beyond_user"] > 0
    wished = "; no words of the user ask for it as nearly" if nearer else ""
    return (
        f"{judged.call.tool or 'a call'} follows “{match.sentence.quote}” in {brought}"
        f" (event {source.event_id}){values}{wished}"
    )


def _fields(judged: Judged) -> dict[str, str]:
    sentence, values = judged.match.sentence, judged.match.foreign or judged.values.short
    found = {
        "sentence": sentence.quote,
        "sentence.event_id": sentence.source.event_id,
        "sentence.tool": sentence.source.tool,
        "call.tool": judged.call.tool,
        "call.values": _listed(values[:MAX_VALUES]),
    }
    return {name: value for name, value in found.items() if value}


def _listed(values: Sequence[str]) -> str:
    return ", ".join(value[:MAX_VALUE_CHARS] for value in values)


def _scores(judged: Judged, verdict: Verdict) -> dict[str, float]:
    """The verdict, and what spoke for it most."""
    shares = verdict.model.shares(judged.match.features)
    most = sorted(shares, key=lambda name: (-shares[name], name))[:_MOST_REASONS]
    found = {f"for: {MEANINGS[name][1]}": round(shares[name], 3) for name in most}
    return {"foreign_wish": round(verdict.score, 4), **found}


def _observables(judged: Judged) -> list[Observable]:
    found = [Observable(type="tool", value=judged.call.tool)] if judged.call.tool else []
    for address in judged.values.addresses[:MAX_VALUES]:
        kind = "user" if "@" in address else "domain"
        found.append(Observable(type=kind, value=address))  # type: ignore[arg-type]
    return found


def blind_spots(late: int, *, shed: bool, cut: bool) -> list[str]:
    """What was not seen of the session and may matter."""
    found = []
    if late:
        found.append(f"{late} actions of this session came too late to be looked at")
    if shed:
        found.append("older actions of this session were forgotten at a limit")
    if cut:
        found.append("a text of this session was too long to be read whole")
    return found
