"""`tacho forward render`: alerts and findings of a file, as destinations would get them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.forward import from_file
from tachograph.pipeline.forward.command import app
from tachograph.pipeline.forward.formats import formats
from tachograph.pipeline.scan.findings import Findings
from tachograph.schemas import codec, contracts
from tachograph.schemas.alert import Signal
from tests.pipeline.forward import alerts
from tests.pipeline.forward.test_json_formats import read_bulk, read_ndjson

Render = Callable[..., Result]


@pytest.fixture
def render(tmp_path: Path) -> Render:
    def run(form: str, *lines: Any) -> Result:
        file = tmp_path / "in.ndjson"
        file.write_bytes(b"".join(_line(line) + b"\n" for line in lines))
        return CliRunner().invoke(app, ["render", form, str(file)])

    return run


def _line(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def finding(**changes: Any) -> dict[str, Any]:
    """A line as `tacho scan` writes it, from an example of a signal."""
    payload = next(iter(contracts.examples("signal").valid.values()))
    found = Findings(raw=False)
    [line] = [*found.take([codec.decode(Signal, payload)]), *found.rest()]
    return {
        **json.loads(json.dumps({n: getattr(line, n) for n in line.__struct_fields__})),
        **changes,
    }


@pytest.mark.parametrize("form", formats())
def test_every_format_shows_alerts_and_findings_of_one_file(render: Render, form: str) -> None:
    alert = codec.encode(alerts.alert(1))
    result = render(form, alert, finding(), b"", codec.encode(alerts.alert(3)))
    assert result.exit_code == 0
    assert result.stdout.endswith("\n")
    assert result.stdout.count(finding()["signal_id"]) >= 1
    lines = result.stdout.splitlines()
    assert len(lines) == {"ecs": 6, "sentinel": 1}.get(form, 3)


def test_the_bytes_are_those_of_the_format(render: Render) -> None:
    for name, form in formats().items():
        alert = alerts.alert(1)
        expected = form.pack([(f"{alert.alert_id}:1", form.render(alert))])
        assert render(name, codec.encode(alert)).stdout_bytes.rstrip(b"\n") == expected.rstrip(
            b"\n"
        )


@pytest.mark.parametrize("hostile", sorted(set(alerts.HOSTILE) - {"empty"}))
def test_a_hostile_finding_stays_one_record(render: Render, hostile: str) -> None:
    text = alerts.HOSTILE[hostile]
    bad = finding(title=text, reason=text, agent_id=text, fields={text: text, "target_url": text})
    result = render("ecs", finding(signal_id="1" * 32), bad, finding(signal_id="2" * 32))
    assert result.exit_code == 0
    assert len(read_bulk(result.stdout_bytes)) == 3


@pytest.mark.parametrize("form", formats())
def test_hostile_findings_stay_records_of_their_own_in_every_format(
    render: Render, form: str
) -> None:
    left_out = ("empty", "megabyte_of")
    texts = [text for name, text in alerts.HOSTILE.items() if not name.startswith(left_out)]
    bad = [
        finding(title=text, reason=text, agent_id=text[:2_000], fields={"x": text, text: "y"})
        for text in texts
    ]
    plain = [render(form, *([finding()] * count)).stdout_bytes for count in (1, 2)]
    result = render(form, finding(), *bad, finding())
    assert result.exit_code == 0, result.stderr
    # A format's records are as many lines each as a plain one is; one array is one line.
    each = plain[1].count(b"\n") - plain[0].count(b"\n")
    assert result.stdout_bytes.count(b"\n") == plain[0].count(b"\n") + each * (len(bad) + 1)
    assert not set(result.stdout_bytes) & {0, 0x0B, 0x0C, 0x0D, 0x1B}


def test_a_finding_keeps_what_it_says(render: Render) -> None:
    [event] = read_ndjson(render("ocsf", finding()).stdout_bytes)
    given = finding()
    assert event["finding_info"]["uid"] == given["signal_id"]
    assert event["finding_info"]["analytic"]["uid"] == given["rule_id"]
    assert event["message"] == given["title"]
    assert given["reason"] in event["finding_info"]["desc"]
    assert event["unmapped"]["state_missing"] == "a finding of a scan has no captured state"


def test_a_later_revision_of_an_alert_is_an_update(render: Render) -> None:
    first, second = (codec.encode(alerts.alert(1, revision=n)) for n in (1, 2))
    events = read_ndjson(render("ocsf", first, second).stdout_bytes)
    assert [event["activity_name"] for event in events] == ["Create", "Update"]


def test_a_line_that_is_neither_is_named_and_the_others_are_shown(render: Render) -> None:
    bad = [b"{", b"[1]", b'{"alert_id": 7}', b'{"rule_id": NaN}', b'{"x": 1}']
    result = render("cef", finding(), *bad, finding())
    assert result.exit_code == 1
    assert len(result.stdout.splitlines()) == 2
    assert [line.split(": ")[0].rpartition(":")[2] for line in result.stderr.splitlines()] == [
        "2", "3", "4", "5", "6",
    ]  # fmt: skip


@pytest.mark.parametrize("form", formats())
def test_what_is_missing_or_null_does_not_keep_an_alert_from_being_shown(
    render: Render, form: str
) -> None:
    whole = json.loads(codec.encode(alerts.alert(1, agent_id="a", reasons=[])))
    fewer = [{k: v for k, v in whole.items() if k != name} for name in whole if name != "alert_id"]
    nulls = [{**finding(), name: None} for name in finding() if name != "rule_id"]
    odd = [{**finding(), "session_id": 7, "fields": {"target_url": 5, "x": {"y": [1]}}}]
    lines = [*fewer, *nulls, *odd, {"rule_id": "r"}, {"alert_id": "a"}]
    result = render(form, *lines)
    assert result.exit_code == 0, result.stderr
    each = len(render(form, {"rule_id": "r"}, {"rule_id": "s"}).stdout.splitlines()) // 2
    assert each == 0 or len(result.stdout.splitlines()) == len(lines) * each


@pytest.mark.parametrize("form", ["cef", "syslog", "ocsf", "sentinel"])
def test_a_time_of_another_zone_or_of_none_is_shown_in_utc(render: Render, form: str) -> None:
    alert = json.loads(codec.encode(alerts.alert(1)))
    names = ("updated_at", "first_seen", "last_seen", "created_at")
    same = ("2026-11-22T20:00:00+02:00", "2026-11-22T18:00:00", "2026-11-22T18:00:00Z")
    shown = [render(form, {**alert, **dict.fromkeys(names, at)}) for at in same]
    assert [result.exit_code for result in shown] == [0, 0, 0]
    assert len({result.stdout for result in shown}) == 1
    beyond = dict.fromkeys(names, "0001-01-01T00:00:00+14:00")
    assert render(form, {**alert, **beyond}).exit_code == 1


def test_a_line_that_is_too_long_does_not_hide_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(from_file, "MAX_LINE_BYTES", 1_000)
    long = json.dumps({"rule_id": "r" * 4_500}).encode()
    read = list(from_file.alerts(io.BytesIO(long + b'\n{"rule_id": "next"}\n' + long)))
    assert [type(found).__name__ for found in read] == ["Unreadable", "Alert", "Unreadable"]


def test_bytes_that_are_no_text_show_as_such(render: Render) -> None:
    line = b"\xef\xbb\xbf" + json.dumps(finding(title="bad")).encode().replace(b"bad", b"b\xffd")
    [event] = read_ndjson(render("ocsf", line).stdout_bytes)
    assert event["message"] == "b\ufffdd"


def test_numbers_that_no_receiver_can_hold_are_no_alert(render: Render) -> None:
    value = json.loads(codec.encode(alerts.alert(1)))
    result = render("hec", {**value, "revision": 1 << 70})
    assert result.exit_code == 1
    assert "more than 64 bits" in result.stderr
    endless = json.dumps({**value, "scores": {"x": 1.5}}).encode().replace(b"1.5", b"1e999")
    assert render("hec", endless).exit_code == 1


def test_standard_input_is_read_and_a_wrong_name_says_which_there_are() -> None:
    result = CliRunner().invoke(app, ["render", "leef", "-"], input=json.dumps(finding()))
    assert result.stdout.startswith("LEEF:2.0|Tachograph|")
    wrong = CliRunner().invoke(app, ["render", "xml", "-"], input="")
    assert isinstance(wrong.exception, ConfigError)
    assert "there is cef, ecs" in str(wrong.exception)


def test_a_large_file_goes_out_in_requests_of_a_bounded_size(render: Render) -> None:
    many = [codec.encode(alerts.alert(n)) for n in range(1, 251)]
    arrays = read_ndjson(render("sentinel", *many).stdout_bytes)
    assert [len(array) for array in arrays] == [100, 100, 50]
