"""The console in a real browser: hostile content is inert, keys work, alerts come by themselves."""

import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.pipeline.store.pending import Pending
from tachograph.pipeline.store.records import Origin
from tachograph.pipeline.store.sink import Sink
from tachograph.schemas import codec
from tachograph.schemas.records import Disposition
from tests.pipeline.forward import alerts
from tests.pipeline.world import ALERT, ATTACK, HELPER, TENANT, world, world_server, world_writer
from tests.waiting import WAIT_S

from .conftest import OpenDoor, open_door

__all__ = ["world", "world_server", "world_writer"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (Debian: chromium)")

HOSTILE = {
    "script": "<script>document.title='owned'</script><img src=x onerror='document.title=1'>",
    "url": "javascript:document.title='owned'//https://paste.example",
    "attribute": "\" autofocus onfocus=\"document.title='owned'\" x=\"",
    "template": "{{ 7 * 7 }} ${7*7} {% raw %}",
    "direction": "invoice\u202egpj.exe\u2066\u200f",
    "megabyte": "A" * 600_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def door(world: ClickHouseSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDoor]:
    """A door before the world, which asks nobody who they are."""
    with MockBroker(topics=("agent.alerts", "agent.dispositions")) as broker:
        kafka = KafkaSettings(bootstrap=broker.bootstrap_servers)
        home = tmp_path_factory.mktemp("home")
        settings = Settings(kafka=kafka, clickhouse=world, home=home, tenant=TENANT)
        with open_door(settings) as door:
            yield door


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        # Its sandbox needs rights that containers do not give; root may not have it at all.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page; what its console or a script complains of fails the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda one: complaints.append(one.text) if one.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    yield page
    context.close()
    assert complaints == []


def send(door: OpenDoor, *found: Any) -> None:
    large = {"linger.ms": 0, "compression.type": "gzip", "message.max.bytes": 4_000_000}
    producer = Producer({**door.settings.kafka.client_config(), **large})
    for alert in found:
        producer.produce("agent.alerts", codec.encode(alert), partition=0)
    assert producer.flush(10) == 0


def alert_of(number: int, **changed: Any) -> Any:
    return msgspec.structs.replace(alerts.alert(number), tenant=TENANT, **changed)


def test_hostile_alerts_come_live_and_stay_text(door: OpenDoor, page: Page) -> None:
    page.goto(door.url + "/console")
    expect(page.locator("#live")).to_have_text("live")
    send(door, *(alert_of(n, title=text, agent_id=text[:200], entity=text)
                 for n, text in enumerate(HOSTILE.values(), 100)))  # fmt: skip
    for number, text in enumerate(HOSTILE.values(), 100):
        line = page.locator(f"#a-{number:032x}")
        expect(line).to_be_visible()
        seen = "".join(c if c.isprintable() else "·" for c in text[:20])
        assert line.locator(".what a").inner_text()[:20] == seen
        assert (line.locator(".what a").get_attribute("href") or "").startswith("/console/alert/")
    assert page.title().startswith("Alerts")
    assert page.locator("#rows img, #rows script").count() == 0


def test_an_alert_that_comes_again_takes_its_older_lines_place(door: OpenDoor, page: Page) -> None:
    page.goto(door.url + "/console")
    expect(page.locator("#live")).to_have_text("live")
    send(door, alert_of(200, title="first words"))
    line = page.locator(f"#a-{200:032x}")
    expect(line).to_contain_text("first words")
    line.locator("input").check()
    expect(page.locator("#bulk-bar")).to_be_visible()
    send(door, alert_of(200, title="second words", revision=2))
    expect(line).to_contain_text("second words")
    expect(line).to_have_count(1)
    expect(line.locator("input")).to_be_checked()
    send(door, alert_of(200, status="retracted", revision=3))
    expect(line).to_have_count(0)


def test_what_a_colleague_closes_is_seen_and_the_head_counts_anew(
    door: OpenDoor, page: Page, world_writer: ClickHouseSettings
) -> None:
    # A colleague's word, and later that it was taken back, as the store reads them.
    page.goto(door.url + "/console?status=open,acknowledged,closed")
    state, counted = page.locator(f"#s-{ALERT}"), page.locator("#pulse .counts")
    before, waiting = state.inner_text(), counted.inner_text()
    for offset, (word, shown) in enumerate(
        (({"action": "close", "disposition": "benign", "assignee": "kim <b>"}, "closed"),
         ({"action": "reopen"}, before.partition(" ")[0]))
    ):  # fmt: skip
        say(door, world_writer, 900 + offset, **word)
        expect(state).to_contain_text(shown, timeout=30_000)
        expect(state).to_contain_text("benign · kim <b>")
        if shown == "closed":
            expect(counted).not_to_have_text(waiting, timeout=30_000)
        else:
            expect(counted).to_have_text(waiting, timeout=30_000, use_inner_text=True)


def test_the_page_of_an_alert_shows_what_triage_and_colleagues_say_meanwhile(
    door: OpenDoor, page: Page, world_writer: ClickHouseSettings
) -> None:
    with page.expect_request(lambda request: "/console/live?search=" in request.url):
        page.goto(f"{door.url}/console/alert/{ALERT}")
    page.locator("#note").fill("half a sentence")
    shown = page.locator("#sections")
    page.wait_for_selector("#pulse .counts", state="attached")
    say(door, world_writer, 910, action="assign", assignee="robin-of-the-night")
    expect(shown).to_contain_text("robin-of-the-night", timeout=30_000)
    again = lambda request: request.url.endswith(f"/console/alert/{ALERT}")  # noqa: E731
    with page.expect_request(again, timeout=30_000):
        send(door, alert_of(920, alert_id=ALERT, revision=2))
    expect(page.locator("#note")).to_have_value("half a sentence")


def say(door: OpenDoor, writer: ClickHouseSettings, offset: int, **word: Any) -> None:
    said = Disposition(alert_id=ALERT, tenant=TENANT, by="kim", at=datetime.now(UTC), **word)
    pending = Pending(clock=lambda: 0, redact=lambda text: text, tenant=TENANT)
    origin = Origin(("agent.dispositions", 9), offset, codec.encode(said))
    pending.add(origin, "disposition", 0.0)
    sink = Sink(msgspec.structs.replace(door.settings, clickhouse=writer), stopping=lambda: True)
    sink.store(pending)
    sink.close()


def test_the_keys_lead_from_the_list_to_an_alert_and_back(door: OpenDoor, page: Page) -> None:
    page.goto(door.url + "/console")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    page.keyboard.press("/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("secret read")
    page.keyboard.press("Enter")
    page.wait_for_url("**search=secret**")
    page.keyboard.press("j")
    expect(page.locator(f"#a-{ALERT} .what a")).to_be_focused()
    page.keyboard.press("x")
    expect(page.locator("#bulk-count")).to_have_text("1 selected")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.locator(f"#a-{ALERT} .what a").focus()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/console/alert/{ALERT}")
    page.keyboard.press("j")
    expect(page.locator(".sections > section").first).to_be_focused()
    page.keyboard.press("n")
    expect(page.locator("#note")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("u")
    page.wait_for_url("**/console")
    page.keyboard.press("g")
    page.keyboard.press("e")
    page.wait_for_url("**/console/agents")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(
    door: OpenDoor, browser: Browser, scheme: Any
) -> None:
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    for path in ("", f"/alert/{ALERT}", f"/session/{ATTACK}", f"/agent/{HELPER}"):
        page.goto(door.url + "/console" + path)
        faint = page.evaluate(_FAINT)
        assert faint == [], path
        assert (
            page.evaluate("document.querySelectorAll('main, header, nav[aria-label]').length") >= 3
        )
        assert page.evaluate(_UNNAMED) == [], path
    context.close()


# Texts whose contrast with the nearest opaque background is below 4.5 (WCAG AA).
_FAINT = """() => {
  const parts = (color) => (color.match(/[\\d.]+/g) || []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parts(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const text = [...node.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim());
    if (!text || !node.checkVisibility() || node.closest("svg, .skip, .hidden")) continue;
    const [a, b] = [light(parts(getComputedStyle(node).color)), light(behind(node))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) found.push(`${node.tagName}.${node.className} ${contrast.toFixed(2)}`);
  }
  return found;
}"""
# Controls that a screen reader would not know the name of.
_UNNAMED = """() => [
  ...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a"),
].filter((one) => !(one.labels?.length || one.ariaLabel || one.textContent.trim()))
  .map((one) => one.outerHTML.slice(0, 80))"""


def test_a_word_of_an_analyst_is_said_with_the_keyboard(door: OpenDoor, page: Page) -> None:
    page.goto(f"{door.url}/console/alert/{ALERT}")
    page.keyboard.press("n")
    page.keyboard.type("<script>document.title='owned'</script>")
    page.get_by_role("button", name="Note only").press("Enter")
    page.wait_for_url("**said=later", timeout=30_000)
    expect(page.get_by_role("status")).to_contain_text("Written down")


def test_the_theme_a_person_chose_stays(door: OpenDoor, page: Page) -> None:
    page.goto(door.url + "/console/agents")
    page.locator("#theme").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.reload()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 19, 24)"


def test_an_inline_script_would_not_run(door: OpenDoor, browser: Browser) -> None:
    page = browser.new_page()
    said: list[str] = []
    page.on("console", lambda one: said.append(one.text))
    page.goto(door.url + "/console/agents")
    page.evaluate(
        "() => { const one = document.createElement('script');"
        " one.textContent = \"document.title = 'owned'\"; document.body.append(one); }"
    )
    end = time.monotonic() + WAIT_S
    while not any("Content Security Policy" in one for one in said) and time.monotonic() < end:
        page.wait_for_timeout(50)
    assert any("Content Security Policy" in one for one in said)
    assert page.title() != "owned"
    page.close()
