"""The JSON formats of SIEMs, read back as their receivers read them."""

import html
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from tachograph.pipeline.clock import to_us
from tachograph.pipeline.forward.formats import ecs, formats, hec, ndjson, otlp, sentinel, slack
from tachograph.pipeline.forward.formats._values import visible
from tachograph.schemas.alert import Alert, Reason
from tests.pipeline.forward import alerts
from tests.pipeline.forward.test_cef import assert_equal_or_cut

EXAMPLE = alerts.examples()["secret_sent_outside"]

# The fields of ECS 9 that we fill, by their types; everything else is under `tacho` or `labels`.
ECS_FIELDS: dict[str, type] = {
    "@timestamp": str, "ecs.version": str, "message": str, "tags": list,
    "event.kind": str, "event.id": str, "event.sequence": int, "event.code": str,
    "event.category": list, "event.type": list, "event.action": str, "event.outcome": str,
    "event.module": str, "event.dataset": str, "event.provider": str, "event.severity": int,
    "event.risk_score": float, "event.reason": str, "event.start": str, "event.end": str,
    "event.created": str, "rule.id": str, "rule.name": str, "rule.version": str,
    "rule.category": str, "threat.framework": list, "threat.tactic.id": list,
    "threat.technique.id": list, "threat.technique.subtechnique.id": list,
    "observer.vendor": str, "observer.product": str, "observer.version": str,
    "observer.type": str, "gen_ai.agent.id": str, "gen_ai.agent.name": str,
    "gen_ai.tool.name": str, "user.name": str, "destination.domain": str, "destination.ip": str,
    "url.full": str, "file.path": str, "package.name": str, "related.user": list,
    "related.hosts": list, "related.ip": list, "related.hash": list,
}  # fmt: skip


def read_ndjson(body: bytes) -> list[Any]:
    return [json.loads(line) for line in body.decode().split("\n")[:-1]]


def read_bulk(body: bytes) -> list[Any]:
    """Documents of a `_bulk` body: an action and a source, each ended by a newline."""
    assert body.endswith(b"\n")
    lines = [json.loads(line) for line in body.decode().split("\n")[:-1]]
    assert [list(action) for action in lines[::2]] == [["create"]] * (len(lines) // 2)
    return lines[1::2]


def read_hec(body: bytes) -> list[Any]:
    """Objects one after another, with white space between them or none, as Splunk reads them."""
    return list(_objects(body.decode()))


def _objects(text: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        value, end = decoder.raw_decode(text, at + len(text[at:]) - len(text[at:].lstrip()))
        yield value
        at = end


def read_otlp(body: bytes) -> list[Any]:
    """Log records as OpenTelemetry's own protobuf reads them; ids would be hex, there are none."""
    requests = [
        json_format.ParseDict(request, ExportLogsServiceRequest()) for request in read_ndjson(body)
    ]
    return [
        record
        for request in requests
        for logs in request.resource_logs
        for scope in logs.scope_logs
        for record in scope.log_records
    ]


def attribute(record: Any, name: str) -> Any:
    """The one attribute of that name."""
    [value] = [pair.value for pair in record.attributes if pair.key == name]
    return getattr(value, value.WhichOneof("value"))


def read_slack(body: bytes) -> list[Any]:
    return read_ndjson(body)


# How a receiver reads several, and where it finds title and user of one.
Reader = tuple[Callable[[bytes], list[Any]], Callable[[Any], str], Callable[[Any], str]]
READERS: dict[str, Reader] = {
    "ndjson": (read_ndjson, lambda r: r["title"], lambda r: r["principal_id"]),
    "ecs": (read_bulk, lambda r: r["message"], lambda r: r["user"]["name"]),
    "hec": (read_hec, lambda r: r["event"]["title"], lambda r: r["event"]["principal_id"]),
    "otlp": (read_otlp, lambda r: r.body.string_value, lambda r: attribute(r, "user.id")),
    "sentinel": (json.loads, lambda r: r["Title"], lambda r: r["UserName"]),
    "slack": (
        read_slack,
        lambda r: html.unescape(r["blocks"][0]["text"]["text"]),
        lambda r: next(
            html.unescape(field["text"]).removeprefix("User: ")
            for field in r["blocks"][1]["fields"]
            if field["text"].startswith("User: ")
        ),
    ),
}
every_reader = pytest.mark.parametrize("name", READERS)


def packed(name: str, *found: Alert) -> bytes:
    form = formats()[name]
    return form.pack([(f"{a.alert_id}:{a.revision}", form.render(a)) for a in found])


def shown(name: str, text: str) -> str:
    """What a person's format shows in place of control characters; data formats keep them."""
    return visible(text, keep="\n") if name == "slack" else text


@every_reader
@pytest.mark.parametrize("hostile", sorted(set(alerts.HOSTILE) - {"empty"}))
def test_hostile_values_come_back_equal_or_visibly_cut(name: str, hostile: str) -> None:
    text = alerts.HOSTILE[hostile]
    bad = alerts.alert(2, title=text, principal_id=text, reasons=[], rules=[alerts.rule(text)])
    read, title, user = READERS[name]
    first, middle, last = read(packed(name, alerts.alert(1), bad, alerts.alert(3)))
    assert title(first) == alerts.alert(1).title
    assert title(last) == alerts.alert(3).title
    assert_equal_or_cut(shown(name, text), title(middle))
    assert_equal_or_cut(shown(name, text), user(middle))


@every_reader
@given(text=st.text(st.characters(), min_size=1, max_size=25))
def test_any_value_comes_back(name: str, text: str) -> None:
    read, title, user = READERS[name]
    [record] = read(packed(name, alerts.alert(title=text, principal_id=text)))
    clean = shown(name, text).encode("utf-8", "replace").decode()
    assert title(record) == clean
    assert user(record) == clean


@pytest.mark.parametrize("name", sorted(alerts.examples()))
def test_ecs_documents_fill_fields_of_ecs_with_their_types(name: str) -> None:
    example = alerts.examples()[name]
    for found in (example, alerts.hostile("192.0.2.7")):
        document = json.loads(ecs.render(found))
        labels, own = document.pop("labels"), document.pop("tacho")
        assert all(isinstance(value, str) for value in labels.values())
        assert set(own) <= {"alert", "witness", "state", "truncated"}
        for field, value in flat(document):
            assert isinstance(value, ECS_FIELDS[field]), field


def test_ecs_takes_for_an_address_only_what_its_type_takes() -> None:
    for text, kept in (("192.0.2.7", True), ("fe80::1%eth0", False), ("192.0.2.7 evil", False)):
        document = json.loads(ecs.render(alerts.hostile(text)))
        assert ("ip" in document["destination"], "ip" in document["related"]) == (kept, kept)


def flat(value: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from flat(inner, f"{before}{name}.")
        else:
            yield f"{before}{name}", inner


def test_no_key_of_an_agent_becomes_a_field_of_an_index_or_an_attribute() -> None:
    mark = "chosen.by" + "_an_agent"
    plain, hostile = alerts.hostile("x"), alerts.hostile(mark)
    for name, names in (("ecs", field_names), ("otlp", attribute_names)):
        form = formats()[name]
        assert names(form.render(hostile)) == names(form.render(plain))


def field_names(record: bytes) -> set[str]:
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.update(value)
            for inner in value.values():
                walk(inner)
        elif isinstance(value, list):
            for inner in value:
                walk(inner)

    walk(json.loads(record))
    return found


def attribute_names(record: bytes) -> set[str]:
    [read] = read_otlp(record + b"\n")
    return {pair.key for pair in read.attributes}


def test_bulk_creates_each_revision_once_or_replaces_an_older_one() -> None:
    created = ecs.bulk([("a1:7", b"{}")], "logs-tacho.alert-soc")
    assert json.loads(created.splitlines()[0]) == {
        "create": {"_index": "logs-tacho.alert-soc", "_id": "a1:7"}
    }
    replaced = ecs.bulk([("a1:7", b"{}")], "tacho-alerts", replace=True)
    assert json.loads(replaced.splitlines()[0]) == {
        "index": {
            "_index": "tacho-alerts", "_id": "a1", "version": 7, "version_type": "external",
        }
    }  # fmt: skip


def test_ecs_names_techniques_and_their_framework() -> None:
    threat = json.loads(ecs.render(EXAMPLE))["threat"]
    assert threat["framework"] == ["MITRE ATLAS"]
    assert threat["technique"]["id"] == ["AML.T0051", "AML.T0055", "AML.T0086"]
    assert threat["technique"]["subtechnique"]["id"] == ["AML.T0051.001"]


def test_hec_says_time_type_and_indexed_fields_that_are_flat_texts() -> None:
    record = json.loads(hec.render(EXAMPLE, hostname="gw-01", index="agents"))
    assert record["time"] == to_us(EXAMPLE.updated_at) // 1000 / 1000
    assert (record["host"], record["index"]) == ("gw-01", "agents")
    assert (record["source"], record["sourcetype"]) == ("tacho", "tacho:alert")
    assert record["fields"]["tacho_id"] == f"{EXAMPLE.alert_id}:42"
    assert all(isinstance(value, str) for value in record["fields"].values())
    assert "index" not in json.loads(hec.render(EXAMPLE))


def test_hec_puts_what_is_short_first_so_that_splunk_finds_it() -> None:
    event = list(json.loads(hec.render(EXAMPLE))["event"])
    assert event[:3] == ["alert_id", "revision", "change"]
    assert event.index("severity") < event.index("reasons") < event.index("state")


def test_otlp_carries_severity_time_and_the_rule() -> None:
    [record] = read_otlp(otlp.pack([("", otlp.render(EXAMPLE))]))
    assert record.severity_number == 21
    assert record.event_name == "tacho.alert"
    assert record.time_unix_nano == to_us(EXAMPLE.last_seen) * 1_000
    assert attribute(record, "security_rule.uuid") == "secret-then-egress"
    assert attribute(record, "tacho.alert.revision") == 42
    assert json.loads(attribute(record, "tacho.alert.state"))["agent_id"] == "billing-helper"
    keys = [pair.key for pair in record.attributes]
    assert len(keys) == len(set(keys))


def test_otlp_is_the_json_of_otlp_and_not_of_protobuf() -> None:
    [logs] = json.loads(otlp.render(EXAMPLE))["resourceLogs"]
    [record] = logs["scopeLogs"][0]["logRecords"]
    assert isinstance(record["timeUnixNano"], str)
    assert isinstance(record["severityNumber"], int)
    # Ids would be hex, which protobuf's own JSON takes for base64: an alert has none to send.
    assert not {"traceId", "spanId"} & set(record)


def test_a_sentinel_row_has_its_time_and_no_nulls_and_fits() -> None:
    [row] = json.loads(sentinel.pack([("", sentinel.render(EXAMPLE))]))
    assert row["TimeGenerated"] == "2026-11-22T18:00:10.120Z"
    assert None not in row.values()
    assert row["AlertId"] == EXAMPLE.alert_id
    assert (row["Severity"], row["OriginalSeverity"]) == ("High", "critical")
    assert len(sentinel.render(alerts.huge())) < 64_000


def test_slack_keeps_its_own_limits_and_no_value_is_markup() -> None:
    for text in ("<!channel> <@U1> <https://evil|ok> *b* `c`", "&" * 5_000, "x" * 9_000, ""):
        message = json.loads(slack.render(alerts.hostile(text)))
        header, fields, reasons, context = message["blocks"]
        assert len(header["text"]["text"]) <= 150
        assert 0 < len(fields["fields"]) <= 10
        assert all(len(field["text"]) <= 2_000 for field in fields["fields"])
        assert 0 < len(reasons["text"]["text"]) <= 3_000
        texts = [header["text"], *fields["fields"], reasons["text"], *context["elements"]]
        assert {part["type"] for part in texts} == {"plain_text"}
        assert not any("<" in part["text"] or ">" in part["text"] for part in texts)
        assert "<" not in message["text"]


@pytest.mark.parametrize("form", [ndjson, hec, ecs, otlp, sentinel])
def test_what_was_cut_says_so(form: Any) -> None:
    cut = form.render(alerts.alert(title="x" * 100_000)).decode().lower()
    assert "truncated" in cut
    assert "truncated" not in form.render(alerts.alert()).decode().lower()


@pytest.mark.parametrize(
    "name", ["cef", "ecs", "hec", "leef", "ndjson", "ocsf", "otlp", "sentinel"]
)
def test_every_siem_gets_the_values_that_matched(name: str) -> None:
    fields = {"tool_result": "orders=read|send \u202e", "file_path": "/srv/.env"}
    record = formats()[name].render(alerts.alert(reasons=[Reason(text="why", fields=fields)]))
    # Escaped as the format escapes; JSON of ASCII alone says the same text.
    text = record.decode().replace("\\u202e", "\u202e").replace("\\=", "=")
    for value in fields.values():
        assert value in text
