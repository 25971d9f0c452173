"""Records of other systems posted as their own exporters post them."""

import msgspec
import pytest

from tachograph.pipeline.normalize.formats.registry import shipped

from .conftest import OpenDoor, records

CONTENT = {"content-type": "application/json"}


@pytest.mark.parametrize("form", ["litellm", "kong", "openai_agents", "auto"])
def test_a_body_is_forwarded_with_its_bytes_and_the_name_of_its_format(
    door: OpenDoor, form: str
) -> None:
    items = shipped()["kong" if form == "auto" else form].samples[0].objects
    body = msgspec.json.encode(items)
    with door.client() as client:
        path = f"/v1/ingest/{form}?service=refunds"
        answer = client.post(path, content=body, headers=CONTENT)
    assert answer.status_code == 200, answer.text
    assert answer.json()["accepted"] >= 1
    [record] = records(door.settings, "agent.raw", 1)
    headers = dict(record.headers() or [])
    assert record.value() == body
    assert headers.get("tacho-format") == (None if form == "auto" else form.encode())
    assert headers["tacho-service"] == b"refunds"


@pytest.mark.parametrize("service", ["", "%C3%A9", "a%0Ab", "x" * 101])
def test_a_service_that_is_no_name_is_a_400(standing_door: OpenDoor, service: str) -> None:
    with standing_door.client() as client:
        path = f"/v1/ingest/openai_agents?service={service}"
        answer = client.post(path, content=b"{}", headers=CONTENT)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("service: ")


def test_a_format_nobody_knows_is_a_404_that_lists_those_that_are(standing_door: OpenDoor) -> None:
    with standing_door.client() as client:
        answer = client.post("/v1/ingest/nonsense", content=b"{}", headers=CONTENT)
    assert answer.status_code == 404
    assert "litellm" in answer.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b'{"a":1}', b"[1]", b'[{"a":{"a":' + b"[" * 90])
def test_a_body_of_which_nothing_can_be_used_is_a_4xx_that_says_why(
    standing_door: OpenDoor, body: bytes
) -> None:
    with standing_door.client() as client:
        answer = client.post("/v1/ingest/auto", content=body, headers=CONTENT)
    assert answer.status_code == 400
    assert answer.json()["error"]


def test_one_bad_item_costs_only_itself(standing_door: OpenDoor) -> None:
    good = shipped()["kong"].samples[0].objects[0]
    body = msgspec.json.encode([good, {**good, "started_at": "never"}])
    with standing_door.client() as client:
        answer = client.post("/v1/ingest/kong", content=body, headers=CONTENT).json()
    assert (answer["accepted"], answer["rejected"]) == (1, 1)
    assert "nothing says when it happened" in answer["reason"]
