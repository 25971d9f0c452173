"""Hunts run with their defaults, find what is there and give what they promise."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.query.hunts import (
    RISK_CATEGORIES,
    Hunt,
    found,
    hunts,
    parsed,
    placeholders,
    values,
)
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.rollups import roll_up

HUNTS = list(hunts().values())
# The world is as old as the test: whether it is night there, nobody knows.
GIVEN = {"at-night": ["to_hour=0"]}
KEYS = (
    "partition_key IN (SELECT partition_key FROM tacho.actions_data WHERE agent_id ="
    " {agent:String})"
)
TEXT = """/*
description = "Actions of an agent."
risk_categories = ["governance"]

[parameters.agent]
type = "String"
default = ""
description = "whose"

[example]
n = 3
*/
SELECT count() AS n FROM tacho.actions WHERE agent_id = {agent:String};
"""


@pytest.fixture(scope="module")
def reader(world: ClickHouseSettings) -> Iterator[Reader]:
    with Reader(world) as reader:
        yield reader


def test_each_risk_category_is_served_by_several_hunts() -> None:
    served = Counter(category for hunt in HUNTS for category in hunt.risk_categories)
    assert set(served) == set(RISK_CATEGORIES)
    assert min(served.values()) >= 4
    assert len(HUNTS) >= 25


@pytest.mark.parametrize("hunt", HUNTS, ids=lambda hunt: hunt.name)
def test_a_hunt_finds_something_in_the_world_and_gives_the_columns_of_its_example(
    reader: Reader, hunt: Hunt
) -> None:
    defaults = {one.name: one.default for one in hunt.parameters}
    rows = reader.rows(hunt.sql, values(hunt.sql, GIVEN.get(hunt.name, []), defaults))
    assert rows
    assert list(rows[0]) == hunt.columns


@pytest.mark.parametrize("hunt", [h for h in HUNTS if KEYS in h.sql], ids=lambda hunt: hunt.name)
def test_naming_the_keys_of_an_agent_changes_no_answer(reader: Reader, hunt: Hunt) -> None:
    wide = re.sub(rf"\s+AND {re.escape(KEYS)}", "", hunt.sql)
    assert wide != hunt.sql
    answers = 0
    for agent in reader.rows("SELECT DISTINCT agent_id FROM tacho.actions ORDER BY agent_id"):
        given = {one.name: one.default for one in hunt.parameters} | {"agent": agent["agent_id"]}
        rows = reader.rows(hunt.sql, given)
        assert rows == reader.rows(wide, given)
        answers += len(rows)
    assert answers


@pytest.mark.parametrize("whose", ["agent", "principal", "credential"])
def test_a_blast_radius_is_all_that_its_view_knows(reader: Reader, whose: str) -> None:
    hunt = found("blast-radius")
    column = {"credential": "credential"}.get(whose, f"{whose}_id")
    some = reader.rows(f"SELECT DISTINCT {column} AS one FROM tacho.blast_radius WHERE one != ''")
    assert some
    defaults = {one.name: one.default for one in hunt.parameters}
    for row in some:
        rows = reader.rows(hunt.sql, {**defaults, whose: row["one"]})
        agents = [set(row.pop("agents")) for row in rows]
        told = reader.rows(
            "SELECT touched_type, touched, sum(t.actions) AS actions, sum(t.not_done) AS not_done,"
            " sum(t.bytes_out) AS bytes_out, groupUniqArray(agent_id) AS agents,"
            " min(t.first_seen) AS first_seen, max(t.last_seen) AS last_seen,"
            " count() OVER (PARTITION BY touched_type) AS different FROM tacho.blast_radius AS t"
            f" WHERE {column} = {{one:String}} GROUP BY touched_type, touched"
            " ORDER BY touched_type, actions DESC, touched",
            row,
        )
        assert agents == [set(row.pop("agents")) for row in told]
        assert rows == told


def test_a_blast_radius_is_the_same_before_some_and_all_hours_are_rolled_up(
    reader: Reader, world_writer: ClickHouseSettings
) -> None:
    hunt = found("blast-radius")
    defaults = {one.name: one.default for one in hunt.parameters}
    asked = (
        {"agent": "billing-helper"}, {"agent": "report-bot"}, {"principal": "dana@acme.example"},
        {"credential": "key-billing"}, {"agent": "shop-assistant", "credential": "key-billing"},
    )  # fmt: skip

    def told() -> list[list[dict[str, Any]]]:
        answers = [reader.rows(hunt.sql, defaults | given) for given in asked]
        return [[row | {"agents": sorted(row["agents"])} for row in rows] for rows in answers]

    before = told()
    assert all(before)
    with Connection(world_writer) as connection:
        for share in ((0, 2), (1, 2)):
            assert roll_up(connection, settled_s=0, share=share) > 0
            assert told() == before


def test_what_a_blast_radius_does_not_show_is_counted(reader: Reader) -> None:
    hunt = found("blast-radius")
    given = {one.name: one.default for one in hunt.parameters} | {"agent": "billing-helper"}
    whole = Counter(row["touched_type"] for row in reader.rows(hunt.sql, given))
    assert max(whole.values()) > 1
    cut = reader.rows(hunt.sql, given | {"each": "1"})
    assert {row["touched_type"]: int(row["different"]) for row in cut} == whole
    assert len(cut) == len(whole)
    assert reader.rows(hunt.sql, given | {"tenant": "nobody"}) == []


def test_texts_that_are_not_counted_came_to_no_more_agents_than_is_said(reader: Reader) -> None:
    # Text n came to n % 41 + 1 agents, of which three have alerts where n < 260.
    came = """(
        SELECT 'acme' AS tenant, toStartOfDay(now('UTC')) AS day, toStartOfHour(now('UTC')) AS hour,
            cityHash64(number) % 17592186044416 AS text, agent_id, '' AS partition_key, number AS n
        FROM numbers(1200)
        ARRAY JOIN arrayMap(one -> concat('agent', toString(one)), range(n % 41 + 1)) AS agent_id
    )"""
    hunt = found("same-text-many-agents")
    sql = hunt.sql[: hunt.sql.index("SELECT\n    if(tool_result_hash")]
    sql = sql.replace("tacho.texts_by_hour", came)
    sql = re.sub(r"agent_id IN \(SELECT agent_id.*\) AS alerted", "n < 260 AND agent_id IN"
                 " ('agent0', 'agent1', 'agent2') AS alerted", sql)  # fmt: skip
    [row] = reader.rows(f"{sql} SELECT shared, most", {"hours": "1", "agents": "2"})
    counted = [(one[2], one[1]) for one in row["shared"]]
    told = sorted(
        ((min(n % 41 + 1, 3) if n < 260 else 0, n % 41 + 1) for n in range(1200) if n % 41),
        reverse=True,
    )
    assert counted == told[:100]
    most = [sorted(agents, reverse=True)[249] for agents in zip(*told, strict=True)]
    assert row["most"] == most


def test_a_conversation_is_all_that_was_said_in_the_session(reader: Reader) -> None:
    hunt = found("conversation")
    sessions = reader.rows("SELECT DISTINCT session_id FROM tacho.session_conversation")
    assert len(sessions) > 1
    for session in sessions:
        whole = reader.rows(
            f"SELECT {', '.join(hunt.columns)} FROM tacho.session_conversation"
            " WHERE session_id = {session_id:String} ORDER BY time, part LIMIT 2000",
            session,
        )
        assert reader.rows(hunt.sql, {"session": session["session_id"]}) == whole


@pytest.mark.parametrize("hunt", [h for h in HUNTS if h.plot], ids=lambda hunt: hunt.name)
def test_what_a_hunt_plots_are_columns_of_it(hunt: Hunt) -> None:
    assert hunt.plot is not None
    assert {hunt.plot.x, hunt.plot.y, hunt.plot.by or hunt.plot.x} <= set(hunt.columns)


def test_a_secret_is_followed_from_where_it_was_read_to_where_it_went(reader: Reader) -> None:
    hunt = found("value-journey")
    rows = reader.rows(hunt.sql, {"hours": "1", "value": "5f2c90aa17d3"})
    assert [(row["tool_name"], row["seen_in"]) for row in rows] == [
        ("read_file", "answer"),
        ("http_post", "arguments"),
        ("git_push", "target"),
    ]


def test_a_file_says_all_that_a_list_shows() -> None:
    hunt = parsed("count", TEXT)
    assert [one.name for one in hunt.parameters] == ["agent"]
    assert hunt.columns == ["n"]
    assert hunt.sql.endswith("{agent:String}")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("/*\n", "-- ", "begins with no"),
        ('type = "String"', 'type = "UInt8"', "differ in parameters"),
        ("{agent:String}", "{other:String}", "differ in parameters"),
        ('["governance"]', '["weather"]', "Invalid enum value"),
        ("description", "what", "unknown field"),
        ("[example]", "[example", "Expected"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_its_name(before: str, after: str, said: str) -> None:
    with pytest.raises(ConfigError, match=f"hunt odd: .*{said}"):
        parsed("odd", TEXT.replace(before, after, 1))


def test_a_name_that_is_not_there_names_those_near() -> None:
    with pytest.raises(ConfigError, match="action-rates"):
        found("actions-rate")


def test_braces_in_strings_and_comments_are_no_parameters() -> None:
    sql = "SELECT '{a:String}', {b:Array(String)}, /* {c:UInt8} */ {d : UInt8} -- {e:UInt8}"
    assert placeholders(sql) == {"b": "Array(String)", "d": "UInt8"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["b"], "write name=value"),
        (["b=1"], "no such parameter; it has a"),
        ([], "add --param a=…"),
        (["a=" + "x" * 70_000], "longer than"),
    ],
)
def test_parameters_that_do_not_fit_are_told(given: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        values("SELECT {a:String}", given, {})


@settings(max_examples=40, deadline=None)
@given(value=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_reaches_the_server_as_the_value_it_is(reader: Reader, value: str) -> None:
    told = values("SELECT {a:String} AS a", [f"a={value}"], {})
    assert reader.rows("SELECT {a:String} AS a", told) == [{"a": value}]
