"""`/alerts/ws`: the feed as messages, with the filters and the places of the server-sent events."""

import contextlib
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tests.pipeline.forward import alerts
from tests.waiting import WAIT_S

from .conftest import OpenDoor, limits, open_door

Produce = Callable[..., None]


def watch(door: OpenDoor, query: str = "", **options: Any) -> ClientConnection:
    url = door.url.replace("http", "ws") + f"/alerts/ws{query}"
    end = time.monotonic() + WAIT_S
    while True:
        try:
            opened: ClientConnection = connect(url, proxy=None, **options)
            return opened
        except InvalidStatus as error:
            # The topic is not known in the first moment.
            if error.response.status_code != 503 or time.monotonic() > end:
                raise
            time.sleep(0.1)


def message(watcher: ClientConnection) -> Any:
    return json.loads(watcher.recv(timeout=WAIT_S))


def alert(watcher: ClientConnection) -> Any:
    """The next message that is an alert; places come in between, in quiet moments."""
    while (found := message(watcher))["type"] != "alert":
        pass
    return found


def ended(watcher: ClientConnection) -> int | None:
    """The code by which the door hangs up."""
    try:
        while True:
            watcher.recv(timeout=WAIT_S)
    except ConnectionClosed as closed:
        return closed.rcvd.code if closed.rcvd else None


def encoded(number: int, **changed: Any) -> bytes:
    return codec.encode(alerts.alert(number, **changed))


def test_a_watcher_gets_what_it_wants_and_resumes_where_it_was(
    door: OpenDoor, produce: Produce
) -> None:
    with watch(door, "?severity=high") as watcher:
        first = message(watcher)
        assert first["type"] == "place"
        produce("agent.alerts", encoded(1, severity="low"), encoded(2, severity="high"))
        came = alert(watcher)
        assert came["data"]["alert_id"] == f"{2:032x}"
    produce("agent.alerts", encoded(3, severity="high"))
    with watch(door, f"?severity=high&last_id={came['id']}") as watcher:
        assert alert(watcher)["data"]["alert_id"] == f"{3:032x}"
    with watch(door, "?last_id=earliest") as watcher:
        ids = [alert(watcher)["data"]["alert_id"] for _ in range(2)]
    assert ids == [f"{1:032x}", f"{2:032x}"]


def test_who_may_not_watch_is_told_before_the_socket_opens(
    settings: Settings, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    lines = ["a-token-of-soc-0123456789 soc acme watch", "a-token-of-gate-012345678 g acme publish"]
    tokens.write_text("\n".join(lines))
    with open_door(settings, tokens_file=tokens) as door:
        for token, status in (("", 401), ("a-token-of-gate-012345678", 403)):
            with pytest.raises(InvalidStatus) as refused:
                watch(door, additional_headers={"authorization": f"Bearer {token}"})
            assert refused.value.response.status_code == status
        own = {"authorization": "Bearer a-token-of-soc-0123456789"}
        with watch(door, additional_headers=own) as watcher:
            assert message(watcher)["type"] == "place"
        with pytest.raises(InvalidStatus) as refused:
            watch(door, "?tenant=other", additional_headers=own)
        assert refused.value.response.status_code == 403


def test_a_page_of_another_site_opens_no_socket(door: OpenDoor) -> None:
    with pytest.raises(InvalidStatus) as refused:
        watch(door, origin="https://evil.example")
    assert refused.value.response.status_code == 403
    with watch(door, origin=door.url) as watcher:
        assert message(watcher)["type"] == "place"


def test_a_socket_of_another_path_is_refused(door: OpenDoor) -> None:
    for path in ("/v1/alerts", "/nowhere"):
        with pytest.raises(InvalidStatus) as refused:
            connect(door.url.replace("http", "ws") + path, proxy=None)
        assert refused.value.response.status_code in {403, 404}


def test_a_watcher_that_does_not_read_is_cut_off_and_others_notice_nothing(
    settings: Settings, produce: Produce
) -> None:
    small = limits(send_timeout_s=1.0, feed_items=400, chunk_bytes=4_096, watchers=2)
    with open_door(settings, limits=small) as door, watch(door) as quick:
        message(quick)
        stuck = socket.create_connection(("127.0.0.1", door.port))
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        stuck.sendall(
            b"GET /alerts/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        assert b" 101 " in stuck.recv(64)
        for batch in range(30):
            produce(
                "agent.alerts", *(encoded(batch * 10 + n, title="x" * 30_000) for n in range(10))
            )
            for _ in range(10):
                alert(quick)
        # Its place is free again: it was hung up on.
        with watch(door) as third:
            assert message(third)["type"] == "place"
        stuck.close()


def test_a_watcher_that_talks_is_not_listened_to(door: OpenDoor, produce: Produce) -> None:
    with watch(door) as watcher:
        message(watcher)
        for _ in range(50):
            watcher.send("x" * 1_000)
        produce("agent.alerts", encoded(9))
        assert alert(watcher)["data"]["alert_id"] == f"{9:032x}"
        watcher.send("x" * 100_000)
        assert ended(watcher) == 1009


def test_at_the_end_of_the_door_a_watcher_is_told_to_come_again(settings: Settings) -> None:
    with contextlib.ExitStack() as later:
        with open_door(settings) as door:
            watcher = later.enter_context(watch(door))
            message(watcher)
        assert ended(watcher) in {1012, 1013}
