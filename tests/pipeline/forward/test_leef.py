"""LEEF, read back by a parser written from its specification alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.forward.formats import leef, syslog
from tachograph.pipeline.forward.formats._values import visible
from tachograph.schemas.alert import SEVERITIES, Observable
from tests.pipeline.forward import alerts
from tests.pipeline.forward.test_cef import assert_equal_or_cut, parse_syslog


def parse_leef(line: str) -> tuple[list[str], dict[str, str]]:
    """Header fields and attributes of a LEEF 2.0 line: no escapes, the delimiter as it names it."""
    version, vendor, product, product_version, event_id, delimiter, rest = line.split("|", 6)
    assert version == "LEEF:2.0"
    assert delimiter[0] == "x"
    fields: dict[str, str] = {}
    for part in rest.split(chr(int(delimiter[1:], 16))):
        key, value = part.split("=", 1)
        assert key not in fields
        fields[key] = value
    return [vendor, product, product_version, event_id], fields


def test_the_example_says_what_qradar_looks_for() -> None:
    example = alerts.examples()["secret_sent_outside"]
    head, fields = parse_leef(leef.render(example).decode())
    assert head[0] == "Tachograph"
    assert head[3] == "secret-then-egress"
    assert fields["devTime"] == str(to_us(example.updated_at) // 1000)
    assert (fields["sev"], fields["cat"]) == ("10", "agent_operation")
    assert fields["usrName"] == "dana@acme.example"
    assert fields["url"] == "https://paste.example/u"
    assert fields["resource"] == "/srv/billing/.env"
    assert (fields["alertId"], fields["revision"]) == (example.alert_id, "42")
    assert fields["title"] == example.title


def test_severities_are_between_1_and_10_and_in_order() -> None:
    found = [
        int(parse_leef(leef.render(alerts.alert(severity=s)).decode())[1]["sev"])
        for s in SEVERITIES
    ]
    assert found == sorted(set(found))
    assert (min(found), max(found)) == (1, 10)


@pytest.mark.parametrize("name", sorted(set(alerts.HOSTILE) - {"empty"}))
def test_hostile_values_come_back_shown_or_visibly_cut(name: str) -> None:
    text = alerts.HOSTILE[name]
    alert = alerts.alert(
        title=text,
        principal_id=text,
        session_id=text,
        observables=[Observable(type="url", value=text), Observable(type="file", value=text)],
        rules=[alerts.rule(text)],
    )
    head, fields = parse_leef(leef.render(alert).decode())
    for key in ("title", "usrName", "conversationId", "url", "resource"):
        assert_equal_or_cut(visible(text), fields[key])
    assert_equal_or_cut(visible(text).replace("|", "/"), head[3])
    assert fields["alertId"] == alert.alert_id


@given(text=st.text(st.characters(), min_size=1, max_size=80))
def test_any_value_comes_back(text: str) -> None:
    alert = alerts.alert(principal_id=text, session_id=text)
    _, fields = parse_leef(leef.render(alert).decode())
    shown = visible(text).encode("utf-8", "replace").decode()
    assert fields["usrName"] == shown
    assert fields["conversationId"] == shown
    assert fields["alertId"] == alert.alert_id


def test_syslog_carries_leef_where_a_destination_says_so() -> None:
    example = alerts.examples()["secret_sent_outside"]
    record = syslog.render(example, hostname="gw-01", message="leef")
    assert parse_syslog(record)[2] == leef.render(example).decode()
    health = alerts.health_examples()["stage_ok"]
    assert parse_syslog(syslog.render_health(health, message="leef"))[2].startswith("LEEF:2.0|")
