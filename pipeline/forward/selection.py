"""Which alerts of a batch a destination gets: pure, so that every reason has a name and a test."""

from collections import Counter
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import msgspec

from tachograph.pipeline.forward.config import Route
from tachograph.schemas.alert import SEVERITIES, Alert


class Selected(msgspec.Struct, frozen=True):
    """What goes out, in order, and how many did not, by reason."""

    send: list[Alert]
    skipped: Counter[str]


def select(route: Route, batch: Sequence[Alert], known: Mapping[str, int]) -> Selected:
    """The alerts of a batch that the destination gets.

    `known` maps alert ids to the newest revision that the destination has acknowledged. Of one
    alert only the newest revision of the batch counts. What the destination has seen once it sees
    to the end: an update, closure or retraction goes out even when it passes the filters no more.
    """
    skipped: Counter[str] = Counter()
    newest: dict[str, Alert] = {}
    for alert in batch:
        before = newest.get(alert.alert_id)
        if before is not None:
            skipped["superseded"] += 1
        if before is None or alert.revision > before.revision:
            # Taken out and put back, so that the order is that of the newest revisions.
            newest.pop(alert.alert_id, None)
            newest[alert.alert_id] = alert
    send = []
    for alert in newest.values():
        reason = _reason_to_skip(route, alert, known.get(alert.alert_id))
        if reason is None:
            send.append(alert)
        else:
            skipped[reason] += 1
    return Selected(send, skipped)


def _reason_to_skip(route: Route, alert: Alert, acknowledged: int | None) -> str | None:
    if alert.replay:
        return "replay"
    if alert.synthetic and route.synthetic == "skip":
        return "synthetic"
    if acknowledged is not None:
        return "acknowledged" if alert.revision <= acknowledged else None
    if alert.rules and all(rule.suppressed is not None for rule in alert.rules):
        return "silenced"
    return None if _passes(route, alert) else "filtered"


def _passes(route: Route, alert: Alert) -> bool:
    categories = set(alert.risk_categories or [alert.risk_category])
    return (
        SEVERITIES.index(alert.severity) >= SEVERITIES.index(route.min_severity)
        and _listed(alert.tenant, route.tenants)
        and _listed(alert.environment, route.environments)
        and _listed(alert.owner_team, route.owner_teams)
        and (not route.risk_categories or bool(categories & set(route.risk_categories)))
        and (not route.rules or _any_rule(route, alert))
    )


def _listed(value: str | None, allowed: list[str]) -> bool:
    return not allowed or value in allowed


def _any_rule(route: Route, alert: Alert) -> bool:
    ids = [rule.rule_id for rule in alert.rules if rule.suppressed is None]
    return any(fnmatchcase(rule_id, pattern) for rule_id in ids for pattern in route.rules)
