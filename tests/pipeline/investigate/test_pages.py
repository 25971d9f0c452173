"""Pages say what happened in the world, and show hostile content harmlessly."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.investigate import agent, ask, incident
from tachograph.pipeline.investigate.alert import telling, timeline
from tachograph.pipeline.investigate.command import page_of
from tachograph.pipeline.investigate.page import Facts, Grid, Lines, Page, Talk
from tachograph.pipeline.investigate.usual import sparkline
from tachograph.pipeline.query.reader import Reader
from tachograph.schemas.identity import plain_id
from tests.pipeline.investigate.conftest import Tacho
from tests.pipeline.world import ALERT, ATTACK, HELPER, SHOP


def section(page: Page, title: str) -> list[Any]:
    """The filled blocks of a section."""
    [found] = [one.filled for one in page.sections if one.title == title]
    return found


def rows(page: Page, title: str, at: int = 0) -> list[dict[str, str]]:
    """Rows of a grid of a section, by column."""
    grids = [block for block in section(page, title) if isinstance(block, Grid)]
    return [dict(zip(grids[at].columns, row, strict=True)) for row in grids[at].rows]


@pytest.fixture(scope="module")
def alert(reader: Reader) -> Page:
    return page_of("alert", reader, ALERT)


def test_an_alerts_page_says_why_each_rule_fired(alert: Page) -> None:
    assert [row["rule"] for row in rows(alert, "Why it fired")] == [
        "Secret read, then sent outside",
        "Instruction-like text in a tool result",
        "Credential file read by an agent",
    ]
    words = [line for block in section(alert, "Why it fired") if isinstance(block, Lines)
             for line in block.lines]  # fmt: skip
    assert words[0].startswith("billing-helper read /srv/billing/.env and 2.5 seconds later")


def test_its_timeline_marks_the_evidence_among_what_stood_around_it(alert: Page) -> None:
    [block] = section(alert, "Timeline")
    ids = [row[-1] for row in block.rows]
    evidence = {plain_id(name)[:12] for name in ("mail", "env", "leak", "mail said")}
    assert {ids[at] for at in block.marked} == evidence
    assert plain_id("ask")[:12] in ids
    assert [row[0] for row in block.rows] == sorted(row[0] for row in block.rows)


_VALUES: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "null", "None", [], {}, 0, False, "a", ["b"], 'say "x": "",']
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), _VALUES, max_size=8))
def test_of_arguments_those_are_shown_that_say_something(args: dict[str, Any]) -> None:
    empty: tuple[Any, ...] = (None, "", "null", "None", [], {})
    said = {
        name: value for name, value in args.items()
        if not any(value == one and type(value) is type(one) for one in empty)
    }  # fmt: skip
    for indent in (None, 1):
        text = json.dumps(args, indent=indent).replace("\n ", " ").replace("\n", "")
        assert json.loads(telling(text.replace("{ ", "{"))) == said
    assert telling(f"echo {json.dumps(args)}") == f"echo {json.dumps(args)}"


def test_its_timeline_shows_no_session_of_that_name_of_another_tenant(reader: Reader) -> None:
    row = ask.alert(reader, ALERT)
    assert timeline(reader, row).rows
    assert timeline(reader, row | {"tenant": "another"}).rows == []


def test_its_values_are_traced_to_the_answer_that_brought_them(alert: Page) -> None:
    found = {row["value"]: row["where from"] for row in rows(alert, "Where values came from")}
    assert found["https://paste.example/u"] == (
        f"answer of read_mail (event {plain_id('mail')[:12]}); the user never named it"
    )
    assert found[f"‹secret:api_key:{'5f2c90aa17d3'}›"].startswith("answer of read_file")


def test_it_names_other_agents_that_met_what_was_brought_in(alert: Page) -> None:
    found = {row["touched"]: row for row in rows(alert, "Who else")}
    assert found["https://paste.example/u"]["of these"] == SHOP


def test_it_says_what_to_do_what_was_told_and_what_was_not_seen(alert: Page) -> None:
    [told] = rows(alert, "What to do")
    assert (told["directive"], told["answer"]) == ("capture", "applied")
    steps = section(alert, "What to do")[1].lines
    assert steps[0].startswith("Revoke the key that was read")
    assert f"tacho session {ATTACK}" in steps
    assert "tacho query value-journey -p value=https://paste.example/u" in steps
    unseen = section(alert, "What was not seen")[0].lines
    assert "3 late actions of this agent stood outside its windows" in unseen
    assert "state: goals: not published by the agent" in unseen
    assert "dropped: late: 2 from detect, in these hours" in unseen
    assert "posts told to come again later (429): 3 by serve, in these hours" in unseen
    # A destination was not sent them; they were seen all the same.
    assert not [line for line in unseen if "filtered" in line]


def test_an_alert_without_state_says_why_and_shows_what_people_said(reader: Reader) -> None:
    page = page_of("alert", reader, plain_id("alert of the shop"))
    [state] = [one for one in page.sections if one.title == "Captured state"]
    assert (state.filled, state.empty) == ([], "the session is no longer held")
    [said] = rows(page, "What people said")
    assert (said["by"], said["disposition"], said["note"]) == ("ann", "false_positive", "a drill")


def test_a_sessions_page_holds_the_conversation_with_the_judged_turns_marked(
    reader: Reader,
) -> None:
    page = page_of("session", reader, ATTACK)
    [talk] = section(page, "Conversation")
    assert isinstance(talk, Talk)
    assert [who for _, who, _ in talk.turns][3:5] == ["assistant calls read_mail", "tool read_mail"]
    assert talk.marked == [3, 4]
    assert [row["alert"] for row in rows(page, "Alerts")] == [ALERT]
    assert {row["what"] for row in rows(page, "What it touched")} >= {"paste.example", "http_post"}


def test_an_agents_page_says_who_it_is_what_it_touches_and_whom_it_sent(reader: Reader) -> None:
    page = page_of("agent", reader, HELPER)
    [about] = section(page, "Who it is")
    assert isinstance(about, Facts)
    assert dict(about.rows)["actions"] == "6 in 1 sessions, 1 failed or denied, 0 late"
    assert page.severity == "critical"
    touched = {(row["kind"], row["what"]) for row in rows(page, "What it touches")}
    assert {("delegated_to", SHOP), ("secret", "5f2c90aa17d3")} <= touched
    mismatch = dict(section(page_of("agent", reader, SHOP), "Who it is")[0].rows)["identity"]
    assert mismatch == "asserted, 1 by someone who may not speak for it"


def test_an_agents_page_shows_its_newest_hour_beside_what_was_usual(reader: Reader) -> None:
    told = {
        row["measure"]: row for row in rows(page_of("agent", reader, HELPER), "Beside its usual")
    }
    # A denied call and one that went out, in an hour before which nothing is known.
    assert told["failures (actions)"]["newest hour"] == "1"
    assert told["bytes_out (bytes)"]["newest hour"] == "1,184"
    assert told["acts (actions)"]["usual"] == "not known yet"


class _OfTwo:
    """A reader of a store in which a second tenant has whatever the first has."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def rows(self, sql: str, values: Any = None) -> list[dict[str, Any]]:
        found = self._reader.rows(sql, values)
        if sql.startswith("SELECT DISTINCT tenant") and not values["tenant"]:
            return [*found, {"tenant": "another"}]
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


@pytest.mark.parametrize(("kind", "name"), [("agent", HELPER), ("session", ATTACK)])
def test_an_id_of_two_tenants_is_asked_for_and_never_shown_as_one(
    reader: Reader, kind: Any, name: str
) -> None:
    of_two: Any = _OfTwo(reader)
    with pytest.raises(
        ConfigError, match=r"several tenants.*\n  --tenant acme\n  --tenant another"
    ):
        page_of(kind, of_two, name)
    assert page_of(kind, of_two, name, "acme") == page_of(kind, reader, name)


@pytest.mark.parametrize(("verb", "name"), [("agent", HELPER), ("session", ATTACK)])
def test_a_page_of_a_tenant_shows_nothing_of_another(tacho: Tacho, verb: str, name: str) -> None:
    assert tacho(verb, name, "--tenant", "acme").exit_code == 0
    elsewhere = tacho(verb, name, "--tenant", "another")
    assert elsewhere.exit_code
    assert f"no {verb} begins with" in str(elsewhere.exception or elsewhere.output)


def test_what_an_agent_touched_is_cut_kind_by_kind_and_says_so(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows(page_of("agent", reader, HELPER), "What it touches")
    monkeypatch.setattr(agent, "SHOWN_TOUCHED", 1)
    cut = rows(page_of("agent", reader, HELPER), "What it touches")
    kinds = [row["kind"] for row in whole]
    assert [row["what"] for row in cut if row["what"].startswith("…")] == [
        f"… {kinds.count(kind) - 1} more" for kind in sorted(set(kinds)) if kinds.count(kind) > 1
    ]
    assert {row["kind"] for row in cut} == set(kinds)


def test_a_course_of_hours_is_a_bar_for_each() -> None:
    hours = np.array([100, 101, 103, 147])
    assert sparkline(hours, [1, 8, 0, 4]) == "▁█" + " " * 45 + "▄"


@pytest.mark.parametrize("kind", ["alert", "session", "agent"])
def test_a_terminal_is_never_spoken_to_by_what_an_agent_wrote(tacho: Tacho, kind: str) -> None:
    shown = tacho(kind, {"alert": ALERT, "session": ATTACK, "agent": HELPER}[kind]).output
    assert "\x1b" not in shown
    assert kind != "session" or "·[2Jعاجل <b>now</b>" in shown


class Parsed(HTMLParser):
    """Tags and attributes of a file."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, set[str]] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")


@pytest.mark.parametrize("kind", ["alert", "session", "agent"])
def test_the_html_file_asks_nobody_for_anything_and_runs_nothing(
    tacho: Tacho, kind: str, tmp_path: Path
) -> None:
    file = tmp_path / "page.html"
    of = {"alert": ALERT, "session": ATTACK, "agent": HELPER}[kind]
    assert tacho(kind, of, "--html", str(file)).output == f"written to {file}\n"
    text = file.read_text("utf-8")
    parsed = Parsed(text)
    assert set(parsed.tags) <= {
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "p",
        "section",
        "table",
        "tr",
        "th",
        "td",
        "ul",
        "li",
        "div",
        "b",
        "span",
        "figure",
        "figcaption",
        "svg",
        "line",
        "rect",
        "path",
        "text",
    }
    assert not {"src", "href", "style", "onclick", "action"} & set(parsed.attributes)
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    [policy] = [one for one in parsed.attributes["content"] if "default-src" in one]
    assert policy.startswith("default-src 'none';")
    assert f"style-src 'sha256-{digest}'" in policy
    assert "\x1b" not in text
    assert ("&lt;script&gt;alert(1)&lt;/script&gt;" in text) == (kind != "nothing")


def test_a_program_gets_the_page_as_json(tacho: Tacho) -> None:
    page = json.loads(tacho("alert", ALERT[:10], "--json").output)
    assert (page["kind"], page["id"], page["severity"]) == ("alert", ALERT, "critical")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("alert", "zz"), "alerts-open"),
        (("session", "re"), "begins several ids; say more of the one:\n  rel-7  release-bot"),
        (("agent", "no\x1bbody"), "no agent begins with 'no·body'"),
        (("agent", HELPER, "--html", "/nowhere/x"), "--html /nowhere/x"),
    ],
)
def test_an_id_that_fits_none_or_several_says_what_to_do(
    tacho: Tacho, words: tuple[str, ...], said: str
) -> None:
    error = tacho(*words).exception
    assert isinstance(error, ConfigError)
    assert said in str(error)


def test_an_id_that_is_whole_is_meant_though_it_begins_another(tacho: Tacho) -> None:
    assert "agent report-bot" in tacho("agent", "report-bot").output
    assert "session rep-2" in tacho("session", "rep-2").output


def test_what_is_whole_is_never_sought_by_its_beginning(reader: Reader) -> None:
    assert ask.one(reader, "session", ATTACK, whole=True) == ATTACK
    assert ask.one(reader, "session", ATTACK[:-1]) == ATTACK
    with pytest.raises(ConfigError, match="no session begins with"):
        ask.one(reader, "session", ATTACK[:-1], whole=True)


def test_an_incident_joins_agents_by_the_mail_that_came_to_both(tacho: Tacho) -> None:
    page = json.loads(tacho("incident", ALERT[:12], "--json").output)
    blocks = {one["title"]: one["blocks"] for one in page["sections"]}
    [joins] = blocks["What joins them"]
    shared = {row[0]: row[1] for row in joins["rows"]}
    assert shared["content"].startswith("“Invoice 4711 is attached.")
    others = dict(zip(joins["columns"], joins["rows"][0], strict=True))
    assert others["agents that touched it"] == "2"
    [alerts] = blocks["Alerts"]
    assert {row[1] for row in alerts["rows"]} == {ALERT, plain_id("alert of the shop")}
    assert page["id"] == ALERT, "the earliest alert gives the name"


def test_agents_of_other_tenants_are_not_counted_among_those_that_touched_it(
    reader: Reader,
) -> None:
    elsewhere = incident.one(reader, ALERT) | {"tenant": "another"}
    joins, told = section(incident.page(reader, elsewhere), "What joins them")
    assert joins.rows
    # A column of which nothing is known is not shown.
    assert "agents that touched it" not in joins.columns
    assert "were not counted" in told.lines[0]


def test_what_an_action_says_beside_what_it_is_counted_by_is_counted_too(reader: Reader) -> None:
    """A credential that has an id is joined by its fingerprint too, a host by its address."""
    joins = [
        {"kind": kind, "value": value, "rule_id": "r", "alerts": 2, "agents": 2, "refused": ""}
        for kind, value in (
            ("credential", "key-billing"), ("credential", "f00dfeed"),
            ("target", "paste.example"), ("target", "198.51.100.7"),
        )
    ]  # fmt: skip
    [shown] = section(
        incident.page(reader, incident.one(reader, ALERT) | {"joins": joins}), "What joins them"
    )
    touched = [row[shown.columns.index("agents that touched it")] for row in shown.rows]
    assert touched == ["2", "1", "1", "1"]


def test_of_a_value_are_counted_all_that_met_the_whole_of_it(reader: Reader) -> None:
    """However it is written; and where it is not found as often as alerts rest on it, nobody."""
    joins = [
        {"kind": kind, "value": value, "rule_id": "r", "alerts": 2, "agents": 1, "refused": ""}
        for kind, value in (
            ("value", "PASTE.example/u"), ("value", "https://paste.example/u, .env.prod"),
            ("value", "nobody@met.example"), ("secret", "‹secret:api_key:5f2c90aa17d3›"),
        )
    ]  # fmt: skip
    shown, told = section(
        incident.page(reader, incident.one(reader, ALERT) | {"joins": joins}), "What joins them"
    )
    touched = [row[shown.columns.index("agents that touched it")] for row in shown.rows]
    assert touched == ["2", "1", "", "2"]
    assert "were not counted" in told.lines[0]


def test_the_incident_of_any_of_its_alerts_is_the_same_page(tacho: Tacho, tmp_path: Path) -> None:
    one, other = (tmp_path / name for name in ("one.html", "other.html"))
    tacho("incident", ALERT, "--html", str(one))
    tacho("incident", plain_id("alert of the shop"), "--html", str(other))
    assert one.read_text() == other.read_text()
    listed = tacho("incident", "list").output
    assert ALERT[:12] in listed
    assert "content" in listed


def test_the_quality_of_rules_is_a_table_for_people_and_more_for_programs(tacho: Tacho) -> None:
    shown = tacho("rules", "quality").output
    assert "secret-then-egress" in shown
    assert "undecided" in shown
    for_program = json.loads(tacho("rules", "quality", "--format", "json").output)
    found = {row["rule_id"]: row["false_positives"] for row in for_program}
    assert found["instruction-in-tool-result"] == 1
