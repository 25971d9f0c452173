"""Whatever is sent, the door answers for itself: below 500, and the next client is served."""

import gzip
import json
import socket
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.waiting import WAIT_S

from .conftest import OpenDoor
from .test_door import ACTION, traces, traces_json

POSTS = ("/v1/traces", "/v1/logs", "/v1/metrics", "/v1/actions", "/v1/state")
TYPES = (
    "application/json", "application/x-protobuf", "application/x-ndjson", "text/plain", "",
    "application/json; charset=utf-16", ";", "application/json\tx",
)  # fmt: skip
ENCODINGS = ("", "gzip", "identity", "br", "gzip, gzip", "GZIP")
few = hypothesis_settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

GOOD = (
    traces(3).SerializeToString(),
    json.dumps(traces_json(startTimeUnixNano="1")).encode(),
    json.dumps(ACTION).encode(),
    json.dumps([ACTION, ACTION]).encode(),
    json.dumps({"taken_at": "2026-11-22T18:00:00Z", "agent_id": "a"}).encode(),
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Sound bodies, cut, flipped and joined; plain noise; JSON of any shape; gzip of each."""
    good = st.sampled_from(GOOD)
    body = draw(
        good
        | st.binary(max_size=300)
        | st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["resourceSpans", "scopeSpans", "spans", "attributes", "value", "kind",
                         "event_time", "taken_at", "arrayValue", "values"]
                    ),
                    inner, max_size=3,
                )
            ),
            max_leaves=15,
        ).map(lambda value: json.dumps(value).encode())
    )  # fmt: skip
    if draw(st.booleans()) and body:
        at = draw(st.integers(0, len(body) - 1))
        body = body[:at] + draw(st.binary(max_size=3)) + body[at + draw(st.integers(0, 3)) :]
    if draw(st.booleans()):
        body = body[: draw(st.integers(0, len(body)))]
    return gzip.compress(body) if draw(st.booleans()) else body


@few
@given(
    path=st.sampled_from(POSTS),
    body=bodies(),
    content_type=st.sampled_from(TYPES),
    encoding=st.sampled_from(ENCODINGS),
)
def test_no_body_makes_the_door_fail(
    standing_door: OpenDoor, path: str, body: bytes, content_type: str, encoding: str
) -> None:
    headers = {"content-type": content_type, "content-encoding": encoding}
    with standing_door.client() as client:
        answer = client.post(path, content=body, headers=headers)
    assert answer.status_code < 500


NAMES = st.sampled_from([
    "authorization", "content-type", "content-encoding", "last-event-id", "host", "accept",
    "x-forwarded-for", "expect", "connection", "cookie", "origin", "traceparent", "tacho-door",
])  # fmt: skip
PRINTABLE = st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f")
VALUES = st.text(PRINTABLE, max_size=40)
IDS = st.from_regex(r"[0-9]{1,3}:[0-9]{1,20}(,[0-9]:[0-9]){0,3}", fullmatch=True)


@few
@given(
    path=st.sampled_from([*POSTS, "/healthz", "/metrics", "/%ff", "//", "/v1/traces/"]),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE"]),
    headers=st.dictionaries(NAMES, VALUES, max_size=5),
    query=st.dictionaries(st.sampled_from(["severity", "last_id", "x"]), VALUES, max_size=2),
)
def test_no_header_makes_the_door_fail(
    standing_door: OpenDoor,
    path: str,
    method: str,
    headers: dict[str, str],
    query: dict[str, str],
) -> None:
    raw = [(name.encode(), value.strip().encode("latin-1")) for name, value in headers.items()]
    with standing_door.client() as client:
        answer = client.request(method, path, headers=raw, params=query, content=GOOD[2])
    assert answer.status_code < 500


@few
@given(query=st.dictionaries(
    st.sampled_from(["severity", "rule", "risk_category", "tenant", "last_id"]),
    st.text(max_size=20) | IDS,
    max_size=3,
))  # fmt: skip
def test_no_question_to_the_feed_makes_the_door_fail(
    standing_door: OpenDoor, query: dict[str, str]
) -> None:
    with (
        standing_door.client() as client,
        client.stream("GET", "/alerts", params=query) as answer,
    ):
        assert answer.status_code in (200, 400, 503)  # 503: all places are taken


POST = b"POST /v1/actions HTTP/1.1\r\n"
GET = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n"


@pytest.mark.parametrize("raw", [
    b"\x00" * 1000, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", POST + b"\r\n",
    POST + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab",
    POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
    GET + b"x: \x00\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nhost: localhost\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    GET + b"upgrade: websocket\r\nconnection: upgrade\r\n\r\n",
])  # fmt: skip
def test_what_is_no_http_is_refused_and_the_next_is_served(
    standing_door: OpenDoor, raw: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", standing_door.port), timeout=WAIT_S) as sock:
        sock.sendall(raw)
        sock.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := sock.recv(65_536):
                answer += chunk
        except ConnectionError:
            pass
    assert not answer.startswith(b"HTTP/1.1 5")
    with standing_door.client() as client:
        assert client.get("/healthz").status_code == 200


def test_requests_in_one_packet_are_answered_in_turn(standing_door: OpenDoor) -> None:
    one = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", standing_door.port), timeout=WAIT_S) as sock:
        sock.sendall(one * 20 + last)
        answer = b""
        while chunk := sock.recv(65_536):
            answer += chunk
    assert answer.count(b"HTTP/1.1 200") == 21


def test_neither_payload_nor_token_reaches_the_log(
    standing_door: OpenDoor, capfd: pytest.CaptureFixture[str]
) -> None:
    secret = "sk-live-very-secret-0123456789"
    attempts: list[dict[str, Any]] = [
        {"content": secret.encode(), "headers": {"content-type": "application/json"}},
        {"content": b"x", "headers": {"content-type": secret, "authorization": f"Bearer {secret}"}},
        {
            "content": f'{{"kind": "{secret}"}}'.encode(),
            "headers": {"content-type": "application/json"},
        },
    ]
    with standing_door.client() as client:
        for path in POSTS:
            for attempt in attempts:
                client.post(path, params={"token": secret}, **attempt)
    with socket.create_connection(("127.0.0.1", standing_door.port), timeout=WAIT_S) as sock:
        sock.sendall(f"GET /{secret} NONSENSE\r\nx: {secret}\r\n\r\n".encode())
        sock.recv(65_536)
    said = capfd.readouterr()
    assert secret not in said.out + said.err
