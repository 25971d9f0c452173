"""The console: what people see and say, who is let in, and that what agents wrote stays text."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from confluent_kafka import Producer
from starlette.datastructures import QueryParams

from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.serve.asking import TenantReader
from tachograph.pipeline.serve.console.live import Lines
from tachograph.pipeline.serve.console.render import POLICY, asset
from tachograph.pipeline.serve.console.rows import Row
from tachograph.pipeline.serve.feed import Facts, Item
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas import codec
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Disposition
from tests.pipeline.forward import alerts
from tests.pipeline.world import ALERT, ATTACK, HELPER, TENANT, world, world_server, world_writer
from tests.waiting import eventually

from .conftest import OpenDoor, limits, open_door, records, wait_for_feed

__all__ = ["world", "world_server", "world_writer"]

TOKENS = {
    "ann": "a-token-of-ann-0123456789",
    "vic": "a-token-of-vic-0123456789",
    "else": "a-token-of-else-012345678",
    "gate": "a-token-of-gate-012345678",
}
ROLES = """
{ann} ann * analyst
{vic} vic acme viewer
{else} eve elsewhere analyst
{gate} gateway acme publish,watch
"""
PAGES = ("", "/agents", "/incidents", f"/alert/{ALERT}", f"/session/{ATTACK}", f"/agent/{HELPER}")


@pytest.fixture(scope="module")
def settings(
    world: ClickHouseSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Settings]:
    """A door's settings before the world."""
    with MockBroker(topics=("agent.alerts", "agent.dispositions")) as broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap_servers)
        home = tmp_path_factory.mktemp("home")
        yield Settings(kafka=kafka, clickhouse=world, home=home, tenant=TENANT)


@pytest.fixture(scope="module")
def guarded(settings: Settings) -> Iterator[OpenDoor]:
    """A door that asks who is there."""
    tokens = settings.home / "tokens"
    tokens.write_text(ROLES.format(**TOKENS))
    with open_door(settings, tokens_file=tokens) as door:
        yield door


@pytest.fixture(scope="module")
def open_console(settings: Settings) -> Iterator[httpx.Client]:
    """A door on this machine alone, which asks nobody."""
    with open_door(settings) as door, door.client() as client:
        yield client


@contextmanager
def logged_in(door: OpenDoor, who: str) -> Iterator[httpx.Client]:
    with door.client() as client:
        answer = client.post("/console/login", data={"token": TOKENS[who]})
        assert (answer.status_code, answer.headers["location"]) == (303, "/console")
        yield client


def csrf_of(page: str) -> str:
    return str(re.findall(r'name="csrf" value="([^"]+)"', page)[0])


class Tags(HTMLParser):
    """Tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_no_script_but_the_doors_own_and_leads_nowhere_else(
    open_console: httpx.Client, path: str
) -> None:
    answer = open_console.get("/console" + path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-security-policy"] == POLICY
    assert not re.search(r"[\x00-\x08\x1b\u202a-\u202e\u2066-\u2069]", answer.text)
    for tag, attributes in Tags(answer.text).found:
        assert tag not in {"style", "iframe", "object", "embed", "base"}
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "action", "hx-get", "sse-connect"):
            target = attributes.get(name, "/console")
            assert target.startswith(("/console", "#")), (tag, target)
        assert tag != "script" or attributes["src"].startswith("/console/assets/")


def test_what_a_page_says_is_what_the_terminal_says(open_console: httpx.Client) -> None:
    page = open_console.get(f"/console/alert/{ALERT}").text
    assert "2.5 seconds later" in page
    assert "answer of read_mail" in page
    assert f'<a href="/console/agent/{HELPER}">' in page
    talk = open_console.get(f"/console/session/{ATTACK}").text
    assert "← https://paste.example/u: answer of read_mail" in talk
    assert "the user never named it" in talk


def test_an_agents_hours_are_drawn_beside_its_usual(open_console: httpx.Client) -> None:
    page = open_console.get(f"/console/agent/{HELPER}").text
    drawn = [attributes for tag, attributes in Tags(page).found if tag == "svg"]
    assert len(drawn) >= 3
    assert all("in the newest hour; its usual" in one["aria-label"] for one in drawn)


def test_the_list_holds_what_waits_and_finds_by_words(open_console: httpx.Client) -> None:
    closed = plain_id("alert of the shop")
    assert ALERT in (home := open_console.get("/console").text)
    assert closed not in home
    assert closed in open_console.get("/console?status=closed").text
    for word, found in (("SECRET READ", True), (ATTACK, True), (ALERT[:9], True), ("zebra", False)):
        page = open_console.get("/console", params={"search": word}).text
        assert (f'id="a-{ALERT}"' in page) is found, word
    first = open_console.get("/console?status=open,acknowledged,closed&limit=1").text
    more = re.findall(r'hx-get="(/console/rows[^"]+)"', first)[0].replace("&amp;", "&")
    second = open_console.get(more).text
    assert len({*re.findall(r'id="a-(\w+)"', first), *re.findall(r'id="a-(\w+)"', second)}) == 2


def test_what_cannot_be_asked_is_a_page_that_says_so(open_console: httpx.Client) -> None:
    for path, status in (("?severity=huge", 400), ("/alert/none", 404), ("/nowhere", 404)):
        answer = open_console.get("/console" + path)
        assert (answer.status_code, answer.headers["content-type"][:9]) == (status, "text/html")
    assert open_console.get("/console/assets/../views.py").status_code == 404
    assert asset("../render.py") is None


def test_nobody_is_shown_anything_before_logging_in(guarded: OpenDoor) -> None:
    with guarded.client() as nobody:
        for path in (*PAGES, "/live", "/rows"):
            answer = nobody.get("/console" + path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/console/login")
        assert nobody.post("/console/say", data={"alert": ALERT}).status_code == 303
        assert nobody.post("/console/login", data={"token": "x" * 30}).status_code == 401
        refused = nobody.post("/console/login", data={"token": TOKENS["gate"]})
        assert (refused.status_code, "role viewer" in refused.text) == (403, True)
        assert "set-cookie" not in refused.headers


def test_a_session_is_a_cookie_that_no_script_and_no_other_site_gets(guarded: OpenDoor) -> None:
    with logged_in(guarded, "vic") as vic:
        answer = vic.post("/console/login", data={"token": TOKENS["vic"]})
        told = answer.headers["set-cookie"].lower()
        assert "httponly" in told
        assert "samesite=strict" in told
        assert "path=/console" in told
        page = vic.get("/console").text
        assert vic.post("/console/logout", data={"csrf": csrf_of(page)}).status_code == 303
        vic.cookies.set("tacho_session", "made up", path="/console")
        assert vic.get("/console").status_code == 303


def test_a_viewer_may_look_but_not_say(guarded: OpenDoor) -> None:
    with logged_in(guarded, "vic") as vic:
        page = vic.get(f"/console/alert/{ALERT}").text
        assert "Verdict and notes" not in page
        form = {"csrf": csrf_of(page), "alert": ALERT, "action": "acknowledge"}
        answer = vic.post("/console/say", data=form)
        assert (answer.status_code, "the role `analyst`" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("headers", "csrf"),
    [
        ({}, "guessed"),
        ({"origin": "https://evil.example"}, None),
        ({"sec-fetch-site": "cross-site"}, None),
        ({"sec-fetch-site": "same-site"}, None),
    ],
)
def test_another_sites_form_says_nothing(
    guarded: OpenDoor, headers: dict[str, str], csrf: str | None
) -> None:
    with logged_in(guarded, "ann") as ann:
        page = ann.get("/console/agents").text
        form = {"csrf": csrf or csrf_of(page), "alert": ALERT, "action": "acknowledge"}
        assert ann.post("/console/say", data=form, headers=headers).status_code == 403


def test_what_an_analyst_says_is_in_the_log_under_the_name_of_the_login(guarded: OpenDoor) -> None:
    with logged_in(guarded, "ann") as ann:
        page = ann.get(f"/console/alert/{ALERT}").text
        form = {
            "csrf": csrf_of(page), "alert": ALERT, "action": "close", "by": "somebody else",
            "disposition": "true_positive", "note": "<b>key revoked</b>",
        }  # fmt: skip
        answer = ann.post("/console/say", data=form)
        assert answer.headers["location"] == f"/console/alert/{ALERT}?said=later"
        wrong = ann.post("/console/say", data={**form, "disposition": "perhaps"})
        assert (wrong.status_code, "true_positive" in wrong.text) == (400, True)
    [record] = records(guarded.settings, "agent.dispositions", 1)
    said = codec.decode(Disposition, record.value() or b"")
    assert (said.alert_id, said.tenant, said.by) == (ALERT, TENANT, "ann")
    assert (said.action, said.disposition, said.note) == (
        "close", "true_positive", "<b>key revoked</b>",
    )  # fmt: skip
    assert record.key() == f"{TENANT}/{ALERT}".encode()


def test_a_tenant_is_shown_nothing_of_another(guarded: OpenDoor) -> None:
    with logged_in(guarded, "else") as eve:
        for path in ("", "/agents", "/incidents", "/pulse"):
            assert ALERT[:8] not in eve.get("/console" + path).text
        for path in (f"/alert/{ALERT}", f"/session/{ATTACK}", f"/agent/{HELPER}"):
            assert eve.get("/console" + path).status_code == 404
        form = {"csrf": csrf_of(eve.get("/console").text), "alert": ALERT, "action": "acknowledge"}
        assert eve.post("/console/say", data=form).status_code == 404


def _count(reader: Reader, table: str) -> int:
    """Asked as our questions name tables: plainly, under another name, and inside an IN."""
    [row] = reader.rows(
        f"SELECT count() AS n FROM tacho.{table} AS one"
        f" WHERE tenant IN (SELECT tenant FROM tacho.{table})"
    )
    return int(row["n"])


def test_every_table_a_tenant_may_ask_is_narrowed(world: ClickHouseSettings) -> None:
    with Reader(world) as reader:
        tables = [
            row["table"]
            for row in reader.rows(
                "SELECT DISTINCT table FROM system.columns"
                " WHERE database = 'tacho' AND name = 'tenant' ORDER BY table"
            )
        ]
    counted: dict[str | None, dict[str, int]] = {}
    with TenantReader(world) as own:
        for own.tenant in (None, TENANT, "nobody"):
            counted[own.tenant] = {table: _count(own, table) for table in tables}
    assert counted[TENANT] == counted[None]
    assert counted[TENANT]["alerts"] == 2
    assert not any(counted["nobody"].values())


def test_a_token_taken_out_of_the_file_ends_its_sessions(
    settings: Settings, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(ROLES.format(**TOKENS))
    with open_door(settings, tokens_file=tokens) as door, logged_in(door, "vic") as vic:
        assert vic.get("/console").status_code == 200
        tokens.write_text(f"{TOKENS['ann']} ann * analyst\n")
        eventually(lambda: vic.get("/console").status_code == 303, "the session has ended")


def _lines(client: httpx.Client, query: str, most: int) -> list[str]:
    found: list[str] = []
    headers = {"last-event-id": "0:0,1:0,2:0,3:0"}
    with client.stream("GET", f"/console/live{query}", headers=headers) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            found += [line[6:]] if line.startswith("data: ") else []
            if len(found) == most:
                break
    return found


@pytest.mark.parametrize("text", alerts.HOSTILE.values(), ids=alerts.HOSTILE)
def test_a_live_line_is_one_row_whatever_stands_in_the_alert(text: str) -> None:
    alert = alerts.hostile(text.encode("utf-8", "replace").decode())
    facts = msgspec.convert(msgspec.to_builtins(alert), Facts)
    view = Lines().view(QueryParams(), None)
    line = view(Item(0, 1, codec.encode(alert), facts))
    assert line is not None
    assert b"\n" not in line
    assert b"\r" not in line
    tags = [tag for tag, _ in Tags(line.decode()).found]
    assert set(tags) <= {"tr", "td", "input", "span", "a", "time"}
    assert tags.count("tr") == 1


@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ("", True), ("min_severity=low", True), ("severity=informational", False),
        ("agent=nobody", False), ("search=ZEBRA", False), ("search=AGENT", True),
        ("rule=rule-1", True), ("rule=rule-2", False), ("status=open", True),
    ],
)  # fmt: skip
def test_live_lines_are_those_of_the_list(asked: str, kept: bool) -> None:
    alert = msgspec.structs.replace(
        alerts.alert(1, severity="high", rules=[alerts.rule("rule-1")]), agent_id="an-agent"
    )
    facts = msgspec.convert(msgspec.to_builtins(alert), Facts)
    for tenant, seen in ((None, True), (alert.tenant, True), ("another", False)):
        line = Lines().view(QueryParams(asked), tenant)(Item(0, 1, codec.encode(alert), facts))
        assert (line is not None) == (kept and seen)


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("mail-bot: secret read", "Secret read"), ("other: secret read", "other: secret read"),
        ("mail-bot: ", "mail-bot: "), ("secret read", "secret read"),
    ],
)  # fmt: skip
def test_a_line_says_once_whom_it_is_about(title: str, shown: str) -> None:
    row = Row(
        alert_id="a", tenant="t", severity="high", status="open", title=title, last_seen="now",
        agent_id="mail-bot", entity="mail-bot",
    )  # fmt: skip
    assert row.what == shown


def test_alerts_come_to_the_console_as_they_come_to_the_feed(
    settings: Settings, open_console: httpx.Client, written: Callable[[Any], None]
) -> None:
    written(msgspec.structs.replace(alerts.alert(7), tenant=TENANT, title="<i>comes</i> now"))
    [line] = _lines(open_console, "?search=comes", 1)
    assert "&lt;i&gt;comes&lt;/i&gt; now" in line


def test_a_stream_of_live_lines_ends_so_that_it_is_asked_again_who_watches(
    settings: Settings,
) -> None:
    with open_door(settings, limits=limits(console_stream_s=0.2)) as door, door.client() as client:
        wait_for_feed(door)
        for last_id in ("0:0,1:0,2:0,3:0", None):
            headers = {"last-event-id": last_id} if last_id else {}
            with client.stream("GET", "/console/live", headers=headers) as answer:
                assert answer.status_code == 200
                assert "retry: 2000" in list(answer.iter_lines())


@pytest.fixture
def written(settings: Settings) -> Callable[[Any], None]:
    def write(alert: Any) -> None:
        producer = Producer({**settings.kafka.client_config(), "linger.ms": 0})
        producer.produce("agent.alerts", codec.encode(alert), partition=0)
        assert producer.flush(10) == 0

    return write
