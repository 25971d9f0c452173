"""What an alert may share with others: the member of an incident that it makes. Pure."""

from collections.abc import Iterable, Iterator

from tachograph.pipeline.triage.entry import Entry
from tachograph.pipeline.triage.glimpse import Pair, of_action, secrets_of, short
from tachograph.pipeline.triage.judgement import judged_by
from tachograph.pipeline.triage.named import named
from tachograph.pipeline.triage.policy import Policy
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import IncidentMember, SharedValue

MAX_SHARED = 48
MAX_OF_A_KIND = 12
MAX_RULES = 20
# Observables of what was acted upon; the agent's own host and tools are no target.
_TARGETS = frozenset({"domain", "ip", "package", "hash"})


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
        shared=_bounded(_shared(alert, entry, policy)),
        incident_id=alert.incident_id or alert.alert_id,
        incident_reasons=alert.incident_reasons,
        replay=alert.replay,
    )


def _bounded(found: Iterable[tuple[str, Pair]]) -> list[SharedValue]:
    """Each once; where there are too many the smallest, by turns: of no group and of no kind all
    before another has one.
    """
    by_group: dict[tuple[str, str], set[str]] = {}
    for group, (kind, value) in found:
        by_group.setdefault((kind, group), set()).add(value)
    turns = sorted(
        (at, kind, value)
        for (kind, _), values in by_group.items()
        for at, value in enumerate(sorted(values))
    )
    by_kind: dict[str, list[str]] = {}
    for _, kind, value in turns:
        held = by_kind.setdefault(kind, [])
        if value not in held and len(held) < MAX_OF_A_KIND:
            held.append(value)
    each = sorted((at, kind, one) for kind, held in by_kind.items() for at, one in enumerate(held))
    kept = sorted((kind, value) for _, kind, value in each[:MAX_SHARED])
    return [SharedValue(kind=kind, value=value) for kind, value in kept]


def _shared(alert: Alert, entry: Entry, policy: Policy) -> Iterator[tuple[str, Pair]]:
    """Pairs of kind and value, each with the group that says so, or none where the alert does."""
    yield from (("", pair) for pair in short(_of_alert(alert)))
    judged = judged_by(entry, policy)
    for glimpse in entry.glimpses.values():
        if glimpse.group_id in judged:
            events = judged[glimpse.group_id] & glimpse.of_events.keys()
            pairs = (pair for one in sorted(events) for pair in glimpse.of_events[one])
            yield from ((glimpse.group_id, pair) for pair in (*glimpse.of_agent, *pairs))


def _of_alert(alert: Alert) -> Iterator[Pair]:
    yield "principal", alert.principal_id or ""
    yield from (("target", one.value) for one in alert.observables if one.type in _TARGETS)
    for reason in alert.reasons:
        yield from (("value", one) for one in named(reason.fields.get("call.values", "")))
        yield from (("secret", token) for token in secrets_of(reason.fields.values()))
    if alert.state is None:
        return
    yield from (("credential", one) for one in alert.state.credentials)
    if len(alert.state.delegation_chain) > 1:
        yield "delegation", alert.state.delegation_chain[0]
    judged = set(alert.event_ids)
    for action in alert.state.last_actions:
        if action.get("event_id") in judged:
            yield from of_action(action)
