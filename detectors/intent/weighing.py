"""How grave a finding is, and the sentence that says so."""

from collections.abc import Mapping, Sequence

from tachograph.detectors.intent import marks
from tachograph.detectors.intent.asks import STRONG, Request
from tachograph.detectors.intent.findings import Finding, Kind, Turn, Way
from tachograph.detectors.intent.flows import Leak, destinations
from tachograph.detectors.intent.steps import Step
from tachograph.detectors.provenance.words import CLASSES, content_words, stems
from tachograph.schemas.alert import Severity

MAX_SHOWN_CHARS = 80
HIGH, MEDIUM = 5.0, 3.0
# Words of requests to hand something over.
_SENDING = frozenset(one for one, kinds in CLASSES.items() if "send" in kinds)
_WEIGHT: Mapping[Way, float] = {"done": 1.0, "looked up": 0.0, "said": 0.0, "instead": 1.0}


def complied(turn: Turn, step: Step, way: Way) -> Finding | None:
    """A request was met; None where nothing was wrong with it."""
    request = turn.request
    scores = _scores(turn, way)
    total = sum(scores.values()) - scores["call"]
    if not total:
        return None
    kind: Kind = "jailbreak"
    if turn.again is not None:
        kind = "split" if turn.pieces else "rephrased"
    elif not request.pressing:
        kind = "harmful_request"
    grave = total + scores["call"]
    severity: Severity = "high" if grave >= HIGH else "medium" if grave >= MEDIUM else "low"
    events = [turn.event_id]
    fields = {"request": request.quote, "request.event_id": turn.event_id, "met": way}
    if request.ways:
        fields["ways"] = ", ".join(sorted(request.ways))
    if request.harms:
        fields["harm"] = ", ".join(sorted(request.harms))
    if way == "instead" and request.turnabout is not None:
        fields["instead"] = request.turnabout.after
    if turn.again is not None and turn.again.refused is not None:
        events += [turn.again.event_id, turn.again.refused.event_id, *turn.pieces]
        fields["refused"] = turn.again.request.quote
        fields["refused.event_id"] = turn.again.refused.event_id
        fields["refused.by"] = turn.again.refused.by
    return Finding(kind, step, severity, f"{turn.event_id} {way}", _told(turn, step, way), events,
                   _cut(fields), scores)  # fmt: skip


def _scores(turn: Turn, way: Way) -> dict[str, float]:
    request = turn.request
    scores = {
        "ways to get past rules": 2.0 * len(request.ways & STRONG),
        "pretexts": 1.0 * len(request.ways - STRONG) if request.pressing else 0.0,
        "harm asked for": 2.0 * bool(request.harms),
        "asked before and refused": 0.0,
        "what it asked for instead was done": 2.0 * (way == "instead"),
        # Who sets rules aside and is answered at all has got past them.
        "call": 1.0 if request.ways & STRONG else _WEIGHT[way],
    }
    again = turn.again
    if again is not None and again.refused is not None:
        scores["asked before and refused"] = 4.0 if again.refused.by_control else 1.0
        scores["harm asked for"] = 2.0 * bool(request.harms | again.request.harms)
        scores["ways to get past rules"] += 1.0 * again.request.pressing
    return scores


def _told(turn: Turn, step: Step, way: Way) -> str:
    request, again = turn.request, turn.again
    call = step.tool or step.facts.kind or "a call"
    met = "the model told it" if way == "said" else f"{call} did it"
    if way == "instead":
        met = f"{call} did what only the rest of that text asked for"
    if again is not None and again.refused is not None:
        how = f"in {len(turn.pieces)} pieces" if turn.pieces else "in other words"
        return (
            f"“{_short(again.request.quote)}” was refused by {again.refused.by}, then asked again"
            f" {how}: “{_short(request.quote)}”; {met}"
        )
    return f"the user asked “{request.quote}” ({_what(request)}); {met}"


def _what(request: Request) -> str:
    return ", ".join([*sorted(request.ways), *sorted(request.harms)])


def done_after_all(denied: Step, step: Step, same: Sequence[str]) -> Finding:
    """A call was refused, and another with its values was carried out."""
    shown = ", ".join(_short(one) for one in same[:3])
    by = denied.notes.get("policy_reason") or denied.notes.get("guardrail_name") or "a control"
    fields = {
        "refused.tool": denied.tool, "refused.event_id": denied.facts.event_id, "refused.by": by,
        "call.tool": step.tool, "call.values": shown,
    }  # fmt: skip
    was, then = denied.tool or "a call", step.tool or "a call"
    text = f"{was} was refused ({_short(by)}); {then} then did it with {shown}"
    event, scores = denied.facts.event_id, {"values shared": float(len(same))}
    return Finding("refused_call", step, "medium", event, text, [event], _cut(fields), scores)


def leaked(step: Step, leak: Leak, said: str) -> Finding | None:
    """Something private went out."""
    if step.notes.get("register_destination_allowed") == "true" and leak.form in (
        "as it is",
        "as a file",
    ):
        return None
    to = destinations(step)
    named = [one for one in to if one in said]
    wished = bool(named) and not _SENDING.isdisjoint(stems(said))
    hidden = leak.form not in ("as it is", "as a file")
    scores = {
        "known to be private": 2.0 if leak.source.certain else 1.0,
        "hidden": 2.0 * hidden,
        "nobody asked to send it there": 2.0 * (not wished),
        "destination outside the register": 1.0
        * (step.notes.get("register_destination_allowed") == "false"),
    }
    grave = sum(scores.values())
    severity: Severity = "high" if grave >= 4 else "medium" if grave >= 3 else "low"
    if wished:
        severity = "medium" if hidden else "low"
    where = f" to {', '.join(_short(one) for one in to[:2])}" if to else ""
    fields = {
        "read.event_id": leak.source.event_id, "read.tool": leak.source.tool,
        "read.label": leak.source.label, "form": leak.form, "what": leak.what,
        "call.tool": step.tool, "call.to": ", ".join(_short(one) for one in to[:3]),
    }  # fmt: skip
    call = f"{step.tool or 'a call'}{where}"
    if leak.form == "as a file":
        text = f"{leak.source.label} went out with {call}"
    else:
        text = (
            f"what {leak.source.tool or 'a tool'} brought (event {leak.source.event_id},"
            f" {leak.source.label or 'private'}) went out with {call}, {leak.form}"
        )
    text += "; the user named the destination" if wished else "; the user named no such destination"
    key = f"{leak.source.event_id} {leak.what} {step.facts.event_id}"
    return Finding("leak", step, severity, key, text, [leak.source.event_id, *leak.before],
                   _cut(fields), scores)  # fmt: skip


def strayed(step: Step, outside: Mapping[str, str], said: str) -> Finding:
    """A session does what its agent was not approved for."""
    purpose = step.notes.get("register_purpose", "")
    words = content_words(stems(purpose))
    fits = len(words & stems(said)) / len(words) if words and said else 0.0
    kinds = {what.split()[0] for what in outside}
    grave = 1.0 + len(kinds) + (1.0 if said and purpose and not fits else 0.0)
    grave += {"critical": 2.0, "high": 1.0}.get(step.notes.get("register_risk_tier", ""), 0.0)
    severity: Severity = "high" if grave >= 4 else "medium"
    shown = ", ".join(list(outside)[:4])
    fields = {"outside": shown, "purpose": purpose, "call.tool": step.tool}
    text = f"{len(outside)} things outside the agent's register in one session: {shown}"
    if purpose and said and not fits:
        text += f"; no word of the user is about its purpose “{_short(purpose)}”"
    events, things = list(outside.values()), float(len(outside))
    scores = {"things outside": things, "of its purpose in the user's words": fits}
    return Finding("drift", step, severity, "drift", text, events, _cut(fields), scores)


def ran(source: Step, step: Step) -> Finding | None:
    """What a model wrote was run as it stood."""
    if step.notes.get("approval_decision", "").lower() in ("approved", "granted", "allow"):
        return None
    fields = {"answer.event_id": source.facts.event_id, "call.tool": step.tool, "run": step.args}
    text = (
        f"{step.tool or step.facts.kind or 'a call'} ran what the model had written in its answer"
        f" (event {source.facts.event_id}), unchecked: “{_short(step.args)}”"
    )
    severity: Severity = "medium" if step.marks & marks.SINK else "low"
    event = source.facts.event_id
    key = f"{event} {step.facts.event_id}"
    return Finding("output_run", step, severity, key, text, [event], _cut(fields), {})


def _cut(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value[:160] for name, value in fields.items() if value}


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARS else f"{text[:MAX_SHOWN_CHARS]}…"
