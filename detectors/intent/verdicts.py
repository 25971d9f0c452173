"""What is said of a finding: the signal, with the names that rules of the field have for it."""

from typing import NamedTuple

from tachograph.detectors.intent.findings import Finding, Kind
from tachograph.detectors.intent.flows import destinations
from tachograph.detectors.signals import of_action
from tachograph.schemas.alert import Observable, Reason, RiskCategory, Severity, Signal, Witness
from tachograph.schemas.identity import plain_id

# Of what is asked; another one makes other signals.
VERSION = "2"
_CONFIDENCE: dict[Severity, int] = {"high": 80, "medium": 60, "low": 35}
_MOST_EVENTS = 20


class Verdict(NamedTuple):
    """What all findings of a kind have in common."""

    rule_id: str
    title: str
    risk_category: RiskCategory
    frameworks: tuple[str, ...]
    runbook: str


_TALK = (
    "Read the quoted request and what the agent did. If the user may not ask for it: undo the call,"
    " talk to the user, and see his other sessions."
)
VERDICTS: dict[Kind, Verdict] = {
    "jailbreak": Verdict(
        "42985d08-5b3f-53a4-92ea-0abc77dbf9c1",
        "A user talked an agent out of its rules",
        "prompt_misuse",
        ("atlas.aml.t0054", "owasp-llm.2026.llm01", "owasp-asi.asi01"),
        _TALK,
    ),
    "harmful_request": Verdict(
        "96c0daf4-56bc-5ba5-b16c-2e8f49777d7d",
        "An agent did harm that its user asked for",
        "prompt_misuse",
        ("atlas.aml.t0053", "atlas.aml.t0048", "owasp-asi.asi02"),
        _TALK,
    ),
    "rephrased": Verdict(
        "b87d8f7f-1608-5eac-b1c6-20d05817f03d",
        "Refused, asked in other words, and done",
        "prompt_misuse",
        ("atlas.aml.t0054", "atlas.aml.t0065", "owasp-llm.2026.llm01", "owasp-asi.asi01"),
        _TALK,
    ),
    "split": Verdict(
        "954be4a3-e68e-50a7-a080-86ed44abec07",
        "Refused, asked in pieces, and done",
        "prompt_misuse",
        ("atlas.aml.t0054", "atlas.aml.t0065", "owasp-llm.2026.llm01", "owasp-asi.asi01"),
        _TALK,
    ),
    "refused_call": Verdict(
        "291ed067-6beb-577a-9da0-27f1d441cd58",
        "A refused call was carried out another way",
        "agent_operation",
        ("atlas.aml.t0053", "owasp-llm.2026.llm03", "owasp-asi.asi02"),
        "Compare both calls. Close the way that the second one took, and review the session.",
    ),
    "drift": Verdict(
        "8a35c66a-2421-5cba-a123-b9f409614a4d",
        "A session far from its agent's declared purpose",
        "agent_operation",
        ("atlas.aml.t0053", "owasp-llm.2026.llm03", "owasp-asi.asi02"),
        "Ask the agent's owner whether its purpose has grown. If not, find who gave it this task.",
    ),
    "leak": Verdict(
        "914dc1fd-4224-5a35-aea9-f5d74ffb4800",
        "Private data went from where it was read to the outside",
        "agent_operation",
        ("atlas.aml.t0057", "atlas.aml.t0086", "owasp-llm.2026.llm02", "owasp-asi.asi02"),
        "Treat the data as disclosed: rotate what opens doors, tell its owner, block the target.",
    ),
    "told_another": Verdict(
        "03345b65-171c-5135-bcc5-1bc4833ff7a3",
        "An agent did what untrusted content had told another agent",
        "prompt_misuse",
        ("atlas.aml.t0051.001", "atlas.aml.t0053", "owasp-llm.2026.llm01", "owasp-asi.asi07"),
        "Read what the other agent was told and how it was handed on. Stop the root session.",
    ),
    "memory_obeyed": Verdict(
        "723346d5-62bd-5b13-a4b2-b012cd784ada",
        "A session obeyed what untrusted content had put into memory",
        "prompt_misuse",
        ("atlas.aml.t0080.000", "atlas.aml.t0094", "owasp-llm.2026.llm05", "owasp-asi.asi06"),
        "Delete the entry, undo the call, and look at the sessions that have read the entry since.",
    ),
    "output_run": Verdict(
        "4dcb4c0d-382d-58f9-a548-1b2abcb0be6f",
        "A model's answer was run unchecked",
        "ai_development",
        ("atlas.aml.t0050", "owasp-llm.2026.llm10", "owasp-asi.asi05"),
        "Find the component that runs answers. It must check them, or ask a person.",
    ),
}


def signal_of(finding: Finding, blind: list[str]) -> Signal:
    """The signal of a finding; `revision` and `change` are the caller's to fill in."""
    verdict, facts = VERDICTS[finding.kind], finding.step.facts
    events = list(dict.fromkeys([facts.event_id, *finding.events]))
    session, place = facts.session_id or facts.trace_id or "", facts.partition_key or ""
    return Signal(
        signal_id=plain_id(facts.tenant, verdict.rule_id, VERSION, place, session, finding.key),
        revision=0,
        change="new",
        rule_id=verdict.rule_id,
        rule_version=VERSION,
        title=verdict.title,
        severity=finding.severity,
        confidence=_CONFIDENCE[finding.severity],
        kind="provenance",
        risk_category=verdict.risk_category,
        frameworks=list(verdict.frameworks),
        event_ids=events[:_MOST_EVENTS],
        event_count=len(events),
        tool_name=finding.step.tool or None,
        scores={name: value for name, value in finding.scores.items() if value},
        reason=Reason(text=finding.text, fields=finding.fields),
        observables=_observables(finding),
        witness=Witness(
            events=[{"event_id": facts.event_id, "time_us": str(facts.time_us), **finding.fields}],
            window={name: f"{value:.15g}" for name, value in finding.scores.items()},
            versions={"intent": VERSION},
            partial=len(events) > _MOST_EVENTS,
        ),
        blind_spots=blind,
        runbook=verdict.runbook,
        owner_team="soc",
        **of_action(facts),
    )


def _observables(finding: Finding) -> list[Observable]:
    step = finding.step
    found = [Observable(type="tool", value=step.tool)] if step.tool else []
    if finding.kind == "leak":
        for address in destinations(step)[:3]:
            kind = "user" if "@" in address else "domain"
            found.append(Observable(type=kind, value=address))  # type: ignore[arg-type]
    if step.facts.principal_id:
        found.append(Observable(type="user", value=step.facts.principal_id))
    return found


def blind_spots(late: int, *, shed: bool, cut: bool) -> list[str]:
    """What was not seen of the session and may matter."""
    found = []
    if late:
        found.append(f"{late} actions of this session came too late to be looked at")
    if shed:
        found.append("older actions of this session were forgotten at a limit")
    if cut:
        found.append("more private values were read in this session than are followed")
    return found
