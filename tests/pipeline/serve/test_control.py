"""From a directive in the log to an agent behind the door, and what it answers."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from tachograph.pipeline.control.keys import signer
from tachograph.pipeline.sdk import Contained, Recorder
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.codec import decode, encode
from tachograph.schemas.records import Directive, DirectiveAck
from tests.pipeline.serve.conftest import OpenDoor, limits, open_door, records
from tests.waiting import WAIT_S, eventually


def told(kind: str, name: str, **fields: Any) -> Directive:
    now = datetime.now(UTC)
    made = Directive(
        directive_id=name, tenant="default", kind=kind, agent_id="travel-agent",  # type: ignore[arg-type]
        reason="why", issued_at=now, expires_at=now + timedelta(minutes=10),
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def issue(door: OpenDoor, *directives: Directive) -> None:
    """Write directives as triage does."""
    signing = signer(door.settings.home)
    producer = Producer({**door.settings.kafka.client_config(), "partitioner": "murmur2_random"})
    for one in directives:
        key = f"{one.tenant}/{one.agent_id}".encode()
        headers: Any = {"tacho-record": b"directive"}
        producer.produce("agent.control", encode(signing.signed(one)), key, headers=headers)
    assert producer.flush(WAIT_S) == 0


def held(door: OpenDoor, agent: str = "travel-agent", count: int = 1) -> list[dict[str, Any]]:
    """What the door holds for an agent, once it is so many."""
    end = time.monotonic() + WAIT_S
    with door.client(headers={"accept": "application/json"}) as client:
        while time.monotonic() < end:
            found = client.get("/v1/directives", params={"agent_id": agent}).json()["directives"]
            if len(found) == count:
                return list(found)
            time.sleep(0.05)
    raise AssertionError(f"not {count} directives")


def test_an_agent_that_only_speaks_http_answers_a_capture_and_keeps_to_a_quarantine(
    door: OpenDoor,
) -> None:
    issue(door, told("capture", "before-it-listens"))
    recorder = Recorder("travel-agent", endpoint=door.url)
    control = recorder.listen(state=lambda: {"goals": ["book a flight"]})
    try:
        issue(door, told("quarantine", "while-it-listens"))
        eventually(lambda: control.received >= 2, "both directives")
        assert recorder.flush(WAIT_S)
        found = records(door.settings, "agent.acks", 2)
        acks = [decode(DirectiveAck, one.value() or b"") for one in found]
        assert {ack.directive_id: ack.status for ack in acks} == {
            "before-it-listens": "applied",
            "while-it-listens": "applied",
        }
        [state] = records(door.settings, "agent.raw", 1)
        snapshot = decode(StateSnapshot, state.value() or b"")
        assert (snapshot.directive_id, snapshot.goals) == ("before-it-listens", ["book a flight"])
        with pytest.raises(Contained):
            control.admit("book_flight")
    finally:
        control.close()
        recorder.close()


def test_directives_of_another_agent_and_expired_ones_are_not_given_out(door: OpenDoor) -> None:
    over = datetime.now(UTC) - timedelta(seconds=1)
    issue(door, told("throttle", "over", expires_at=over), told("throttle", "holds"))
    assert [one["directive_id"] for one in held(door)] == ["holds"]
    assert held(door, "another", 0) == []


def test_an_answer_stands_under_the_tenant_of_who_posts_it_and_without_secrets(
    door: OpenDoor,
) -> None:
    ack = {
        "directive_id": "d", "agent_id": "a", "status": "refused", "tenant": "not-mine",
        "acked_at": "2026-11-26T03:00:00Z", "detail": "key AKIAIOSFODNN7ABCDEFG",
    }  # fmt: skip
    with door.client() as client:
        assert client.post("/v1/acks", json=ack).json() == {"accepted": 1}
        assert client.post("/v1/acks", json=ack | {"status": "maybe"}).status_code == 400
    [record] = records(door.settings, "agent.acks", 1)
    stands = decode(DirectiveAck, record.value() or b"")
    assert (stands.tenant, record.key()) == ("default", b"default/d")
    assert "AKIAIOSFODNN7ABCDEFG" not in (stands.detail or "")


def test_keys_are_none_until_triage_has_made_one(door: OpenDoor) -> None:
    with door.client() as client:
        assert client.get("/v1/keys").json() == {"keys": []}
        public = signer(door.settings.home).public
        assert client.get("/v1/keys").json()["keys"] == [msgspec.to_builtins(public)]
        assert client.get("/v1/directives").status_code == 400


def test_listeners_have_so_many_places(settings: Any) -> None:
    with open_door(settings, limits=limits(listeners=1)) as door, door.client() as client:
        where = "/v1/directives?agent_id=a"
        with client.stream("GET", where) as first:
            lines = first.iter_lines()
            assert next(lines).startswith("retry:")
            assert client.get(where).status_code == 503
