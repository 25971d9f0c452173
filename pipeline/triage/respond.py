"""What agents are told because of an alert: to say what they are, and where the policy states it
to slow down, to ask first, or to stop.

Pure. A directive's id follows from the alert, the agent and what is asked, so however often it is
decided it is the same one. The entry knows which were given.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

import msgspec

from tachograph.pipeline.triage.entry import Entry
from tachograph.pipeline.triage.policy import Policy, Response, rank
from tachograph.schemas.alert import Alert
from tachograph.schemas.codec import canonical
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Directive

# Of one entry: an alert about many agents does not ask them all.
MAX_DIRECTIVES = 16
_CAPTURE = "An alert asks what the agent is, before it goes on."


def directives_of(alert: Alert, entry: Entry, policy: Policy, at: datetime) -> list[Directive]:
    """Directives that the alert asks for and that were not given yet, unsigned. `at`: Kafka's time
    of the record that caused the alert's state.
    """
    # What was closed, taken back or is only replayed changes nothing in the world.
    if alert.status != "open" or alert.replay or not alert.agent_id:
        return []
    spare = max(0, MAX_DIRECTIVES - len(entry.directives))
    wanted = _wanted(alert, entry, policy, at)
    return [one for one in wanted if one.directive_id not in entry.directives][:spare]


def with_directives(entry: Entry, told: Sequence[Directive]) -> Entry:
    """The entry that knows that these were given."""
    if not told:
        return entry
    known = [*entry.directives, *(one.directive_id for one in told)]
    return msgspec.structs.replace(entry, directives=known)


def _wanted(alert: Alert, entry: Entry, policy: Policy, at: datetime) -> Iterator[Directive]:
    capture = policy.capture
    bare = _capture(alert, entry, at, capture.answer_within_s)
    if capture.enabled and rank(alert.severity) >= rank(capture.min_severity):
        yield bare
    for response in policy.respond:
        if _fits(response, alert):
            dry_run = response.dry_run or policy.dry_run
            content = canonical(response).decode()
            yield msgspec.structs.replace(
                bare,
                directive_id=plain_id(bare.directive_id, response.kind, content, str(dry_run)),
                kind=response.kind,
                reason=response.reason,
                expires_at=at + timedelta(seconds=response.expires_after_s),
                session_id=alert.session_id if response.session_only else None,
                scope=dict(response.scope),
                dry_run=dry_run,
            )


def _fits(response: Response, alert: Alert) -> bool:
    if rank(alert.severity) < rank(response.min_severity):
        return False
    counted = [hit.rule_id for hit in alert.rules if hit.count and not hit.suppressed]
    return (
        fnmatchcase(alert.tenant, response.tenant)
        and fnmatchcase(alert.entity, response.entity)
        and fnmatchcase(alert.agent_id or "", response.agent)
        and _any(counted, response.rule)
        # Nothing is stopped altogether for want of a session to stop.
        and (alert.session_id is not None or not response.session_only)
    )


def _any(names: Iterable[str], pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _capture(alert: Alert, entry: Entry, at: datetime, within_s: int) -> Directive:
    agent = alert.agent_id or ""
    return Directive(
        directive_id=plain_id(alert.alert_id, "capture", agent),
        tenant=alert.tenant,
        kind="capture",
        agent_id=agent,
        session_id=alert.session_id,
        alert_id=alert.alert_id,
        reason=_CAPTURE,
        issued_at=at,
        expires_at=at + timedelta(seconds=within_s),
        entity=entry.entity,
        bucket_start=entry.bucket_start,
    )
