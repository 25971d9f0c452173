"""What an analyst asks through the views reads a small part of the table."""

import re
from collections.abc import Iterator

import clickhouse_connect
import pytest

from tachograph.pipeline.store.clickhouse import Connection
from tachograph.schemas.identity import plain_id
from tests.pipeline.store.conftest import Ask
from tests.warehouse import migrated, writer_of

AGENTS, PER_AGENT = 40, 4_000
# An agent a partition key, a session for a hundred actions, a quarter of an hour for each agent.
FILL = f"""
INSERT INTO tacho.actions_data
    (event_id, tenant, partition_key, agent_id, event_time, observed_time, session_id, trace_id,
     tool_name, tool_args, content_text)
SELECT lower(hex(MD5(toString(number)))), 'acme', concat('svc-', agent), concat('agent-', agent),
    toDateTime64('2026-11-16 00:00:00', 6, 'UTC') + toIntervalMillisecond(number * 3600) AS at, at,
    concat('conv-', toString(intDiv(number, 100))), lower(hex(MD5(toString(intDiv(number, 20))))),
    if(agent = '7', 'rare_tool', 'common_tool'),
    concat('{{"path": "/srv/', toString(number), '"}}'),
    if(number = 12345, 'the word Xylophone stands here', 'nothing of note')
FROM (SELECT number, toString(intDiv(number, {PER_AGENT})) AS agent
      FROM numbers({AGENTS * PER_AGENT}))
"""
QUESTIONS = {
    "agent and time": "agent_id = 'agent-7' AND event_time BETWEEN '2026-11-17 05:00:00'"
    " AND '2026-11-17 06:00:00'",
    "time": "event_time BETWEEN '2026-11-17 05:00:00' AND '2026-11-17 06:00:00'",
    "tenant and agent": "tenant = 'acme' AND agent_id = 'agent-7'",
    "session": "session_id = 'conv-123'",
    "trace": "trace_id = (SELECT lower(hex(MD5('617'))))",
    "event": f"event_id = '{plain_id('x')}'",
    "tool": "tool_name = 'rare_tool'",
    "words in arguments": "hasToken(tool_args, '12345')",
    "words in content": "hasAllTokens(content_text, 'xylophone')",
    "another tenant": "tenant = 'other'",
    "another week": "event_time > '2026-12-20 00:00:00'",
}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with migrated(tmp_path_factory.mktemp("clickhouse")) as server:
        with Connection(writer_of(server)) as connection:
            connection.command(FILL)
        host, port = server.url.removeprefix("http://").split(":")
        client = clickhouse_connect.get_client(host=host, port=int(port))
        yield lambda query: [tuple(row) for row in client.query(query).result_rows]
        client.close()


def granules(ask: Ask, where: str) -> tuple[int, int]:
    """(granules that are read, granules there are) of a question to tacho.actions."""
    plan = ask(f"EXPLAIN indexes = 1 SELECT tool_name FROM tacho.actions WHERE {where}")
    found = re.findall(r"Granules: (\d+)/(\d+)", "\n".join(str(row[0]) for row in plan))
    return int(found[-1][0]), int(found[0][1])


@pytest.mark.parametrize("where", QUESTIONS.values(), ids=list(QUESTIONS))
def test_a_filter_reaches_the_indexes_through_the_view(ask: Ask, where: str) -> None:
    read, there = granules(ask, where)
    assert there >= AGENTS * PER_AGENT // 8192
    assert read <= there // 3, f"{read} of {there} granules"


def test_pruned_questions_find_what_they_should(ask: Ask) -> None:
    count = "SELECT count() FROM tacho.actions WHERE "
    assert ask(count + QUESTIONS["session"]) == [(100,)]
    assert ask(count + QUESTIONS["trace"]) == [(20,)]
    assert ask(count + QUESTIONS["tool"]) == [(PER_AGENT,)]
    assert ask(count + QUESTIONS["words in content"]) == [(1,)]
    assert ask(count + QUESTIONS["words in arguments"]) == [(1,)]


def test_words_are_found_whatever_their_case(ask: Ask) -> None:
    count = "SELECT count() FROM tacho.actions WHERE "
    for written in ("xylophone", "Xylophone", "XYLOPHONE"):
        assert ask(count + f"hasAllTokens(content_text, '{written}')") == [(1,)], written


def test_a_question_joins_nothing(ask: Ask) -> None:
    plan = ask("EXPLAIN SELECT * FROM tacho.actions WHERE session_id = 'conv-1'")
    assert not [row for row in plan if "Join" in str(row[0])]
