"""The alert feed: every alert once, in a place that survives; a slow watcher harms itself only."""

import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest

from tachograph.pipeline.serve import cursor
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas.alert import Alert, RuleHit
from tachograph.schemas.codec import decode, encode
from tests.waiting import WAIT_S, eventually

from .conftest import OpenDoor, limits, open_door, wait_for_feed

Produce = Callable[..., None]
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def alert(number: int, **changed: Any) -> Alert:
    hit = RuleHit(
        rule_id=changed.pop("rule", "r-1"), rule_version="1", title="Rule", severity="high",
        kind="stateless", count=1,
    )  # fmt: skip
    facts: dict[str, Any] = {
        "alert_id": f"{number:032x}", "revision": number, "tenant": "acme", "status": "open",
        "title": "An alert", "severity": "high", "risk": 1, "risk_category": "agent_operation",
        "rules": [hit], "first_seen": NOON, "last_seen": NOON, "created_at": NOON,
        "updated_at": NOON, "entity": "a-1", "reasons": [], "signal_ids": [], "event_ids": [],
        "signal_count": 1, **changed,
    }  # fmt: skip
    return Alert(**facts)


class Event(NamedTuple):
    """A server-sent event as a browser would see it."""

    id: str
    kind: str
    data: str


class Watcher:
    """Follows the feed in a thread, as an EventSource does."""

    def __init__(self, door: OpenDoor, headers: dict[str, str] | None = None, **query: str) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.last_id = ""
        self.connected = threading.Event()
        self.ended = threading.Event()
        self._client = httpx.Client(timeout=WAIT_S, verify=False)  # noqa: S501
        self._context = self._client.stream(
            "GET", f"{door.url}/alerts", params=query, headers=headers
        )
        self.response = self._context.__enter__()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        assert self.connected.wait(WAIT_S)

    def _read(self) -> None:
        fields: dict[str, str] = {}
        try:
            for line in self.response.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                assert fields.get("id") != "", "an empty id would make a client forget its place"
                self.last_id = fields.get("id", self.last_id)
                self.connected.set()
                if "data" in fields:
                    kind = fields.get("event", "message")
                    self.events.put(Event(self.last_id, kind, fields["data"]))
                fields = {}
        except httpx.HTTPError:
            pass
        finally:
            self.connected.set()
            self.ended.set()

    def take(self, count: int) -> list[Event]:
        return [self.events.get(timeout=WAIT_S) for _ in range(count)]

    def numbers(self, count: int) -> list[int]:
        events = self.take(count)
        assert {event.kind for event in events} == {"alert"}
        return [decode(Alert, event.data.encode()).revision for event in events]

    def close(self) -> None:
        network = self.response.extensions["network_stream"]
        with_socket = network.get_extra_info("socket")
        with_socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self._context.__exit__(None, None, None)
        self._client.close()


@contextmanager
def watching(door: OpenDoor, **query: Any) -> Iterator[Watcher]:
    watcher = Watcher(door, **query)
    try:
        yield watcher
    finally:
        try:
            watcher.close()
        except OSError:
            watcher._client.close()


@pytest.fixture
def feeding(door: OpenDoor) -> OpenDoor:
    """A door whose feed has found its topic."""
    wait_for_feed(door)
    return door


def encoded(*numbers: int, **changed: Any) -> list[bytes]:
    return [encode(alert(number, **changed)) for number in numbers]


def test_a_watcher_gets_every_new_alert_as_one_event(feeding: OpenDoor, produce: Produce) -> None:
    produce("agent.alerts", *encoded(1))
    with watching(feeding, last_id="earliest") as first:
        assert first.numbers(1) == [1]
        assert first.response.headers["content-type"].startswith("text/event-stream")
        with watching(feeding) as fresh:
            produce("agent.alerts", *encoded(2, 3))
            assert fresh.numbers(2) == [2, 3]
        assert first.numbers(2) == [2, 3]


def test_the_alert_in_an_event_is_the_record_of_the_topic(
    feeding: OpenDoor, produce: Produce
) -> None:
    written = alert(7, title="line\nbreak\r\n\ndata: forged\u2028\u2029\x85")
    with watching(feeding) as watcher:
        produce("agent.alerts", encode(written))
        [event] = watcher.take(1)
    assert decode(Alert, event.data.encode()) == written


def test_a_record_over_several_lines_is_still_one_event(
    feeding: OpenDoor, produce: Produce
) -> None:
    pretty = msgspec.json.format(encode(alert(5)), indent=2)
    assert b"\n\n" not in pretty
    with watching(feeding) as watcher:
        produce("agent.alerts", pretty.replace(b"\n", b"\r\n\r\n"), *encoded(6))
        assert watcher.numbers(2) == [5, 6]


def test_resuming_by_any_id_gives_exactly_what_came_after_it_also_on_another_door(
    settings: Settings, produce: Produce
) -> None:
    for number in range(60):
        produce("agent.alerts", *encoded(number), partition=number % 3)
    with open_door(settings, limits=limits(prefill_items=5)) as door:
        wait_for_feed(door)
        with watching(door, last_id="earliest") as watcher:
            events = watcher.take(60)
    order = [decode(Alert, event.data.encode()).revision for event in events]
    assert sorted(order) == list(range(60))
    # A second door knows nothing of the first, and holds only a few alerts in memory.
    with open_door(settings, limits=limits(prefill_items=5)) as door:
        wait_for_feed(door)
        for at in (0, 17, 42, 57, 59):
            headers = {"last-event-id": events[at].id}
            with watching(door, headers=headers) as watcher:
                produce("agent.alerts", *encoded(1000 + at), partition=at % 3)
                # Of three partitions the new one may be read before the last of the others.
                wanted, seen = {*order[at + 1 :], 1000 + at}, list[int]()
                while not wanted <= set(seen):
                    seen += watcher.numbers(1)
            kept = [number for number in seen if number < 60]
            assert sorted(kept) == sorted(order[at + 1 :])


def test_a_watcher_that_wants_nothing_of_it_still_keeps_its_place(
    settings: Settings, produce: Produce
) -> None:
    with open_door(settings, limits=limits(heartbeat_s=0.1)) as door:
        wait_for_feed(door)
        with watching(door, severity="critical") as watcher:
            produce("agent.alerts", *encoded(1, 2, 3))
            eventually(lambda: cursor.decode(watcher.last_id)[0] == 3, "the place behind them")
            assert watcher.events.empty()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"severity": "low"}, [2]),
        ({"severity": "low,high"}, [1, 2, 3, 4]),
        ({"rule": "r-2"}, [3]),
        ({"risk_category": "governance"}, [4]),
        ({"tenant": "other"}, [2]),
        ({"tenant": "acme", "rule": "r-1"}, [1, 4]),
    ],
)
def test_filters_choose_alerts(
    feeding: OpenDoor, produce: Produce, query: dict[str, str], expected: list[int]
) -> None:
    with watching(feeding, **query) as watcher, watching(feeding) as everything:
        produce(
            "agent.alerts",
            encode(alert(1)),
            encode(alert(2, severity="low", tenant="other")),
            encode(alert(3, rule="r-2")),
            encode(alert(4, risk_category="governance")),
        )
        assert watcher.numbers(len(expected)) == expected
        assert everything.numbers(4) == [1, 2, 3, 4]
        assert watcher.events.empty()


def test_what_is_no_alert_is_left_out(feeding: OpenDoor, produce: Produce) -> None:
    with watching(feeding) as watcher:
        produce("agent.alerts", b"", b"{", b"\xff", b'{"a": 1}', b"[" * 5000, *encoded(9))
        assert watcher.numbers(1) == [9]


@pytest.mark.parametrize("query", [
    {"severity": "loud"}, {"last_id": "x"}, {"last_id": "0:1,"}, {"rule": ",".join("x" * 101)},
])  # fmt: skip
def test_a_question_that_means_nothing_is_refused(feeding: OpenDoor, query: dict[str, str]) -> None:
    with feeding.client() as client:
        assert client.get("/alerts", params=query).status_code == 400


def test_an_id_of_a_log_that_is_gone_is_answered_with_the_gap(
    feeding: OpenDoor, produce: Produce
) -> None:
    produce("agent.alerts", *encoded(1, 2))
    with watching(feeding, last_id="0:900,1:0,2:0") as watcher:
        [gap] = watcher.take(1)
        assert gap.kind == "gap"
        facts = msgspec.json.decode(gap.data)
        assert (facts["partition"], facts["asked"], facts["given"]) == (0, 900, 0)
        assert watcher.numbers(2) == [1, 2]


def test_a_watcher_that_does_not_read_is_told_where_to_resume_and_slows_no_one(
    settings: Settings, produce: Produce
) -> None:
    few = limits(feed_items=40, prefill_items=5, chunk_bytes=4096)
    padding = {"title": "x" * 60_000}
    with open_door(settings, limits=few) as door:
        wait_for_feed(door)
        with socket.create_connection(("127.0.0.1", door.port)) as slow:
            slow.sendall(b"GET /alerts HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert slow.recv(1) == b"H"
            with watching(door) as quick:
                for first in range(0, 400, 20):
                    produce("agent.alerts", *encoded(*range(first, first + 20), **padding))
                    assert len(quick.take(20)) == 20
            slow.settimeout(WAIT_S)
            told = bytearray()
            while chunk := slow.recv(1 << 20):
                told += chunk
        assert b"event: lagged" in told
        resume = told.split(b'"resume_from":"')[1].split(b'"')[0].decode()
        got = told.count(b"event: alert")
        assert got < 400
        with watching(door, last_id=resume) as again:
            assert len(again.take(400 - got)) == 400 - got


def test_a_watcher_that_takes_nothing_at_all_loses_its_place(
    settings: Settings, produce: Produce
) -> None:
    one = limits(watchers=1, send_timeout_s=0.5, catch_up_send_timeout_s=0.5)
    for number in range(300):
        produce("agent.alerts", *encoded(number, title="x" * 60_000), partition=number % 3)
    with open_door(settings, limits=one) as door:
        wait_for_feed(door)
        with socket.create_connection(("127.0.0.1", door.port)) as stuck, door.client() as client:
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stuck.sendall(b"GET /alerts?last_id=earliest HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert stuck.recv(1) == b"H"
            eventually(lambda: _status(client) == 200, "its place is free")


def _status(client: httpx.Client) -> int:
    """How a new watcher is answered; it leaves at once."""
    with client.stream("GET", "/alerts") as answer:
        return answer.status_code


def test_a_place_is_free_again_when_its_watcher_leaves(settings: Settings) -> None:
    with open_door(settings, limits=limits(watchers=1)) as door:
        wait_for_feed(door)
        for _ in range(3):
            eventually(lambda: _took_the_only_place(door), "a place")


def _took_the_only_place(door: OpenDoor) -> bool:
    """Whether there was one; while it is taken, there is none for another."""
    with door.client() as client, client.stream("GET", "/alerts") as answer:
        if answer.status_code != 200:
            return False
        with door.client() as other:
            busy = other.get("/alerts")
        assert (busy.status_code, busy.headers["retry-after"]) == (503, "10")
    return True


def test_watchers_are_let_go_when_the_door_closes(settings: Settings) -> None:
    with open_door(settings) as door:
        wait_for_feed(door)
        watcher = Watcher(door)
    assert watcher.ended.wait(WAIT_S)
    watcher._client.close()


def test_a_token_sees_its_own_tenant_only(
    settings: Settings, produce: Produce, tmp_path: Path
) -> None:
    path = tmp_path / "tokens"
    path.write_text("watcher-of-acme-0001 soc acme watch\nwatcher-of-all-00001 ops * watch\n")
    mine = {"authorization": "Bearer watcher-of-acme-0001"}
    ours = {"authorization": "Bearer watcher-of-all-00001"}
    with open_door(settings, tokens_file=path) as door:
        wait_for_feed(door)
        with watching(door, headers=mine) as acme, watching(door, headers=ours) as everyone:
            produce("agent.alerts", encode(alert(1, tenant="other")), encode(alert(2)))
            assert everyone.numbers(2) == [1, 2]
            assert acme.numbers(1) == [2]
        with door.client(headers=mine) as client:
            assert client.get("/alerts", params={"tenant": "other"}).status_code == 403


def test_a_head_request_ends(feeding: OpenDoor) -> None:
    with feeding.client() as client:
        answer = client.head("/alerts")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


def test_the_feed_appears_when_its_topic_does(tmp_path: Path) -> None:
    with MockBroker() as broker:
        environ = {
            "KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers,
            "TACHO_HOME": str(tmp_path),
        }
        with open_door(Settings.from_env(environ)) as door:
            wait_for_feed(door)
