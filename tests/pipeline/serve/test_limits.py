"""Every limit of the door, reached over the network."""

import contextlib
import gzip
import json
import random
import socket
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize import unpack
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.settings import Settings
from tests.waiting import WAIT_S, eventually

from .conftest import OpenDoor, headers_of, limits, open_door, records
from .test_door import ACTION, JSON, NDJSON, PROTOBUF, lines, traces

TOKENS = """\
publisher-token-0001 shop acme publish
watcher-token-000001 soc acme watch
operator-token-00001 ops * publish,watch,metrics
"""


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@pytest.fixture
def tokens_file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens"
    path.write_text(TOKENS)
    return path


def test_a_bomb_at_the_door_is_refused_and_the_door_lives(standing_door: OpenDoor) -> None:
    bomb = gzip.compress(bytes(100_000_000), 6)
    with standing_door.client() as client:
        headers = {**PROTOBUF, "content-encoding": "gzip"}
        assert client.post("/v1/traces", content=bomb, headers=headers).status_code == 413
        assert client.get("/healthz").status_code == 200


def test_a_body_over_its_limit_is_refused_by_its_length_and_by_what_comes(
    standing_door: OpenDoor,
) -> None:
    over = Limits().body_bytes + 1
    with standing_door.client() as client:
        told = client.post("/v1/actions", content=bytes(over), headers=NDJSON)

        def chunks() -> object:
            for _ in range(17):
                yield bytes(1_048_576)

        untold = client.post("/v1/actions", content=chunks(), headers=NDJSON)  # type: ignore[arg-type]
    assert (told.status_code, untold.status_code) == (413, 413)


def test_what_normalize_would_not_take_as_one_record_is_refused(settings: Settings) -> None:
    small = limits(
        record_bytes=1_000, unpacked_bytes=1_000, record_items=3, lines=2, line_bytes=200
    )
    with open_door(settings, limits=small) as door, door.client() as client:
        large = traces(1, text="x" * 1_000).SerializeToString()
        many = traces(4).SerializeToString()
        assert client.post("/v1/traces", content=large, headers=PROTOBUF).status_code == 413
        assert client.post("/v1/traces", content=many, headers=PROTOBUF).status_code == 413
        assert client.post("/v1/actions", content=lines({}, {}), headers=NDJSON).status_code == 200
        for body in (lines({}, {}, {}), lines({"tool_name": "x" * 200})):
            assert client.post("/v1/actions", content=body, headers=NDJSON).status_code == 413


def test_an_export_too_large_as_it_came_is_packed_and_normalize_finds_it_whole(
    door: OpenDoor,
) -> None:
    body = traces(500, text="Dear customer, your booking is confirmed. " * 60).SerializeToString()
    assert Limits().record_bytes < len(body) < Limits().unpacked_bytes
    with door.client() as client:
        assert client.post("/v1/traces", content=body, headers=PROTOBUF).status_code == 200
        noise = traces(1, text=random.Random(1).randbytes(750_000).hex()).SerializeToString()
        assert client.post("/v1/traces", content=noise, headers=PROTOBUF).status_code == 200
        noise = traces(1, text=random.Random(1).randbytes(1_500_000).hex()).SerializeToString()
        assert client.post("/v1/traces", content=noise, headers=PROTOBUF).status_code == 413
    found = records(door.settings, "otlp_spans", 2)
    assert body in [unpack.bounded(record.value() or b"") for record in found]
    assert headers_of(found[0])["content-encoding"] == b"zstd"


def test_json_as_deep_as_the_limit_passes_and_deeper_does_not(standing_door: OpenDoor) -> None:
    def nested(depth: int) -> bytes:
        inner = "[" * (depth - 1) + "]" * (depth - 1)
        return (json.dumps(ACTION)[:-1] + f', "deep": {inner}}}').encode()

    with standing_door.client() as client:
        for depth, status in ((64, 200), (65, 400)):
            answer = client.post("/v1/actions", content=nested(depth), headers=JSON)
            assert answer.status_code == status


def test_a_client_over_its_rate_waits_and_another_does_not(
    settings: Settings, tokens_file: Path
) -> None:
    slow = limits(requests_per_s=0.001, burst_requests=2.0)
    with (
        open_door(settings, limits=slow, tokens_file=tokens_file) as door,
        door.client() as client,
    ):
        mine, other = bearer("publisher-token-0001"), bearer("operator-token-00001")
        statuses = [
            client.post("/v1/traces", content=b"", headers={**PROTOBUF, **mine}).status_code
            for _ in range(3)
        ]
        refused = client.post("/v1/traces", content=b"", headers={**PROTOBUF, **mine})
        assert statuses == [200, 200, 429]
        assert int(refused.headers["retry-after"]) > 100
        assert client.post("/v1/traces", content=b"", headers={**PROTOBUF, **other}).is_success


def test_a_full_queue_to_kafka_is_told_at_once(settings: Settings) -> None:
    with (
        open_door(settings, limits=limits(in_flight_records=1)) as door,
        door.client() as client,
    ):
        two = lines({"agent_id": "a"}, {"agent_id": "b"})
        answer = client.post("/v1/actions", content=two, headers=NDJSON)
        assert answer.status_code == 429
        assert "retry-after" in answer.headers
        assert client.post("/v1/actions", content=lines({}), headers=NDJSON).status_code == 200


def test_a_head_over_its_limit_is_refused(standing_door: OpenDoor) -> None:
    limit = Limits().header_bytes
    with standing_door.client() as client:
        assert client.get("/healthz", headers={"x": "y" * (limit // 2)}).status_code == 200
        assert client.get("/healthz", headers={"x": "y" * limit}).status_code == 431
        many = {f"x-{n}": "y" * 100 for n in range(limit // 100)}
        assert client.get("/healthz", headers=many).status_code == 431
        assert client.get("/" + "y" * limit).status_code == 431


def test_a_head_that_never_ends_is_cut_off_without_being_kept(standing_door: OpenDoor) -> None:
    with socket.create_connection(("127.0.0.1", standing_door.port), timeout=WAIT_S) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nx: ")
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 50_000_000:
                sock.sendall(b"y" * 65_536)
                sent += 65_536
        assert sent < 20_000_000


@pytest.mark.parametrize("start", [
    b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: y\r\n",
    b"POST /v1/actions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
    b"content-length: 10\r\n\r\n{",
])  # fmt: skip
def test_a_request_that_does_not_come_is_hung_up_on(settings: Settings, start: bytes) -> None:
    hasty = limits(header_timeout_s=0.3, body_timeout_s=0.3)
    with open_door(settings, limits=hasty) as door:
        with socket.create_connection(("127.0.0.1", door.port), timeout=WAIT_S) as sock:
            sock.sendall(start)
            answer = b""
            try:
                while chunk := sock.recv(4096):
                    answer += chunk
            except ConnectionError:
                pass
        assert answer == b"" or answer.startswith(b"HTTP/1.1 408")
        # Under these limits an ordinary request may come too late, too.
        eventually(lambda: _healthy(door), "others are answered")


def _healthy(door: OpenDoor) -> bool:
    try:
        with door.client() as client:
            return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_no_more_connections_than_there_are_places(settings: Settings) -> None:
    with open_door(settings, limits=limits(connections=5)) as door:
        held = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(5)]
        eventually(lambda: not _healthy(door), "there is no place")
        with door.client() as client:
            assert client.get("/healthz").status_code == 503
        for sock in held:
            sock.close()


def test_a_token_is_asked_for_and_says_what_may_be_done(
    settings: Settings, tokens_file: Path
) -> None:
    with open_door(settings, tokens_file=tokens_file) as door, door.client() as client:
        body = lines({})
        assert client.get("/healthz").status_code == 200
        none = client.post("/v1/actions", content=body, headers=NDJSON)
        assert (none.status_code, none.headers["www-authenticate"][:6]) == (401, "Bearer")
        wrong = {**NDJSON, **bearer("x" * 20)}
        assert client.post("/v1/actions", content=body, headers=wrong).status_code == 401
        basic = {**NDJSON, "authorization": "Basic publisher-token-0001"}
        assert client.post("/v1/actions", content=body, headers=basic).status_code == 401
        watcher = {**NDJSON, **bearer("watcher-token-000001")}
        assert client.post("/v1/actions", content=body, headers=watcher).status_code == 403
        publisher = bearer("publisher-token-0001")
        for path in ("/alerts", "/metrics"):
            assert client.get(path, headers=publisher).status_code == 403
        answer = client.post("/v1/actions", content=body, headers={**NDJSON, **publisher})
        assert answer.status_code == 200


def test_guessing_tokens_is_slowed_down(settings: Settings, tokens_file: Path) -> None:
    slow = limits(requests_per_s=0.001, burst_requests=3.0)
    with (
        open_door(settings, limits=slow, tokens_file=tokens_file) as door,
        door.client() as client,
    ):
        guesses = [
            client.get("/alerts", headers=bearer(f"guess-number-{n:08}")).status_code
            for n in range(5)
        ]
        assert guesses == [401, 401, 401, 429, 429]
        good = bearer("operator-token-00001")
        assert client.get("/metrics", headers=good).status_code == 200


def test_a_door_to_the_network_does_not_open_without_tokens(settings: Settings) -> None:
    with (
        pytest.raises(ConfigError, match="--tokens-file"),
        open_door(settings, host="0.0.0.0"),
    ):
        pass


def test_a_port_in_use_is_an_error_that_names_the_option(standing_door: OpenDoor) -> None:
    with (
        pytest.raises(ConfigError, match="--port"),
        open_door(standing_door.settings, port=standing_door.port),
    ):
        pass


def test_tls_is_spoken_when_a_certificate_is_given(settings: Settings, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", str(key), "-out", str(cert)],
        check=False, capture_output=True, timeout=WAIT_S,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("openssl cannot make a certificate here")
    with open_door(settings, tls_cert=cert, tls_key=key) as door:
        assert door.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(cert))
        assert httpx.get(f"{door.url}/healthz", verify=trusted, timeout=WAIT_S).status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(door.url.replace("https", "http") + "/healthz")
