"""The audit trail: who read and said what, written before it is shown, and shown to an admin."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.serve.audit import TOPIC
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.store.pending import Pending
from tachograph.pipeline.store.records import Origin
from tachograph.pipeline.store.sink import Sink
from tachograph.schemas import codec
from tachograph.schemas.records import Access
from tests.pipeline.world import ALERT, ATTACK, TENANT, world, world_server, world_writer
from tests.waiting import eventually

from .conftest import OpenDoor, limits, open_door, records

__all__ = ["world", "world_server", "world_writer"]

ADMIN, VIEWER, ROBOT = (f"a-token-of-{who}-0123456789" for who in ("amy", "vic", "robot"))


@pytest.fixture
def door(world: ClickHouseSettings, tmp_path: Any) -> Iterator[OpenDoor]:
    """A door of two people and a program, with a log of its own."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"{ADMIN} amy * admin\n{VIEWER} vic acme viewer\n{ROBOT} robot * watch\n")
    with MockBroker(topics=("agent.alerts", TOPIC, "agent.dispositions")) as broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap_servers)
        settings = Settings(kafka=kafka, clickhouse=world, home=tmp_path, tenant="default")
        with open_door(settings, tokens_file=tokens) as door:
            yield door


def written(door: OpenDoor, count: int) -> list[Access]:
    found = [
        codec.decode(Access, one.value() or b"") for one in records(door.settings, TOPIC, count)
    ]
    return sorted(found, key=lambda one: one.at)


def test_the_trail_says_who_came_what_they_read_and_what_they_said(door: OpenDoor) -> None:
    with door.client() as client:
        client.post("/console/login", data={"token": "x" * 30})
        client.post("/console/login", data={"token": ADMIN})
        page = client.get(f"/console/alert/{ALERT}").text
        client.get(f"/console/session/{ATTACK}")
        csrf = re.findall(r'name="csrf" value="([^"]+)"', page)[0]
        form = {"csrf": csrf, "alert": ALERT, "action": "assign", "assignee": "me"}
        client.post("/console/say", data=form)
        client.post("/console/logout", data={"csrf": csrf})
    with door.client(headers={"authorization": f"Bearer {ROBOT}"}) as robot:
        robot.get(f"/v1/alerts/{ALERT}")
        robot.get("/v1/alerts?severity=high")
    trail = written(door, 8)
    assert [(one.by, one.action, one.subject, one.name) for one in trail] == [
        ("unknown", "login_refused", "token", ""),
        ("amy", "login", "token", ""),
        ("amy", "view", "alert", ALERT),
        ("amy", "view", "session", ATTACK),
        ("amy", "assign", "alert", ALERT),
        ("amy", "logout", "", ""),
        ("robot", "view", "alert", ALERT),
        ("robot", "list", "alerts", "severity=high"),
    ]
    assert {one.tenant for one in trail if one.name in {ALERT, ATTACK}} == {TENANT}
    assert trail[4].detail == "amy"
    assert {one.address for one in trail} == {"127.0.0.1"}


def test_nobody_fills_the_trail_by_guessing(door: OpenDoor) -> None:
    with door.client() as client:
        refused = 0
        while client.post("/console/login", data={"token": "x" * 30}).status_code == 401:
            refused += 1
            assert refused < 100
        assert refused >= 10
        assert client.post("/console/login", data={"token": ADMIN}).status_code == 303
    done = [one.action for one in written(door, refused + 1)]
    assert done == [*["login_refused"] * refused, "login"]


def test_what_cannot_be_written_down_is_not_shown(world: ClickHouseSettings, tmp_path: Any) -> None:
    broker = MockBroker(topics=("agent.alerts", TOPIC))
    with broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap_servers)
        settings = Settings(kafka=kafka, clickhouse=world, home=tmp_path)

        with open_door(settings, limits=limits(delivery_timeout_s=1.0)) as door:
            page = f"/console/alert/{ALERT}"
            with door.client() as client:
                # The first words to a broker may take longer than they have here.
                eventually(lambda: client.get(page).status_code == 200, "it is shown")
            broker.close()
            with door.client() as client:
                answer = client.get(page)
    assert (answer.status_code, "2.5 seconds later" in answer.text) == (503, False)


def test_an_admin_reads_the_trail_and_nobody_else(
    door: OpenDoor, world_writer: ClickHouseSettings
) -> None:
    access = Access(
        tenant=TENANT, by="<b>kim</b>", action="view", subject="alert", name=ALERT,
        address="192.0.2.7", at=datetime(2026, 11, 22, 18, 4, tzinfo=UTC),
    )  # fmt: skip
    pending = Pending(clock=lambda: 0, redact=lambda text: text, tenant=TENANT)
    listed = msgspec.structs.replace(
        access,
        action="list",
        subject="alerts",
        name="status=open%2Cacknowledged&search=%3Cb%3E",
    )
    for offset, one in ((0, access), (1, access), (1, access), (2, listed)):
        origin = Origin((TOPIC, 0), offset, codec.encode(one))
        pending.add(origin, "access", 0.0)
    settings = msgspec.structs.replace(door.settings, clickhouse=world_writer)
    sink = Sink(settings, stopping=lambda: True)
    sink.store(pending)
    sink.close()
    with door.client() as client:
        client.post("/console/login", data={"token": ADMIN})
        page = client.get("/console/audit?search=view").text
        assert page.count("&lt;b&gt;kim&lt;/b&gt;") == 2
        assert "192.0.2.7" in page
        lists = client.get("/console/audit?search=list").text
        assert "status=open,acknowledged&amp;search=&lt;b&gt;" in lists
        client.post("/console/login", data={"token": VIEWER})
        assert client.get("/console/audit").status_code == 403
