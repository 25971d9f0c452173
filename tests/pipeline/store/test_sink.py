"""What the sink does with errors: repeat for ever, halve, dead-letter, or give up loudly."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError, ProgrammingError

from tachograph.pipeline import metrics
from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings
from tachograph.pipeline.store import sink as sinks
from tachograph.pipeline.store.clickhouse import (
    ANSWER_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    SERVER_TIMEOUT_S,
    Connection,
    mapped,
)
from tachograph.pipeline.store.pending import MAX_AGE_S, MAX_BYTES, MAX_ROWS
from tachograph.pipeline.store.sink import Sink, Stopped
from tachograph.schemas.records import DeadLetter, Health
from tests.pipeline.store.samples import Feed, action, at, link

Script = Callable[[str, list[str], bytes], None]
SETTINGS = Settings(
    kafka=KafkaSettings(bootstrap="127.0.0.1:9"),
    clickhouse=ClickHouseSettings(url="http://127.0.0.1:9"),
)


class FakeServer:
    """A ClickHouse that takes everything unless its script raises."""

    def __init__(self, script: Script = lambda *_: None) -> None:
        self.script = script
        self.opened = 0
        self.closed = 0
        self.taken: list[str] = []
        self.tokens: list[str] = []
        self.answers: dict[str, list[tuple[Any, ...]]] = {}

    def connect(self) -> Any:
        self.opened += 1
        return self

    def insert(self, table: str, columns: list[str], body: bytes, token: str = "") -> None:
        self.script(table, columns, body)
        self.taken.append(table)
        self.tokens.append(token)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return next((rows for part, rows in self.answers.items() if part in query), [])

    def command(self, statement: str) -> None:
        self.script(statement, [], b"")

    def close(self) -> None:
        self.closed += 1


def decompressed(body: bytes) -> bytes:
    """Every value of an insert, as text."""
    return str(pa.ipc.open_stream(body).read_all().to_pylist()).encode()


def sink_of(server: FakeServer, *, tries: int = 50, posted: list[DeadLetter] | None = None) -> Sink:
    """A sink that does not sleep, is told to stop after some tries, and keeps its dead letters."""
    naps: list[float] = []
    return Sink(
        SETTINGS,
        lambda: len(naps) >= tries,
        connect=server.connect,
        sleep=naps.append,
        post=(posted if posted is not None else []).extend,
    )


def failing(times: int, error: Exception, table: str = "") -> Script:
    """Raise `error` so many times."""
    left = [times]

    def script(name: str, _columns: list[str], _body: bytes) -> None:
        if left[0] and (not table or name == table):
            left[0] -= 1
            raise error

    return script


def health(seconds: float, detail: str = "") -> Health:
    return Health(component="x", tenant="t", status="ok", at=at(seconds), detail=detail)


def test_a_server_fault_is_tried_again_on_a_fresh_connection_until_it_is_stored() -> None:
    server = FakeServer(failing(7, RetryLater("away")))
    before = metrics.RETRIES.labels("store", "insert")._value.get()
    sink = sink_of(server)
    sink.store(Feed("t").batch(action("t", "a")))
    assert server.taken == ["actions_data"]
    assert (server.opened, server.closed) == (8, 7)
    assert metrics.RETRIES.labels("store", "insert")._value.get() == before + 7
    assert sink.problem is None


def test_a_table_that_has_the_batch_already_is_passed_over_when_another_fails() -> None:
    server = FakeServer(failing(2, RetryLater("away"), "health_data"))
    feed = Feed("t")
    pending = feed.batch(action("t", "a"))
    pending.put(
        row for rows in feed.records("agent.health", health(0)).rows.values() for row in rows
    )
    sink_of(server).store(pending)
    assert server.taken == ["actions_data", "health_data"]


def test_a_repeated_insert_has_the_same_token_and_another_content_has_another() -> None:
    feed, server = Feed("t"), FakeServer()
    sink = sink_of(server)
    for name in ("a", "a", "b"):
        sink.store(feed.batch(action("t", name)))
    assert server.tokens[0] == server.tokens[1] != server.tokens[2]


def test_when_the_stage_stops_the_batch_is_left_for_the_next_start() -> None:
    server = FakeServer(failing(99, RetryLater("away")))
    sink = sink_of(server, tries=2)
    with pytest.raises(Stopped, match="away"):
        sink.store(Feed("t").batch(action("t", "a")))
    assert sink.problem == "away"


def test_a_row_the_server_never_takes_is_found_and_the_others_are_stored() -> None:
    def script(_table: str, _columns: list[str], body: bytes) -> None:
        if b"poison" in decompressed(body):
            raise Refused("INCORRECT_DATA")

    server, feed = FakeServer(script), Feed("t")
    pending = feed.records("agent.health", *(health(i) for i in range(5)), health(9, "poison"))
    posted: list[DeadLetter] = []
    sink_of(server, posted=posted).store(pending)
    [letter] = posted
    assert letter.stage == "store"
    assert b"poison" in (letter.original or b"")


def test_an_action_the_server_never_takes_becomes_a_dead_letter_of_its_own() -> None:
    def script(_table: str, _columns: list[str], body: bytes) -> None:
        if b"poison" in decompressed(body):
            raise Refused("INCORRECT_DATA")

    rows = [action("t", f"n{i}", tool_args="poison" if i == 3 else "fine") for i in range(8)]
    pending = Feed("t").batch(rows)
    posted: list[DeadLetter] = []
    sink_of(FakeServer(script), posted=posted).store(pending)
    [letter] = posted
    assert b'"tool_args":"poison"' in (letter.original or b"")


def test_a_server_that_refuses_everything_is_a_fault_and_not_a_thousand_dead_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sinks, "MAX_REFUSED", 10)
    server = FakeServer(failing(10_000, Refused("TYPE_MISMATCH")))
    pending = Feed("t").records("agent.health", *(health(i) for i in range(64)))
    with pytest.raises(Stopped):
        sink_of(server, tries=3).store(pending)
    assert server.taken == []
    assert pending.letters == []


def test_a_row_that_cannot_be_mended_holds_nothing_up_and_is_counted() -> None:
    def script(statement: str, _columns: list[str], _body: bytes) -> None:
        if "REPLACE" in statement:
            raise Refused("ARGUMENT_OUT_OF_BOUND")

    server = FakeServer(script)
    server.answers = {
        "FROM tacho.session_links": [("t", "svc", "t1", "conv", "", "", "")],
        "session_linked": [("t", "svc", 1, "e" * 32, "t1", "t1", "a", "n", "p", False, 0, 0, 5)],
    }
    before = metrics.DROPPED.labels("store", "not_mended")._value.get()
    sink_of(server).store(Feed("t").batch(link("t", "t1", "conv"), action("t", "a")))
    assert metrics.DROPPED.labels("store", "not_mended")._value.get() == before + 1
    assert server.taken == ["session_links_data", "actions_data"]


def test_a_dead_letter_that_is_not_acknowledged_holds_the_batch_back() -> None:
    tries: list[int] = []

    def post(letters: list[DeadLetter]) -> None:
        tries.append(len(letters))
        if len(tries) < 3:
            raise RetryLater("broker away")

    server, feed = FakeServer(), Feed("t")
    sink = Sink(SETTINGS, lambda: False, connect=server.connect, sleep=lambda _: None, post=post)
    sink.store(feed.records("agent.health", b"not json", health(1)))
    assert tries == [1, 1, 1]
    assert server.taken == ["health_data"]


@pytest.mark.parametrize(
    "code", [3, 159, 202, 209, 210, 241, 242, 243, 252, 319, 425, 516, 60, 16, 62, 1000, None]
)
def test_the_state_of_a_server_is_never_taken_for_bad_data(code: int | None) -> None:
    assert isinstance(mapped(DatabaseError("x", code=code), "insert"), RetryLater)
    assert isinstance(mapped(OperationalError("x", code=code), "insert"), RetryLater)


def test_who_may_read_only_is_told_so_and_not_kept_waiting() -> None:
    found = mapped(ProgrammingError("Setting max_query_size is readonly"), "query")
    assert isinstance(found, ConfigError)
    assert "CLICKHOUSE_USER" in str(found)
    assert isinstance(mapped(ProgrammingError("Connection is closed"), "query"), RetryLater)


@pytest.mark.parametrize("code", [27, 53, 117, 349])
def test_data_that_a_column_never_takes_is_refused(code: int) -> None:
    found = mapped(DatabaseError("Cannot parse 'secret value'", code=code), "insert")
    assert isinstance(found, Refused)
    assert "secret value" not in str(found)


def test_a_servers_text_which_may_quote_a_value_is_never_repeated() -> None:
    error = DatabaseError("Memory limit exceeded near 'secret value'", code=241)
    assert "secret value" not in str(mapped(error, "insert"))


def test_deadlines_stay_far_below_what_a_consumer_may_be_silent() -> None:
    assert 2 * CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S <= 30
    assert SERVER_TIMEOUT_S < ANSWER_TIMEOUT_S


@pytest.mark.parametrize("url", ["127.0.0.1:8123", "ftp://x", "http://x:port", ""])
def test_a_url_that_is_none_is_refused_by_the_name_of_its_setting(url: str) -> None:
    with pytest.raises(ConfigError, match="CLICKHOUSE_URL"):
        Connection(ClickHouseSettings(url=url))


def test_a_batch_is_due_when_it_is_full_of_rows_or_bytes_or_old() -> None:
    feed = Feed("t")
    pending = feed.empty()
    assert not pending.due(1e9)
    pending.add(feed.origin("agent.actions", b"{}"), "tick", 100.0)
    assert not pending.due(100.0 + MAX_AGE_S * 0.9)
    assert pending.due(100.0 + MAX_AGE_S)
    pending.row_count = MAX_ROWS
    assert pending.due(100.0)
    pending.row_count, pending.size_bytes = 0, MAX_BYTES
    assert pending.due(100.0)


def test_offsets_of_partitions_that_went_to_another_member_are_not_committed() -> None:
    pending = Feed("t").batch(action("t", "a"))
    pending.disown([("agent.actions", 0)])
    assert pending.offsets == {}
    assert pending.frames
