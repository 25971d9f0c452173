"""Views with analysts' questions in their names answer them, over the world."""

from collections.abc import Iterator
from typing import Any

import pytest

from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.schemas.identity import plain_id
from tests.pipeline.world import ATTACK, CODER, HELPER, NIGHT, SHOP, TENANT


@pytest.fixture(scope="module")
def reader(world: ClickHouseSettings) -> Iterator[Reader]:
    with Reader(world) as reader:
        yield reader


def ask(reader: Reader, sql: str, **values: str) -> list[Any]:
    """The rows of a query, as lists of values."""
    return [list(row.values()) for row in reader.rows(sql, values)]


def test_an_agents_timeline_has_what_it_did_and_what_was_said_of_it_in_order(
    reader: Reader,
) -> None:
    rows = ask(
        reader,
        "SELECT what, kind, id FROM tacho.agent_timeline WHERE agent_id = {agent:String}"
        " ORDER BY time, what",
        agent=HELPER,
    )
    assert [what for what, _, _ in rows if what == "action"] == ["action"] * 6
    assert {what for what, _, _ in rows} == {"action", "signal", "alert", "state", "directive"}
    assert rows[0] == ["action", "prompt", plain_id("ask")]
    assert rows[-1][0] == "directive"


def test_a_session_reads_as_a_conversation(reader: Reader) -> None:
    rows = ask(
        reader,
        "SELECT speaker, tool_name, text FROM tacho.session_conversation"
        " WHERE session_id = {session:String} ORDER BY time, part",
        session=ATTACK,
    )
    assert [(speaker, tool) for speaker, tool, _ in rows] == [
        ("user", ""),
        ("user", ""),
        ("assistant", ""),
        ("assistant", "read_mail"),
        ("tool", "read_mail"),
        ("assistant", "read_file"),
        ("assistant", "read_file"),
        ("tool", "read_file"),
        ("assistant", "http_post"),
    ]
    assert [text for _, _, text in rows[:3]] == [
        "Reconcile the invoices, please.",
        "Reconcile",
        "Mail",
    ]


def touched(reader: Reader, who: str, value: str) -> set[tuple[str, str]]:
    rows = ask(
        reader,
        f"SELECT touched_type, touched FROM tacho.blast_radius WHERE {who} = {{value:String}}",
        value=value,
    )
    return {(kind, what) for kind, what in rows}


def test_the_blast_radius_of_an_agent_is_all_it_touched_and_all_it_delegated_to(
    reader: Reader,
) -> None:
    assert touched(reader, "agent_id", HELPER) == {
        ("tool", "read_mail"), ("tool", "read_file"), ("tool", "http_post"),
        ("tool_server", "mail.acme.example"), ("host", "paste.example"),
        ("file", "/srv/billing/.env"), ("file", "/srv/billing/.env.prod"),
        ("credential", "key-billing"), ("secret", "5f2c90aa17d3"), ("model", "model-a"),
        ("delegated_to", SHOP),
    }  # fmt: skip


def test_the_blast_radius_of_a_credential_is_all_that_was_done_with_it(reader: Reader) -> None:
    assert touched(reader, "credential", "key-billing") >= {
        ("tool", "read_file"), ("tool", "list_orders"), ("file", "/srv/billing/.env"),
    }  # fmt: skip
    assert ("host", "paste.example") not in touched(reader, "credential", "key-billing")


def test_who_else_touched_a_thing_is_told_with_who_has_alerts(reader: Reader) -> None:
    rows = ask(
        reader,
        "SELECT agent_id, actions, has_alerts FROM tacho.who_else"
        " WHERE touched_type = 'secret' AND touched = {value:String} ORDER BY agent_id",
        value="5f2c90aa17d3",
    )
    assert [(agent, int(n), bool(has)) for agent, n, has in rows] == [
        (HELPER, 2, True),
        (CODER, 1, False),
    ]


def test_first_and_last_seen_say_who_began(reader: Reader) -> None:
    [row] = ask(
        reader,
        "SELECT first_agent, first_tool, agents FROM tacho.first_and_last_seen"
        " WHERE touched = {value:String} AND tenant = {tenant:String}",
        value="read_mail",
        tenant=TENANT,
    )
    assert [row[0], row[1], int(row[2])] == [HELPER, "read_mail", 2]


def test_rates_stand_beside_what_is_usual_and_add_up_to_the_actions(reader: Reader) -> None:
    where = f"WHERE agent_id = '{NIGHT}'"
    [[counted, usual]] = ask(
        reader, f"SELECT sum(actions) AS n, any(usual) AS u FROM tacho.agent_rates {where}"
    )
    [[stored]] = ask(reader, f"SELECT count() AS n FROM tacho.actions {where}")
    assert int(counted) == int(stored)
    assert usual == 1


def test_a_rule_has_the_precision_of_what_people_said(reader: Reader) -> None:
    rows = ask(
        reader,
        "SELECT rule_id, alerts, alone, open, false_positives, precision, verdict"
        " FROM tacho.rule_quality WHERE tenant = {tenant:String} ORDER BY rule_id",
        tenant=TENANT,
    )
    assert [[str(value) for value in row] for row in rows] == [
        ["credential-file-sweep", "1", "0", "1", "0", "None", "undecided"],
        ["instruction-in-tool-result", "2", "1", "1", "1", "0", "undecided"],
        ["secret-then-egress", "1", "0", "1", "0", "None", "undecided"],
    ]


def test_what_was_dropped_late_or_refused_is_counted_where_it_was(reader: Reader) -> None:
    rows = ask(reader, "SELECT what, source, count FROM tacho.dropped_or_late ORDER BY what")
    assert [[what, source, int(n)] for what, source, n in rows] == [
        ["dropped: filtered", "forward.siem", 4],
        ["dropped: late", "detect", 2],
        ["dropped: turned_away", "serve", 3],
        ["far", "sdk", 1],
        ["late", "sdk", 1],
        ["refused: truncated", "agent.raw", 1],
    ]
