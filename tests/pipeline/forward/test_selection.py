"""Which alerts a destination gets."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.forward.config import Route
from tachograph.pipeline.forward.selection import select
from tachograph.schemas.alert import Alert
from tests.pipeline.forward import alerts


def route(**options: object) -> Route:
    return Route(name="siem", type="syslog", **options)  # type: ignore[arg-type]


def sent(chosen: Route, *batch: Alert, known: dict[str, int] | None = None) -> list[int]:
    return [alert.revision for alert in select(chosen, batch, known or {}).send]


def test_a_route_without_filters_gets_everything() -> None:
    assert sent(route(), alerts.alert(1), alerts.alert(2, severity="low")) == [1, 2]


def test_only_the_newest_revision_of_a_batch_goes_out() -> None:
    batch = [alerts.alert(1, revision=r) for r in (3, 5, 4)]
    chosen = select(route(), batch, {})
    assert [alert.revision for alert in chosen.send] == [5]
    assert chosen.skipped == {"superseded": 2}


def test_the_order_of_newest_revisions_is_kept() -> None:
    first, second = alerts.alert(1, revision=1), alerts.alert(2, revision=2)
    assert sent(route(), first, second, alerts.alert(1, revision=3)) == [2, 3]


def test_what_is_acknowledged_is_not_sent_again() -> None:
    alert = alerts.alert(1, revision=7)
    assert sent(route(), alert, known={alert.alert_id: 7}) == []
    assert sent(route(), alert, known={alert.alert_id: 9}) == []
    assert sent(route(), alert, known={alert.alert_id: 6}) == [7]


def test_replays_never_go_out_even_to_those_who_know_the_alert() -> None:
    alert = alerts.alert(1, replay=True)
    assert sent(route(), alert, known={alert.alert_id: 0}) == []
    assert select(route(), [alert], {}).skipped == {"replay": 1}


def test_synthetic_alerts_go_out_unless_they_are_not_wanted() -> None:
    alert = alerts.alert(1, synthetic=True)
    assert sent(route(), alert) == [1]
    assert sent(route(synthetic="skip"), alert) == []


def test_severity_is_a_lower_bound() -> None:
    batch = [alerts.alert(n, severity=s) for n, s in enumerate(("low", "medium", "critical"))]
    assert sent(route(min_severity="medium"), *batch) == [1, 2]


def test_tenant_environment_team_and_category_are_lists_of_what_passes() -> None:
    alert = alerts.alert(1, environment="prod", owner_team="payments")
    assert sent(route(tenants=["acme"], environments=["prod"]), alert) == [1]
    assert sent(route(tenants=["other"]), alert) == []
    assert sent(route(environments=["dev"]), alert) == []
    assert sent(route(owner_teams=["payments"], risk_categories=["agent_operation"]), alert) == [1]
    assert sent(route(owner_teams=["payments"], risk_categories=["governance"]), alert) == []


def test_rules_are_patterns_over_the_rules_that_count() -> None:
    alert = alerts.alert(1)
    assert sent(route(rules=["secret-*"]), alert) == [1]
    assert sent(route(rules=["other", "*"]), alert) == [1]
    assert sent(route(rules=["secret"]), alert) == []


def test_what_a_destination_knows_is_seen_to_the_end() -> None:
    chosen = route(min_severity="critical")
    retracted = alerts.alert(1, revision=9, status="retracted", severity="low")
    assert sent(chosen, retracted) == []
    assert sent(chosen, retracted, known={retracted.alert_id: 8}) == [9]


@given(
    revisions=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=30),
    known=st.dictionaries(st.integers(0, 3), st.integers(0, 20)),
)
def test_each_alert_goes_out_once_at_its_newest_unknown_revision(
    revisions: list[tuple[int, int]], known: dict[int, int]
) -> None:
    batch = [alerts.alert(n, revision=r) for n, r in revisions]
    told = {f"{n:032x}": r for n, r in known.items()}
    chosen = select(route(), batch, told)
    newest: dict[str, int] = {}
    for alert in batch:
        newest[alert.alert_id] = max(alert.revision, newest.get(alert.alert_id, -1))
    expected = {i: r for i, r in newest.items() if r > told.get(i, -1)}
    assert {alert.alert_id: alert.revision for alert in chosen.send} == expected
    assert len(chosen.send) + sum(chosen.skipped.values()) == len(batch)


def test_a_silenced_alert_goes_only_to_those_who_saw_it_open() -> None:
    heard = alerts.alert(1)
    hushed = [msgspec.structs.replace(rule, suppressed="silenced by ops") for rule in heard.rules]
    alert = msgspec.structs.replace(heard, rules=hushed, status="closed")
    assert heard.rules
    assert select(route(), [alert], {}).skipped == {"silenced": 1}
    assert sent(route(), alert, known={alert.alert_id: alert.revision - 1}) == [alert.revision]
    mixed = msgspec.structs.replace(heard, rules=[*hushed, *heard.rules])
    assert sent(route(), mixed) == [mixed.revision]
