"""CEF and syslog, read back by parsers written from their specifications alone."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.forward.formats import cef, syslog
from tachograph.pipeline.forward.formats._values import visible
from tachograph.schemas.alert import SEVERITIES, Observable
from tests.pipeline.forward import alerts

KEY = re.compile(r"(?:^| )([A-Za-z0-9_]+)=")


def parse_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Header fields and extension of a CEF line, escapes undone, as the specification reads it."""
    assert line.startswith("CEF:")
    parts = re.split(r"(?<!\\)\|", re.sub(r"\\\\", "\x00", line.removeprefix("CEF:")), maxsplit=7)
    head = [part.replace("\\|", "|").replace("\x00", "\\") for part in parts[:7]]
    return head, dict(parse_extension(parts[7].replace("\x00", "\\\\")))


def parse_extension(text: str) -> Iterator[tuple[str, str]]:
    """Keys and values: a value ends where ` key=` begins; an escaped equals sign begins no key."""
    found = list(KEY.finditer(text))
    for at, match in enumerate(found):
        end = found[at + 1].start() if at + 1 < len(found) else len(text)
        yield match[1], unescape(text[match.end() : end])


def unescape(value: str) -> str:
    signs = {"n": "\n", "r": "\r", "=": "=", "\\": "\\"}
    return re.sub(r"\\(.)", lambda m: signs[m[1]], value)


def parse_syslog(record: bytes) -> tuple[dict[str, str], dict[str, str], str]:
    """RFC 5424: header, structured data of the one element, message."""
    parameter = r' [^ =]+="(?:\\.|[^"\\\]])*"'
    form = re.compile(
        r"<(?P<pri>\d{1,3})>1 (?P<time>\S+) (?P<host>\S{1,255}) (?P<app>\S{1,48})"
        r" (?P<proc>\S{1,128}) (?P<msgid>\S{1,32})"
        rf" \[(?P<id>[^ =\]\"]{{1,32}})(?P<params>(?:{parameter})*)\] (?P<msg>.*)",
        re.DOTALL,
    )
    match = form.fullmatch(record.decode())
    assert match is not None
    pairs = re.findall(r' ([^ =]+)="((?:\\.|[^"\\\]])*)"', match["params"])
    structured = {name: re.sub(r"\\(.)", r"\1", value) for name, value in pairs}
    return match.groupdict(), structured, match["msg"]


def assert_equal_or_cut(sent: str, got: str) -> None:
    """The value came through, or the reader can see that and how much of it is missing."""
    clean = sent.encode("utf-8", "replace").decode()
    if got == clean:
        return
    kept, marker, gone = got.rpartition("…[+")
    assert marker
    assert clean.startswith(kept)
    assert int(gone.removesuffix("]")) > 0


def test_the_example_says_what_a_soc_needs_to_route_it() -> None:
    example = alerts.examples()["secret_sent_outside"]
    head, fields = parse_cef(cef.render(example).decode())
    assert head[0:3] == ["0", "Tachograph", "tacho"]
    assert head[4:] == ["secret-then-egress", example.title, "10"]
    assert fields["externalId"] == example.alert_id
    assert (fields["cn2Label"], fields["cn2"]) == ("revision", str(example.revision))
    assert (fields["cn1Label"], fields["cn1"]) == ("risk", str(round(example.risk / 1000)))
    assert (fields["cs1Label"], fields["cs1"]) == ("session", example.session_id)
    assert (fields["cs2Label"], fields["cs2"]) == ("agentName", example.agent_name)
    assert (fields["cs3Label"], fields["cs3"]) == ("tool", "read_mail")
    assert fields["cs4"].startswith("atlas.AML.T0051.001,")
    assert fields["cs5"].split(",")[0] == "secret-then-egress"
    assert fields["cs6"] == "acme"
    assert fields["suser"] == "dana@acme.example"
    assert fields["dhost"] == "paste.example"
    assert fields["request"] == "https://paste.example/u"
    assert fields["fname"] == "/srv/billing/.env"
    assert fields["cat"] == "agent_operation"
    assert fields["act"] == "created"
    assert fields["rt"] == str(to_us(example.updated_at) // 1000)
    assert "Revoke the key" in fields["tachoRunbook"]


@pytest.mark.parametrize(
    ("status", "update", "act"),
    [
        ("open", False, "created"),
        ("open", True, "updated"),
        ("acknowledged", True, "updated"),
        ("closed", True, "closed"),
        ("retracted", True, "retracted"),
    ],
)
def test_the_action_says_what_happened_to_the_alert(status: str, update: bool, act: str) -> None:
    line = cef.render(alerts.alert(status=status), update=update).decode()
    assert parse_cef(line)[1]["act"] == act


def test_severities_map_to_the_bands_of_cef_and_syslog() -> None:
    found = [parse_cef(cef.render(alerts.alert(severity=s)).decode())[0][6] for s in SEVERITIES]
    assert found == ["1", "3", "5", "8", "10"]
    levels = [
        int(parse_syslog(syslog.render(alerts.alert(severity=s)))[0]["pri"]) % 8 for s in SEVERITIES
    ]
    assert levels == [6, 5, 4, 3, 2]


@pytest.mark.parametrize("name", sorted(set(alerts.HOSTILE) - {"empty"}))
def test_hostile_values_come_back_equal_or_visibly_cut(name: str) -> None:
    text = alerts.HOSTILE[name]
    alert = alerts.alert(
        title=text,
        principal_id=text,
        session_id=text,
        agent_name=text,
        observables=[Observable(type="url", value=text), Observable(type="file", value=text)],
    )
    head, fields = parse_cef(cef.render(alert).decode())
    shown = visible(text, keep="\n\r\t")
    for key in ("suser", "cs1", "cs2", "request", "fname"):
        assert_equal_or_cut(shown, fields[key])
    assert_equal_or_cut(visible(text).replace("|", "/"), head[5])
    assert fields["externalId"] == alert.alert_id
    assert fields["cn2"] == str(alert.revision)


@given(text=st.text(st.characters(), min_size=1, max_size=80))
def test_any_value_comes_back(text: str) -> None:
    alert = alerts.alert(principal_id=text, session_id=text)
    _, fields = parse_cef(cef.render(alert).decode())
    shown = visible(text, keep="\n\r\t").encode("utf-8", "replace").decode()
    assert fields["suser"] == shown
    assert fields["cs1"] == shown
    assert fields["externalId"] == alert.alert_id


def test_what_does_not_fit_is_named() -> None:
    line = cef.render(alerts.hostile("y" * 5_000)).decode()
    _, fields = parse_cef(line)
    assert "tachoEvidence" in fields["tachoOmitted"] or "…[+" in fields["tachoOmitted"]
    labels = [key for key in fields if key.endswith("Label")]
    assert all(key.removesuffix("Label") in fields for key in labels)


def test_an_address_goes_where_its_version_belongs() -> None:
    four = alerts.alert(observables=[Observable(type="ip", value="203.0.113.9")])
    six = alerts.alert(observables=[Observable(type="ip", value="2001:db8::9")])
    none = alerts.alert(observables=[Observable(type="ip", value="203.0.113.9 evil")])
    assert parse_cef(cef.render(four).decode())[1]["dst"] == "203.0.113.9"
    assert parse_cef(cef.render(six).decode())[1]["c6a3"] == "2001:db8::9"
    fields = parse_cef(cef.render(none).decode())[1]
    assert "dst" not in fields
    assert "203.0.113.9 evil" in fields["tachoObservables"]


@pytest.mark.parametrize("name", alerts.HOSTILE)
def test_syslog_keeps_its_header_whatever_it_carries(name: str) -> None:
    alert = alerts.hostile(alerts.HOSTILE[name])
    head, structured, message = parse_syslog(syslog.render(alert, hostname="gw 01\n"))
    assert head["time"] == "2026-11-22T18:00:01.123456Z"
    assert head["host"] == "gw_01_"
    assert head["id"] == "tacho@32473"
    assert structured["alertId"] == alert.alert_id
    assert structured["revision"] == "1"
    assert message == cef.render(alert).decode()
