"""OCSF records, judged by someone else's schema and by what that schema does not check."""

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from tachograph.pipeline.forward.formats import ocsf
from tachograph.schemas.alert import SEVERITIES
from tests.pipeline.forward import alerts


@cache
def dictionary() -> Any:
    return get_ocsf_schema(version=ocsf.VERSION)


@cache
def validator(name: str) -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(dictionary()).get_class_schema(class_name=name, profiles=[])
    return Draft202012Validator(schema)


def assert_valid(record: bytes, name: str = "detection_finding") -> dict[str, Any]:
    """The schema accepts it, and numbers agree with each other and with their captions."""
    event: dict[str, Any] = json.loads(record)
    errors = [f"{list(e.path)}: {e.message[:200]}" for e in validator(name).iter_errors(event)]
    assert not errors
    assert event["type_uid"] == event["class_uid"] * 100 + event["activity_id"]
    assert_captions(event, dictionary()["classes"][name]["attributes"])
    assert event["metadata"]["version"] == "1.8.0"
    return event


def assert_captions(item: Any, attributes: dict[str, Any]) -> None:
    """Every `x_id` stands beside the caption that the dictionary gives it, all the way down."""
    objects = dictionary()["objects"]
    for name, value in item.items():
        about = attributes.get(name, {})
        caption_name = about.get("sibling") or name.removesuffix("_id")
        if "enum" in about and name.endswith("_id") and value != 99 and caption_name in item:
            assert item[caption_name] == about["enum"][str(value)]["caption"]
        inner = objects.get(about.get("object_type", ""), {}).get("attributes", {})
        for part in value if isinstance(value, list) else [value]:
            if isinstance(part, dict) and inner:
                assert_captions(part, inner)


@pytest.mark.parametrize("name", alerts.examples())
@pytest.mark.parametrize("update", [False, True])
def test_examples_are_valid_detection_findings(name: str, update: bool) -> None:
    assert_valid(ocsf.render(alerts.examples()[name], update=update))


@pytest.mark.parametrize("name", alerts.HOSTILE)
def test_hostile_alerts_are_valid_and_come_back_equal_or_marked(name: str) -> None:
    text = alerts.HOSTILE[name]
    event = assert_valid(ocsf.render(alerts.hostile(text)))
    clean = text.encode("utf-8", "replace").decode()
    got = event["finding_info"]["title"]
    if got != clean:
        kept, marker, _ = got.rpartition("…[+")
        assert marker
        assert clean.startswith(kept)
        assert event["metadata"]["is_truncated"] is True


@given(text=st.text(st.characters(), max_size=50))
def test_any_text_is_valid_and_comes_back(text: str) -> None:
    event = assert_valid(ocsf.render(alerts.hostile(text)))
    clean = text.encode("utf-8", "replace").decode()
    assert event["message"] == clean
    assert [seen["value"] for seen in event["observables"]] == [clean] * len(event["observables"])


def test_a_great_many_of_everything_is_valid_and_says_it_was_cut() -> None:
    event = assert_valid(ocsf.render(alerts.huge()))
    assert event["metadata"]["is_truncated"] is True


@pytest.mark.parametrize(
    ("status", "update", "type_uid", "status_id"),
    [
        ("open", False, 200401, 1),
        ("open", True, 200402, 1),
        ("acknowledged", True, 200402, 2),
        ("closed", True, 200403, 4),
        ("closed", False, 200403, 4),
        ("retracted", True, 200403, 4),
    ],
)
def test_an_alert_is_created_updated_and_closed(
    status: str, update: bool, type_uid: int, status_id: int
) -> None:
    event = assert_valid(ocsf.render(alerts.alert(status=status), update=update))
    assert event["type_uid"] == type_uid
    assert event["status_id"] == status_id
    assert event["status_code"] == status


def test_severity_and_risk_map_to_ocsf() -> None:
    events = [assert_valid(ocsf.render(alerts.alert(severity=s))) for s in SEVERITIES]
    assert [event["severity_id"] for event in events] == [1, 2, 3, 4, 5]
    assert [event["risk_level_id"] for event in events] == [0, 1, 2, 3, 4]
    assert events[0]["risk_score"] == 12


def test_one_alert_keeps_its_finding_uid_and_changes_its_record_uid() -> None:
    first = assert_valid(ocsf.render(alerts.alert(1, revision=10)))
    second = assert_valid(ocsf.render(alerts.alert(1, revision=11), update=True))
    assert first["finding_info"]["uid"] == second["finding_info"]["uid"] == f"{1:032x}"
    assert first["metadata"]["uid"] == f"{1:032x}:10"
    assert second["metadata"]["uid"] == f"{1:032x}:11"


def test_the_example_carries_its_evidence_and_captured_state() -> None:
    example = alerts.examples()["secret_sent_outside"]
    event = assert_valid(ocsf.render(example))
    info = event["finding_info"]
    assert info["analytic"]["uid"] == "secret-then-egress"
    assert [other["uid"] for other in info["related_analytics"]] == [
        "instruction-in-tool-result",
        "credential-file-sweep",
    ]
    assert info["attacks"][0] == {
        "technique": {"uid": "AML.T0051"},
        "sub_technique": {"uid": "AML.T0051.001"},
    }
    assert {"name": "owasp_llm", "value": "LLM01"} in info["tags"]
    assert info["related_events"] == [
        {"uid": example.incident_id, "type": "Incident"},
        *({"uid": event_id} for event_id in example.event_ids),
    ]
    assert event["evidences"][0]["actor"]["user"]["name"] == "dana@acme.example"
    assert event["evidences"][1]["data"]["file_path"] == "/srv/billing/.env"
    assert event["resources"] == [
        {"uid": "billing-helper", "name": example.agent_name, "type": "AI Agent"}
    ]
    assert event["unmapped"]["state"]["last_actions"][4]["tool"] == "http_post"
    assert event["remediation"]["desc"].startswith("Revoke the key")


@pytest.mark.parametrize("name", alerts.health_examples())
def test_health_is_a_valid_application_lifecycle_event(name: str) -> None:
    health = alerts.health_examples()[name]
    event = assert_valid(ocsf.render_health(health), "application_lifecycle")
    assert event["status_code"] == health.status
