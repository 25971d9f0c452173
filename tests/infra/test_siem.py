"""What infra/siem ships for receivers knows every field that the formats send, and no other."""

import configparser
import json
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.forward.destinations import sentinel as sentinel_type
from tachograph.pipeline.forward.formats import ecs, hec, sentinel
from tests.pipeline.forward import alerts

SIEM = Path(__file__).resolve().parents[2] / "infra" / "siem"


def samples(form: Any) -> list[dict[str, Any]]:
    """Records that fill every field: the examples, one of everything, a cut one, and health."""
    rule = msgspec.structs.replace(alerts.rule("silenced"), suppressed="a silence")
    made_up = alerts.alert(synthetic=True, rules=[rule], frameworks=["atlas.AML.TA0010"])
    hostile = [alerts.hostile("192.0.2.7"), alerts.hostile("x" * 20_000)]
    found = [*alerts.examples().values(), made_up, *hostile]
    health = [form.render_health(record) for record in alerts.health_examples().values()]
    return [json.loads(body) for body in [*(form.render(alert) for alert in found), *health]]


# --- Splunk -----------------------------------------------------------------------------------


def conf(name: str) -> configparser.RawConfigParser:
    """A file of Splunk's: a backslash at the end of a line goes on."""
    parser = configparser.RawConfigParser(delimiters=("=",), comment_prefixes=("#",), strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    text = (SIEM / "splunk" / "default" / f"{name}.conf").read_text("utf-8")
    parser.read_string(text.replace("\\\n", " "))
    return parser


def test_splunk_knows_both_sourcetypes_and_reads_the_longest_event_whole() -> None:
    props = conf("props")
    assert set(props.sections()) == {hec.ALERT_TYPE, hec.HEALTH_TYPE}
    for name in props.sections():
        assert props[name]["KV_MODE"] == "json"
        assert int(props[name]["TRUNCATE"]) > hec.MAX_BYTES
    assert conf("eventtypes")["tacho_alert"]["search"] == f"sourcetype={hec.ALERT_TYPE}"


def test_splunk_searches_and_aliases_name_fields_that_events_have() -> None:
    event = json.loads(hec.render(alerts.hostile("x")))["event"]
    known = set(event) | {"frameworks{}", "rules{}.rule_id"}
    aliases = [v for k, v in conf("props")[hec.ALERT_TYPE].items() if k.startswith("FIELDALIAS")]
    assert {alias.partition(" AS ")[0] for alias in aliases} <= known
    for name in conf("savedsearches").sections():
        search = conf("savedsearches")[name]["search"]
        assert search.startswith(f"sourcetype={hec.ALERT_TYPE} ")
        for table in re.findall(r"\| table ([\w ]+)", search):
            assert set(table.split()) <= known
        assert set(re.findall(r"num\((\w+)\)", search)) <= known


def test_splunks_indexed_fields_are_those_that_are_sent_and_none_is_in_the_event() -> None:
    record = json.loads(hec.render(alerts.alert(1)))
    assert set(conf("fields").sections()) == set(record["fields"])
    assert not set(record["fields"]) & set(record["event"])


# --- Elasticsearch, OpenSearch ----------------------------------------------------------------

TYPES: dict[type, set[str]] = {
    str: {"keyword", "text", "date", "ip"},
    int: {"long", "float"},
    float: {"float"},
    bool: {"boolean"},
}


def leaves(value: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, f"{before}.{name}".lstrip("."))
    elif isinstance(value, list):
        for inner in value:
            yield from leaves(inner, before)
    else:
        yield before, value


def mapped(properties: dict[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, about in properties.items():
        path = f"{before}.{name}".lstrip(".")
        if "properties" in about:
            yield from mapped(about["properties"], path)
        else:
            yield path, about["type"]


def template(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((SIEM / "elastic" / f"{name}.json").read_text("utf-8"))
    return value


@pytest.mark.parametrize("name", ["data-stream-template", "index-template"])
def test_elastic_maps_every_field_that_a_document_has_and_no_other(name: str) -> None:
    mappings = template(name)["template"]["mappings"]
    assert mappings["dynamic"] is False
    types = dict(mapped(mappings["properties"]))
    sent = [leaf for document in samples(ecs) for leaf in leaves(document)]
    for path, value in sent:
        assert types[path] in TYPES[type(value)], path
    assert set(types) == {path for path, _ in sent}


def test_elastics_template_takes_the_data_stream_we_write_to() -> None:
    stream = template("data-stream-template")
    assert "data_stream" in stream
    assert any(fnmatchcase(ecs.DATA_STREAM, pattern) for pattern in stream["index_patterns"])
    assert "data_stream" not in template("index-template")


def test_kibanas_view_shows_fields_that_are_mapped() -> None:
    lines = (SIEM / "elastic" / "saved-objects.ndjson").read_text("utf-8").splitlines()
    view, search = (json.loads(line) for line in lines)
    types = dict(mapped(template("index-template")["template"]["mappings"]["properties"]))
    assert set(search["attributes"]["columns"]) <= set(types)
    source = json.loads(search["attributes"]["kibanaSavedObjectMeta"]["searchSourceJSON"])
    assert set(re.findall(r"([\w.@]+):", source["query"]["query"])) <= set(types)
    assert search["references"][0]["id"] == view["id"]
    patterns = view["attributes"]["title"].split(",")
    assert any(fnmatchcase(ecs.DATA_STREAM, pattern) for pattern in patterns)


# --- Sentinel ---------------------------------------------------------------------------------

AZURE: dict[type, set[str]] = {
    str: {"string", "datetime"},
    int: {"int", "long"},
    bool: {"boolean"},
    list: {"dynamic"},
    dict: {"dynamic"},
}


def columns() -> dict[str, str]:
    found = deployment()["variables"]["columns"]
    return {column["name"]: column["type"] for column in found}


def deployment() -> dict[str, Any]:
    text = (SIEM / "sentinel" / "azuredeploy.json").read_text("utf-8")
    value: dict[str, Any] = json.loads(text)
    return value


def test_sentinel_declares_every_column_that_a_row_has_and_no_other() -> None:
    declared = columns()
    sent = [pair for row in samples(sentinel) for pair in row.items()]
    for name, value in sent:
        assert declared[name] in AZURE[type(value)], name
    assert set(declared) == {name for name, _ in sent}
    assert declared["TimeGenerated"] == "datetime"


def test_sentinels_rule_names_the_stream_that_we_send_to() -> None:
    [table, rule] = deployment()["resources"]
    stream = sentinel_type.Options.__struct_defaults__
    assert "Custom-TachoAlerts_CL" in stream
    assert set(rule["properties"]["streamDeclarations"]) == {"Custom-TachoAlerts_CL"}
    [flow] = rule["properties"]["dataFlows"]
    assert flow["streams"] == [flow["outputStream"]] == ["Custom-TachoAlerts_CL"]
    assert table["properties"]["schema"]["name"] == "TachoAlerts_CL"


@pytest.mark.parametrize("path", sorted((SIEM / "sentinel").glob("*.kql")), ids=lambda p: p.stem)
def test_sentinels_queries_name_columns_that_are_declared(path: Path) -> None:
    query = re.sub(r"//.*|\"[^\"]*\"", "", path.read_text("utf-8"))
    named = set(re.findall(r"\b[A-Z]\w+\b", query)) - {"TachoAlerts_CL"}
    assert named <= set(columns())
    assert "arg_max(Revision, *) by AlertId" in query
