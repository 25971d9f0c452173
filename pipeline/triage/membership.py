"""What an alert may share with others: the member of an incident that it makes. Pure."""

import re
from collections.abc import Iterable, Iterator

from tachograph.pipeline.triage.entry import Entry
from tachograph.pipeline.triage.named import named
from tachograph.pipeline.triage.policy import Policy
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import IncidentMember, SharedValue

MAX_SHARED = 48
MAX_OF_A_KIND = 12
MAX_VALUE_CHARS = 256
MAX_RULES = 20
# Shorter texts ("ok", "[]") come to everybody.
MIN_TEXT_CHARS = 40
# Observables of what was acted upon; the agent's own host and tools are no target.
_TARGETS = frozenset({"domain", "ip", "package", "hash"})
# What `normalize` puts in the place of a secret: equal secrets have equal tokens.
_SECRET = re.compile(r"‹secret:[^‹›]{1,120}›")


def member_of(alert: Alert, entry: Entry, policy: Policy) -> IncidentMember:
    """The alert as the one who joins it to others sees it."""
    counted = [hit.rule_id for hit in alert.rules if hit.count and not hit.suppressed]
    return IncidentMember(
        alert_id=alert.alert_id,
        revision=alert.revision,
        tenant=alert.tenant,
        entity=alert.entity,
        bucket_start=entry.bucket_start,
        status=alert.status,
        title=alert.title,
        severity=alert.severity,
        risk=alert.risk,
        half_life_s=policy.half_life_s,
        first_seen=alert.first_seen,
        last_seen=alert.last_seen,
        updated_at=alert.updated_at,
        agent_id=alert.agent_id or alert.entity,
        principal_id=alert.principal_id,
        rule_ids=sorted(set(counted))[:MAX_RULES],
        shared=_bounded(_shared(alert)),
        incident_id=alert.incident_id or alert.alert_id,
        incident_reasons=alert.incident_reasons,
        replay=alert.replay,
    )


def _bounded(found: Iterable[tuple[str, str]]) -> list[SharedValue]:
    """Each once, the smallest of a kind where there are too many."""
    by_kind: dict[str, list[str]] = {}
    for kind, value in sorted(set(found)):
        if 0 < len(value) <= MAX_VALUE_CHARS:
            by_kind.setdefault(kind, []).append(value)
    kept = [
        SharedValue(kind=kind, value=value)
        for kind, values in by_kind.items()
        for value in values[:MAX_OF_A_KIND]
    ]
    return kept[:MAX_SHARED]


def _shared(alert: Alert) -> Iterator[tuple[str, str]]:
    """Pairs of kind and value, as they come."""
    yield "principal", alert.principal_id or ""
    yield from (("target", one.value) for one in alert.observables if one.type in _TARGETS)
    for reason in alert.reasons:
        yield from (("value", one) for one in named(reason.fields.get("call.values", "")))
        yield from (("secret", token) for token in _secrets(reason.fields.values()))
    if alert.state is None:
        return
    yield from (("credential", one) for one in alert.state.credentials)
    if len(alert.state.delegation_chain) > 1:
        yield "delegation", alert.state.delegation_chain[0]
    judged = set(alert.event_ids)
    for action in alert.state.last_actions:
        if action.get("event_id") in judged:
            yield from _of_action(action)


def _of_action(action: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Texts that came in, the secrets in any text, and what it was done to."""
    yield "target", action.get("target_domain", "")
    yield "target", action.get("target_resource", "")
    if len(action.get("tool_result", "")) > MIN_TEXT_CHARS:
        yield "content", action.get("tool_result_hash", "")
    came_in = action.get("content_direction") == "in"
    if came_in and len(action.get("content_text", "")) > MIN_TEXT_CHARS:
        yield "content", action.get("content_hash", "")
    yield from (("secret", token) for token in _secrets(action.values()))


def _secrets(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from _SECRET.findall(text)
