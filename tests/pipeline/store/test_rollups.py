"""Roll-ups say what the actions say, to the unit, whatever was repeated, linked or late."""

import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
from tachograph.pipeline.store import tables_reached as by_agent
from tachograph.pipeline.store import tables_rollups as tables
from tachograph.pipeline.store import tables_texts as texts
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.rollups import Rolling, roll_up
from tachograph.pipeline.store.sink import Sink
from tests.pipeline.store.conftest import Ask
from tests.pipeline.store.samples import NOON, Feed, action, link
from tests.waiting import WAIT_S
from tests.warehouse import writer_of

Row = tuple[Any, ...]
TOOLS, AGENTS = ("mail", "shell", "web"), ("a", "b", "c")


@pytest.fixture(scope="module")
def connection(server: EmbeddedClickHouse) -> Iterator[Connection]:
    with Connection(writer_of(server)) as connection:
        yield connection


def touched(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT touched_type, touched, agent_id, toUInt64(sum(actions)), sum(not_done),"
        " sum(bytes_out), min(first_seen), max(last_seen), uniqExactArray(sessions),"
        " argMin(first_tool, first_seen)"
        f" FROM tacho.touches_by_hour WHERE tenant = '{tenant}' GROUP BY ALL ORDER BY ALL"
    )


def told(ask: Ask, tenant: str) -> list[Row]:
    """The same of the actions, by a query that knows nothing of roll-ups."""
    return ask(
        "SELECT touch.1, touch.2, agent_id, count(), countIf(outcome IN ('failed', 'denied')),"
        " sum(ifNull(tool_bytes_out, 0)), min(event_time), max(event_time), uniqExact(session_id),"
        " argMin(tool_name, (event_time, event_id)) FROM tacho.actions"
        " ARRAY JOIN arrayFilter(one -> one.2 != '', arrayConcat([('tool', tool_name),"
        " ('file', file_path), ('model', model_name), ('host', target_domain),"
        " ('credential', credential_id)],"
        " arrayMap(one -> ('recipient', one), recipients))) AS touch"
        f" WHERE tenant = '{tenant}' GROUP BY ALL ORDER BY ALL"
    )


def of_minutes(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT agent_id, minute, actions, not_done, bytes_out, tools, sessions, model_calls,"
        f" tokens_in, tokens_out FROM tacho.agent_minutes WHERE tenant = '{tenant}' ORDER BY ALL"
    )


def minutes_told(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT agent_id, toStartOfMinute(event_time) AS minute, count(),"
        " countIf(outcome IN ('failed', 'denied')), sum(ifNull(tool_bytes_out, 0)),"
        " uniqExactIf(tool_name, tool_name != ''), uniqExact(session_id),"
        " countIf(usage_input_tokens IS NOT NULL), sum(ifNull(usage_input_tokens, 0)), 0"
        f" FROM tacho.actions WHERE tenant = '{tenant}' GROUP BY agent_id, minute ORDER BY ALL"
    )


def denied(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT event_time, event_id, agent_id, session_id, tool_name, target, reason"
        f" FROM tacho.denials WHERE tenant = '{tenant}' ORDER BY ALL"
    )


def denied_told(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT event_time, event_id, agent_id, session_id, tool_name, file_path, 'denied'"
        f" FROM tacho.actions WHERE tenant = '{tenant}' AND outcome = 'denied' ORDER BY ALL"
    )


def delegated(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT agent_id, principal_id, credential, touched, actions, not_done, bytes_out,"
        f" first_seen, last_seen FROM tacho.blast_radius WHERE tenant = '{tenant}'"
        " AND touched_type = 'delegated_to' ORDER BY ALL"
    )


def delegated_told(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT boss, principal_id, credential_id, agent_id, count(),"
        " countIf(outcome IN ('failed', 'denied')), sum(ifNull(tool_bytes_out, 0)),"
        " min(event_time), max(event_time) FROM tacho.actions"
        " ARRAY JOIN arrayDistinct(arrayPushBack(delegation_chain, parent_agent_id)) AS boss"
        f" WHERE tenant = '{tenant}' AND boss NOT IN ('', agent_id) GROUP BY ALL ORDER BY ALL"
    )


def begun(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT touched_type, touched, hour, min(first_seen) FROM tacho.destinations"
        f" WHERE tenant = '{tenant}' GROUP BY ALL ORDER BY ALL"
    )


def begun_told(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT touch.1, touch.2, toStartOfHour(event_time), min(event_time) FROM tacho.actions"
        " ARRAY JOIN arrayConcat([('host', target_domain)], arrayMap(one -> ('recipient', one),"
        f" recipients)) AS touch WHERE tenant = '{tenant}' AND touch.2 != ''"
        " GROUP BY ALL ORDER BY ALL"
    )


def came(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT DISTINCT hour, day, text, agent_id, partition_key FROM tacho.texts_by_hour"
        f" WHERE tenant = '{tenant}' ORDER BY ALL"
    )


def came_told(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT DISTINCT toStartOfHour(event_time) AS hour, toStartOfDay(hour),"
        " bitShiftRight(cityHash64(tenant, tool_result_hash), 20), agent_id, partition_key"
        f" FROM tacho.actions WHERE tenant = '{tenant}' AND tool_result_hash != ''"
        " AND ifNull(tool_result_bytes, 41) > 40 ORDER BY ALL"
    )


def reached(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT agent_id, principal_id, credential, partition_key, touched_type, touched,"
        " actions, not_done, bytes_out, first_seen, last_seen FROM tacho.blast_radius"
        f" WHERE tenant = '{tenant}' AND touched_type != 'delegated_to' ORDER BY ALL"
    )


def reached_told(ask: Ask, tenant: str) -> list[Row]:
    return ask(
        "SELECT agent_id, principal_id, credential_id, partition_key, touch.1, touch.2, count(),"
        " countIf(outcome IN ('failed', 'denied')), sum(ifNull(tool_bytes_out, 0)),"
        " min(event_time), max(event_time) FROM tacho.actions"
        " ARRAY JOIN arrayFilter(one -> one.2 != '', arrayConcat([('tool', tool_name),"
        " ('file', file_path), ('host', target_domain), ('credential', credential_id)],"
        " arrayMap(one -> ('recipient', one), recipients))) AS touch"
        f" WHERE tenant = '{tenant}' GROUP BY ALL ORDER BY ALL"
    )


def agree(ask: Ask, tenant: str) -> None:
    assert reached(ask, tenant) == reached_told(ask, tenant)
    assert came(ask, tenant) == came_told(ask, tenant)
    assert delegated(ask, tenant) == delegated_told(ask, tenant)
    assert begun(ask, tenant) == begun_told(ask, tenant)
    assert denied(ask, tenant) == denied_told(ask, tenant)
    assert touched(ask, tenant) == told(ask, tenant)
    assert of_minutes(ask, tenant) == minutes_told(ask, tenant)


def rolled(connection: Connection, tenant: str) -> int:
    """Actions of a tenant that stand in rows of the roll-up, in force or not."""
    sql = f"SELECT sum(actions) FROM tacho.minutes_data WHERE tenant = '{tenant}'"
    return int(connection.rows(sql)[0][0])


_ACTIONS = st.lists(
    st.builds(
        lambda number, half_hours, tool, agent, outcome, sent, tokens: {
            "number": number, "event_time": NOON + timedelta(minutes=half_hours * 30),
            "tool_name": TOOLS[tool], "agent_id": AGENTS[agent], "outcome": outcome,
            "tool_bytes_out": sent, "usage_input_tokens": tokens, "file_path": f"/{number % 3}",
            "trace_id": f"trace-{agent}", "twin_key": f"twin-{number % 4}" if tool else None,
            "source_id": TOOLS[tool], "parent_agent_id": AGENTS[number % 3],
            "delegation_chain": list(AGENTS[: number % 4]) + ["d"] * (number % 2),
            "target_domain": f"host{number % 2}.example" if tool else None,
            "recipients": [AGENTS[number % 3]] * (number % 3),
            "tool_result_hash": f"text-{number % 3}" if number % 4 else None,
            "tool_result_bytes": tokens and tokens * 10,
            "principal_id": f"user-{number % 2}", "credential_id": f"key-{sent}" if sent else None,
        },
        st.integers(0, 9), st.integers(0, 5), st.integers(0, 2), st.integers(0, 2),
        st.sampled_from(["succeeded", "failed", "denied"]),
        st.one_of(st.none(), st.integers(0, 9)), st.one_of(st.none(), st.integers(0, 9)),
    ),
    max_size=6,
)  # fmt: skip
_STEPS = st.lists(
    st.one_of(_ACTIONS, st.sampled_from(["again", "link", "roll"])), min_size=3, max_size=9
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS, run=st.uuids())
def test_whatever_is_stored_linked_repeated_or_rolled_up_between_the_views_say_what_the_actions_say(
    sink: Sink, ask: Ask, connection: Connection, steps: list[Any], run: Any
) -> None:
    tenant = f"t-{run.hex}"
    feed, last = Feed(tenant), [action(tenant, f"{tenant}-first", tool_name="mail")]
    sink.store(feed.batch(last))
    for step in steps:
        if step == "roll":
            roll_up(connection, settled_s=0)
        elif step == "link":
            sink.store(feed.batch(link(tenant, "trace-1", "talk", agent_id="d")))
        elif step == "again":
            sink.store(feed.batch(last))
        elif step:
            last = [
                action(
                    # What an id is made of it says: no copy of a denied action says otherwise.
                    tenant, f"{tenant}-{row['number']}-{row['event_time']}-{row['outcome']}",
                    **{name: value for name, value in row.items() if name != "number"},
                )
                for row in step
            ]  # fmt: skip
            sink.store(feed.batch(last))
    agree(ask, tenant)
    roll_up(connection, settled_s=0)
    agree(ask, tenant)


def test_an_hour_that_is_rolled_up_is_read_from_the_roll_up_alone(
    sink: Sink, ask: Ask, connection: Connection, tenant: str
) -> None:
    sink.store(Feed(tenant).batch([action(tenant, "a", tool_name="mail")]))
    assert rolled(connection, tenant) == 0
    assert roll_up(connection, settled_s=0) >= 1
    assert rolled(connection, tenant) == 1
    before = touched(ask, tenant)
    # What stands in the roll-up is what is said: a number that no action accounts for shows it.
    connection.command(
        "INSERT INTO tacho.touched_data SELECT * REPLACE (7 AS actions, 'other' AS touched)"
        f" FROM tacho.touched_data WHERE tenant = '{tenant}'"
    )
    assert [row[3] for row in touched(ask, tenant)] == [row[3] for row in before] + [7]
    assert roll_up(connection, settled_s=0) == 0


def test_what_an_agent_reached_is_read_from_its_roll_up_alone_where_there_is_one(
    sink: Sink, ask: Ask, connection: Connection, tenant: str
) -> None:
    fields = {"principal_id": "user-1", "credential_id": "key-1", "tool_name": "mail"}
    sink.store(Feed(tenant).batch([action(tenant, "a", **fields)]))
    roll_up(connection, settled_s=0)
    before = reached(ask, tenant)
    connection.command(
        f"ALTER TABLE tacho.actions_data DELETE WHERE tenant = '{tenant}'"
        " SETTINGS mutations_sync = 2"
    )
    assert reached(ask, tenant) == before != []


def test_an_hour_in_which_something_was_just_stored_is_not_rolled_up_yet(
    sink: Sink, ask: Ask, connection: Connection, tenant: str
) -> None:
    sink.store(Feed(tenant).batch([action(tenant, "a", tool_name="mail")]))
    assert roll_up(connection, settled_s=3_600) == 0
    assert rolled(connection, tenant) == 0
    agree(ask, tenant)


def test_what_was_cut_off_before_it_was_noted_counts_nothing(
    sink: Sink, ask: Ask, connection: Connection, tenant: str
) -> None:
    sink.store(Feed(tenant).batch([action(tenant, "a", tool_name="mail")]))
    roll_up(connection, settled_s=0)
    connection.command(
        "INSERT INTO tacho.touched_data SELECT * REPLACE"
        " (rolled_to + toIntervalSecond(1) AS rolled_to, 'half' AS touched)"
        f" FROM tacho.touched_data WHERE tenant = '{tenant}'"
    )
    agree(ask, tenant)


def test_names_of_agents_and_keys_come_back_from_the_roll_up_as_they_are(
    sink: Sink, ask: Ask, connection: Connection, tenant: str
) -> None:
    rows = [
        action(
            tenant, f"{tenant}-{at}", tool_result_hash="one", agent_id=name,
            partition_key=name[::-1],
        )
        for at, name in enumerate(("a b", " 7F", "A\n\nb ", "é\0", "00 "))
    ]  # fmt: skip
    sink.store(Feed(tenant).batch(rows))
    agree(ask, tenant)
    roll_up(connection, settled_s=0)
    connection.command(
        f"ALTER TABLE tacho.actions_data DELETE WHERE tenant = '{tenant}'"
        " SETTINGS mutations_sync = 2"
    )
    assert {(row[3], row[4]) for row in came(ask, tenant)} == {
        (row["agent_id"], row["partition_key"]) for row in rows
    }


def test_a_roll_up_made_twice_counts_once(
    sink: Sink, ask: Ask, connection: Connection, tenant: str
) -> None:
    feed = Feed(tenant)
    for name in "ab":
        sink.store(feed.batch([action(tenant, name, tool_name="mail")]))
        roll_up(connection, settled_s=0)
    agree(ask, tenant)
    assert touched(ask, tenant)[0][3] == 2


def test_times_beyond_what_an_hour_can_say_are_counted_too(
    sink: Sink, ask: Ask, connection: Connection, tenant: str
) -> None:
    years = (1901, 1969, 1970, 2105, 2107, 2299)
    rows = [
        action(tenant, str(year), tool_name="mail", event_time=NOON.replace(year=year))
        for year in years
    ]
    sink.store(Feed(tenant).batch(rows))
    agree(ask, tenant)
    roll_up(connection, settled_s=0)
    agree(ask, tenant)
    assert touched(ask, tenant)[0][3] == len(years)


def test_a_question_asks_once_which_hours_are_rolled_up(ask: Ask) -> None:
    """Asked twice, an hour that is rolled up in between would count twice or not at all."""
    once = "(SELECT generateUUIDv4())"
    assert ask(f"SELECT {once} AS one WHERE one IN (SELECT arrayJoin([{once}]))") != []
    for view in (tables.TOUCHES_BY_HOUR, tables.AGENT_MINUTES):
        assert view.source.count(tables.STATE) == 2
    assert texts.TEXTS_BY_HOUR.source.count(tables.state(texts.NOTED)) == 2
    assert by_agent.TOUCHES_BY_AGENT.source.count(tables.state(by_agent.NOTED)) == 2


class Refusing:
    """A ClickHouse that is away."""

    def __init__(self, tried: threading.Event) -> None:
        self._tried = tried

    def __call__(self) -> Connection:
        self._tried.set()
        raise RetryLater("away")


def _rolling(settings: Settings, connect: Callable[[], Connection], *, owns: bool) -> Rolling:
    return Rolling(settings, threading.Event(), lambda: owns, connect=connect, every_s=0.001)


def test_a_clickhouse_that_is_away_ends_no_rolling(settings: Settings) -> None:
    tried = threading.Event()
    with _rolling(settings, Refusing(tried), owns=True):
        for _ in range(3):
            assert tried.wait(WAIT_S)
            tried.clear()


def test_who_owns_not_the_first_partition_rolls_nothing_up(settings: Settings) -> None:
    asked, tried = threading.Event(), threading.Event()

    def owns() -> bool:
        asked.set()
        return False

    with Rolling(settings, threading.Event(), owns, connect=Refusing(tried), every_s=0.001):
        assert asked.wait(WAIT_S)
    assert not tried.is_set()
