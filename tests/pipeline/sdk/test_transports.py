"""Both ways to the pipeline, before a real door and a broker: in order, again when it must be."""

import http.server
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Message

from infra.kafka.broker import free_ports
from tachograph.pipeline.sdk import Recorder
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas.identity import partition_of
from tests.pipeline.serve.conftest import headers_of, limits, open_door, records
from tests.waiting import WAIT_S

Make = Callable[..., Recorder]


@pytest.fixture
def broker() -> Iterator[MockBroker]:
    with MockBroker(partitions=3, topics=("agent.raw",)) as broker:
        yield broker


@pytest.fixture
def settings(broker: MockBroker, tmp_path: Path) -> Settings:
    return Settings.from_env(
        {"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "TACHO_HOME": str(tmp_path / "home")}
    )


def rows(messages: list[Message]) -> list[dict[str, Any]]:
    return [
        msgspec.json.decode(line)
        for message in messages
        for line in (message.value() or b"").split(b"\n")
    ]


def sent_lines(settings: Settings, count: int) -> list[Message]:
    """Records that together have so many lines: how many records that is depends on the moment."""
    return records(settings, "agent.raw", count, weight=lambda message: len(rows([message])))


def test_through_the_door_actions_and_snapshots_arrive(make: Make, settings: Settings) -> None:
    with open_door(settings) as door:
        recorder = make(endpoint=door.url)
        for number in range(300):
            recorder.action("prompt", turn_id=str(number))
        recorder.snapshot(goals=["sell"])
        assert recorder.flush(WAIT_S)
        recorder.action("prompt", turn_id="300")
        assert recorder.flush(WAIT_S)
    assert recorder.stats().sent == 302
    found: dict[str, list[dict[str, Any]]] = {"action": [], "state_snapshot": []}
    messages = sent_lines(settings, 302)
    assert {message.key() for message in messages} == {b"default/a-1"}
    for message in messages:
        found[headers_of(message)["tacho-record"].decode()] += rows([message])
    assert [row["turn_id"] for row in found["action"]] == [str(n) for n in range(301)]
    assert found["state_snapshot"][0]["goals"] == ["sell"]


def test_a_token_is_shown_at_the_door(make: Make, settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text("token-of-the-shop-01 shop acme publish\n")
    with open_door(settings, tokens_file=path) as door:
        recorder = make(endpoint=door.url, token="token-of-the-shop-01")
        recorder.action("prompt")
        assert recorder.flush(WAIT_S)
        refused = make(endpoint=door.url, token="some-other-token-001")
        refused.action("prompt")
        assert not refused.flush(0.3)
        assert refused.stats().queued == 1
    [message] = records(settings, "agent.raw", 1)
    assert headers_of(message)["tacho-principal"] == b"shop"


def test_what_the_door_finds_too_large_is_sent_in_parts(make: Make, settings: Settings) -> None:
    with open_door(settings, limits=limits(lines=7)) as door:
        recorder = make(endpoint=door.url)
        for number in range(40):
            recorder.action("prompt", turn_id=str(number))
        assert recorder.flush(WAIT_S)
        assert recorder.stats().sent == 40
    turns = [row["turn_id"] for row in rows(sent_lines(settings, 40))]
    assert turns == [str(number) for number in range(40)]


def test_before_a_door_that_opens_late_nothing_is_lost(
    make: Make, settings: Settings, tmp_path: Path
) -> None:
    [port] = free_ports(1)
    recorder = make(endpoint=f"http://127.0.0.1:{port}")
    recorder.action("prompt", turn_id="early")
    assert not recorder.flush(0.3)
    with open_door(settings, port=port):
        assert recorder.flush(WAIT_S)
    stats = recorder.stats()
    assert (stats.sent, stats.dropped) == (1, 0)
    assert stats.retries > 0


class Scripted(http.server.BaseHTTPRequestHandler):
    """A door that answers what the test says, and remembers what it was sent."""

    protocol_version = "HTTP/1.1"
    script: list[tuple[int, dict[str, str], bytes]]
    bodies: list[list[bytes]]

    def do_POST(self) -> None:
        packed = self.rfile.read(int(self.headers["content-length"]))
        self.bodies.append(zlib.decompress(packed, 31).split(b"\n"))
        status, headers, body = self.script.pop(0) if self.script else (200, {}, b"{}")
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def scripted(
    *answers: tuple[int, dict[str, str], bytes],
) -> Iterator[tuple[str, list[list[bytes]]]]:
    bodies: list[list[bytes]] = []
    handler = type("Handler", (Scripted,), {"script": list(answers), "bodies": bodies})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", bodies
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("status", [429, 503, 500, 502, 401, 404, 408])
def test_a_door_in_trouble_gets_the_same_bytes_again(make: Make, status: int) -> None:
    with scripted((status, {"retry-after": "0"}, b"x"), (status, {}, b"")) as (url, bodies):
        recorder = make(endpoint=url)
        recorder.action("prompt")
        assert recorder.flush(WAIT_S)
    assert len(bodies) == 3
    assert bodies[0] == bodies[1] == bodies[2]
    assert recorder.stats().sent == 1


def test_lines_that_the_door_names_are_refused_and_the_others_sent_again(make: Make) -> None:
    bad = b'{"accepted": 0, "errors": [{"line": 2, "reason": "x"}, {"line": 3, "reason": "y"}]}'
    with scripted((503, {"retry-after": "0"}, b""), (400, {}, bad)) as (url, bodies):
        recorder = make(endpoint=url)
        for number in range(4):
            recorder.action("prompt", turn_id=str(number))
        assert recorder.flush(WAIT_S)
    last = [msgspec.json.decode(line)["turn_id"] for line in bodies[-1]]
    stats = recorder.stats()
    assert (stats.sent, stats.refused) == (2, 2)
    assert last == ["0", "3"]


@pytest.mark.parametrize(
    "body", [b"", b"no", b"[]", b'{"errors": [{"line": "x"}]}', b'{"errors": 5}']
)
def test_a_refusal_without_lines_refuses_the_batch_and_the_next_is_sent(
    make: Make, body: bytes
) -> None:
    with scripted((400, {}, body)) as (url, _):
        recorder = make(endpoint=url)
        recorder.action("prompt")
        assert recorder.flush(WAIT_S)
        recorder.action("prompt")
        assert recorder.flush(WAIT_S)
    stats = recorder.stats()
    assert (stats.sent, stats.refused) == (1, 1)


def test_a_record_too_large_for_the_door_is_refused_alone(make: Make) -> None:
    with scripted((413, {}, b"")) as (url, _):
        recorder = make(endpoint=url)
        recorder.action("prompt")
        assert recorder.flush(WAIT_S)
    assert recorder.stats().refused == 1


def test_nobody_at_the_door_costs_the_agent_nothing_but_what_is_counted(make: Make) -> None:
    recorder = make(endpoint="http://127.0.0.1:1", max_records=10)
    for _ in range(1000):
        recorder.action("prompt")
    assert recorder.dropped >= 1000 - 10 - 500
    stats = recorder.close(deadline_s=0.2)
    assert (stats.sent, stats.dropped, stats.queued) == (0, 1000, 0)


def test_to_kafka_an_agents_actions_arrive_in_its_partition_and_order(
    make: Make, settings: Settings, broker: MockBroker
) -> None:
    agents = [f"agent-{number}" for number in range(4)]
    for agent in agents:
        recorder = make(agent_id=agent, bootstrap_servers=broker.bootstrap_servers, tenant="acme")
        for number in range(200):
            recorder.action("prompt", turn_id=str(number))
        assert recorder.flush(WAIT_S)
        assert recorder.stats().sent == 200
    found: dict[str, list[str]] = {agent: [] for agent in agents}
    for message in sent_lines(settings, 800):
        key = (message.key() or b"").decode()
        assert message.partition() == partition_of(key, 3)
        assert headers_of(message)["tacho-record"] == b"action"
        for row in rows([message]):
            assert key == f"acme/{row['agent_id']}"
            found[row["agent_id"]].append(row["turn_id"])
    assert all(turns == [str(n) for n in range(200)] for turns in found.values())


def test_without_a_broker_calls_return_and_losses_are_counted(make: Make) -> None:
    recorder = make(bootstrap_servers="127.0.0.1:1", max_records=10, timeout_s=0.3)
    for _ in range(500):
        recorder.action("prompt")
    stats = recorder.close(deadline_s=0.5)
    assert stats.sent == 0
    assert stats.dropped + stats.queued == 500


def test_the_environment_names_the_way(
    make: Make, settings: Settings, broker: MockBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", broker.bootstrap_servers)
    monkeypatch.setenv("TACHO_TENANT", "acme")
    recorder = make()
    recorder.action("prompt")
    assert recorder.flush(WAIT_S)
    [message] = records(settings, "agent.raw", 1)
    assert message.key() == b"acme/a-1"
    with open_door(settings) as door:
        monkeypatch.setenv("TACHO_ENDPOINT", door.url)
        second = make()
        second.action("prompt")
        assert second.flush(WAIT_S)
    assert len([m for m in records(settings, "agent.raw", 2) if "tacho-door" in headers_of(m)]) == 1
