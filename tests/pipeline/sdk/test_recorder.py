"""What an agent may rely on: a call returns, says nothing, loses nothing unseen."""

import asyncio
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tachograph.pipeline.sdk import Recorder
from tachograph.pipeline.sdk.buffer import Queued
from tachograph.pipeline.sdk.transport import Outcome
from tachograph.schemas.action import Action
from tachograph.schemas.alert import StateSnapshot
from tachograph.schemas.codec import decode
from tests.waiting import WAIT_S

from .conftest import Memory, Stuck

Make = Callable[..., Recorder]


def again(records: Sequence[Queued]) -> Outcome:
    return Outcome(0, again=records, wait_s=0.0, problem="away")


def test_an_action_carries_who_when_and_an_id_before_it_is_sent(make: Make) -> None:
    memory = Memory()
    recorder = make(memory, fields={"environment": "prod"})
    before = datetime.now(UTC)
    recorder.action("tool_call", tool_name="mail", tool_args={"to": "x"}, session_id="s-1")
    assert recorder.flush(WAIT_S)
    [row] = memory.kept
    action = decode(Action, memory.tries[0][0])
    assert (action.agent_id, action.kind, action.session_id) == ("a-1", "tool_call", "s-1")
    assert (action.environment, action.tool_args) == ("prod", '{"to":"x"}')
    assert action.event_time is not None
    assert before <= action.event_time <= datetime.now(UTC)
    assert row["event_time"].endswith("Z")
    assert len(action.producer_id or "") == 32
    assert action.producer_id == f"{int(action.producer_id or '', 16):032x}"


def test_a_record_sent_again_is_the_same_bytes(make: Make) -> None:
    memory = Memory(again, again, again)
    recorder = make(memory)
    recorder.action("prompt", content_text="once")
    assert recorder.flush(WAIT_S)
    assert len(memory.tries) == 4
    assert len({tuple(attempt) for attempt in memory.tries}) == 1
    stats = recorder.stats()
    assert (stats.sent, stats.retries, stats.dropped) == (1, 3, 0)


def test_order_holds_through_failures_in_part(make: Make) -> None:
    def first_half(records: Sequence[Queued]) -> Outcome:
        middle = len(records) // 2
        return Outcome(middle, again=records[middle:], wait_s=0.0, problem="half")

    memory = Memory(again, first_half, again, first_half)
    recorder = make(memory)
    for number in range(100):
        recorder.action("prompt", turn_id=str(number))
    assert recorder.flush(WAIT_S)
    assert [int(row["turn_id"]) for row in memory.kept] == list(range(100))
    assert [row["sequence"] for row in memory.kept] == list(range(1, 101))
    assert len({row["sequence_epoch"] for row in memory.kept}) == 1


def test_calls_return_while_the_transport_is_stuck_and_what_is_lost_is_counted(
    make: Make, stuck: Stuck
) -> None:
    recorder = make(stuck, max_records=50)
    recorder.action("prompt")
    assert stuck.entered.wait(WAIT_S)
    # The transport returns only when this test lets it: a call that waited would not end.
    for _ in range(200):
        recorder.action("prompt")
        recorder.snapshot(goals=["go on"])
    stats = recorder.stats()
    assert stats.dropped == 350
    assert recorder.dropped == 350
    assert stats.recorded == 401
    assert stats.queued == 51
    stuck.let_go.set()
    assert recorder.flush(WAIT_S)
    assert recorder.stats().sent == 51


@pytest.mark.parametrize(("drop", "kept"), [("oldest", range(7, 10)), ("newest", range(3))])
def test_a_full_buffer_drops_what_was_chosen(
    make: Make, stuck: Stuck, drop: str, kept: range
) -> None:
    recorder = make(stuck, max_records=3, drop=drop)
    recorder.action("prompt", turn_id="first")
    assert stuck.entered.wait(WAIT_S)
    for number in range(10):
        recorder.action("prompt", turn_id=str(number))
    stuck.let_go.set()
    assert recorder.flush(WAIT_S)
    assert [row["turn_id"] for row in stuck.kept] == ["first", *map(str, kept)]


def test_the_buffer_is_bounded_in_bytes(make: Make, stuck: Stuck) -> None:
    recorder = make(stuck, max_bytes=100_000)
    recorder.action("prompt")
    assert stuck.entered.wait(WAIT_S)
    for _ in range(10):
        recorder.action("prompt", content_text="x" * 30_000)
    assert recorder._buffer._bytes <= 100_000
    assert recorder.dropped == 7


def test_actions_after_a_loss_say_how_much_was_lost(make: Make, stuck: Stuck) -> None:
    recorder = make(stuck, max_records=2)
    recorder.action("prompt")
    assert stuck.entered.wait(WAIT_S)
    for _ in range(6):
        recorder.action("prompt")
    stuck.let_go.set()
    assert recorder.flush(WAIT_S)
    assert stuck.kept[-1]["attributes"]["sdk_dropped"] == "3"
    assert stuck.kept[-1]["sequence"] == 7


def test_where_no_thread_can_be_started_a_record_waits_for_the_next_one(
    make: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    memory = Memory()
    recorder = make(memory)
    with monkeypatch.context() as scarce:
        scarce.setattr(threading.Thread, "start", none_left)
        recorder.action("prompt", content_text="first")
    stats = recorder.stats()
    assert (stats.recorded, stats.queued, stats.invalid) == (1, 1, 0)
    assert "can't start new thread" in caplog.text
    recorder.action("prompt", content_text="second")
    assert recorder.flush(WAIT_S)
    assert [row["content_text"] for row in memory.kept] == ["first", "second"]


def test_closing_sends_what_is_left(make: Make) -> None:
    memory = Memory()
    with make(memory) as recorder:
        for _ in range(1000):
            recorder.action("prompt")
    assert len(memory.kept) == 1000
    assert memory.closed
    recorder.action("prompt")
    assert recorder.stats().dropped == 1


def test_closing_ends_by_its_deadline_and_counts_what_it_left(make: Make) -> None:
    memory = Memory(*[again] * 1_000_000)
    recorder = make(memory)
    for _ in range(10):
        recorder.action("prompt")
    stats = recorder.close(deadline_s=0.2)
    assert (stats.sent, stats.dropped, stats.queued) == (0, 10, 0)


def test_closing_with_a_stuck_transport_comes_back(make: Make, stuck: Stuck) -> None:
    recorder = make(stuck)
    recorder.action("prompt")
    assert stuck.entered.wait(WAIT_S)
    recorder.action("prompt")
    stats = recorder.close(deadline_s=0.1)
    assert (stats.queued, stats.dropped) == (1, 1)


def test_a_tool_call_records_arguments_result_and_duration(make: Make) -> None:
    memory = Memory()
    recorder = make(memory)
    with (
        recorder.session("c-1", principal_id="alice"),
        recorder.tool_call("search", {"q": "x"}, tool_server="web") as call,
    ):
        assert call.result(["hit"]) == ["hit"]
        call.add(tool_rows_returned=1)
    assert recorder.flush(WAIT_S)
    action = decode(Action, memory.tries[0][0])
    assert (action.kind, action.attempt, action.outcome) == ("tool_call", "executed", "succeeded")
    assert (action.tool_args, action.tool_result) == ('{"q":"x"}', '["hit"]')
    assert (action.session_id, action.principal_id) == ("c-1", "alice")
    assert (action.tool_server, action.tool_rows_returned) == ("web", 1)
    assert action.duration_ms is not None
    assert action.duration_ms >= 0
    assert action.start_time is not None
    assert action.event_time is not None
    assert action.start_time <= action.event_time
    assert action.tool_call_id


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(ValueError("no such seat"), "failed"), (KeyboardInterrupt(), "cancelled")],
)
def test_an_error_of_a_tool_is_recorded_and_goes_on_its_way(
    make: Make, error: BaseException, outcome: str
) -> None:
    memory = Memory()
    recorder = make(memory)
    with pytest.raises(type(error)), recorder.tool_call("book"):
        raise error
    assert recorder.flush(WAIT_S)
    [row] = memory.kept
    assert (row["outcome"], row["error_type"]) == (outcome, type(error).__name__)
    assert row["error_message"] == str(error)


def test_a_denied_call_was_asked_for_and_not_made(make: Make) -> None:
    memory = Memory()
    recorder = make(memory)
    with recorder.tool_call("pay", {"amount": 5}) as call:
        call.denied("over the limit")
    assert recorder.flush(WAIT_S)
    [row] = memory.kept
    assert (row["attempt"], row["outcome"]) == ("requested", "denied")
    assert row["policy_reason"] == "over the limit"


def test_sessions_nest_and_tasks_do_not_see_each_others(make: Make) -> None:
    memory = Memory()
    recorder = make(memory)

    async def talk(name: str) -> None:
        with recorder.session(name):
            await asyncio.sleep(0)
            recorder.action("prompt", turn_id=name)
            with recorder.session(f"{name}/inner"):
                await asyncio.sleep(0)
                recorder.action("prompt", turn_id=f"{name}/inner")
            recorder.action("completion", turn_id=name)

    async def both() -> None:
        await asyncio.gather(talk("one"), talk("two"))

    asyncio.run(both())
    recorder.action("heartbeat")
    assert recorder.flush(WAIT_S)
    assert all(row.get("turn_id") == row.get("session_id") for row in memory.kept)
    assert "session_id" not in memory.kept[-1]


def test_a_snapshot_keeps_its_contract(make: Make) -> None:
    memory = Memory()
    recorder = make(memory, tenant="acme")
    with recorder.session("c-1"):
        recorder.snapshot(
            goals=["sell"], memory={"last": {"n": 1}}, model={"name": "m"}, usage={"usd": 1}
        )
    assert recorder.flush(WAIT_S)
    snapshot = decode(StateSnapshot, memory.tries[0][0])
    assert (snapshot.tenant, snapshot.source, snapshot.session_id) == ("acme", "agent", "c-1")
    assert snapshot.memory == {"last": '{"n":1}'}


def test_a_snapshot_keeps_what_its_contract_has_no_field_for(make: Make) -> None:
    memory = Memory()
    recorder = make(memory)
    recorder.snapshot(mood="good", plan=["look", "pay"], other={"seen": 2})
    assert recorder.flush(WAIT_S)
    snapshot = decode(StateSnapshot, memory.tries[0][0])
    assert snapshot.other == {"mood": "good", "plan": '["look","pay"]', "seen": "2"}


def test_what_no_record_can_be_made_of_is_counted_and_said_once(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = make(Memory())
    with caplog.at_level(logging.WARNING, "tachograph.sdk"):
        recorder.action("dance")
        recorder.action("prompt", http_status="many")
        recorder.action("prompt", event_time="yesterday")
        recorder.snapshot(goals="sell")
        recorder.action("prompt", tool_call_id=["x" * 300_000])
    assert recorder.stats().invalid == 5
    assert len(caplog.records) == 1
    assert "kind" in caplog.records[0].message


class HostileMap(dict[str, int]):
    """A mapping that raises when it is looked into."""

    def items(self) -> Any:
        raise RuntimeError("no items")

    __iter__ = keys = items


class Hostile:
    """An object that raises when it is asked for its text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


KEYS = st.text(max_size=3) | st.integers() | st.tuples(st.integers())
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=5)
    | st.text(st.characters(), max_size=5) | st.complex_numbers() | st.decimals() | st.datetimes()
    | st.just(Hostile()) | st.just(HostileMap(a=1)) | st.just(Hostile),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner)
    | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
NAMES = st.sampled_from(sorted(Action.__struct_fields__)) | st.text(max_size=5)


@hypothesis_settings(max_examples=300, deadline=None)
@given(
    kind=ANYTHING,
    fields=st.dictionaries(
        NAMES.filter(lambda name: name not in ("kind", "self")), ANYTHING, max_size=4
    ),
)
def test_whatever_an_agent_records_nothing_is_raised_and_every_record_is_counted(
    kind: Any, fields: dict[str, Any]
) -> None:
    memory = Memory()
    with Recorder("a-1", transport=memory) as recorder:
        recorder.action(kind, **fields)
        recorder.action("prompt", **fields)
        # What Python itself refuses is nothing that is recorded.
        others = {name: value for name, value in fields.items() if name not in ("name", "args")}
        with recorder.tool_call("t", kind, **others) as call:
            call.result(kind)
    stats = recorder.stats()
    assert stats.recorded == 3
    assert stats.sent + stats.invalid == 3
    for attempt in memory.tries:
        for payload in attempt:
            decode(Action, payload)


def test_an_argument_that_holds_itself_is_recorded_up_to_a_depth(make: Make) -> None:
    memory = Memory()
    recorder = make(memory)
    loop: list[Any] = []
    loop += [loop, loop, "x" * 10]
    recorder.action("tool_call", tool_args=loop)
    assert recorder.flush(WAIT_S)
    assert "…" in memory.kept[0]["tool_args"]


def test_a_long_text_is_cut_and_says_so(make: Make) -> None:
    memory = Memory()
    recorder = make(memory)
    recorder.action("tool_call", tool_result="x" * 1_000_000, content_text="y")
    assert recorder.flush(WAIT_S)
    [row] = memory.kept
    assert len(row["tool_result"]) == 60_000
    assert row["attributes"]["sdk_truncated"] == "tool_result"


def test_names_that_no_action_has_become_attributes(make: Make) -> None:
    memory = Memory()
    recorder = make(memory)
    recorder.action("prompt", colour="blue", size={"w": 1}, attributes={"own": 5})
    assert recorder.flush(WAIT_S)
    assert memory.kept[0]["attributes"] == {"colour": "blue", "size": '{"w":1}', "own": "5"}


@pytest.mark.parametrize("options", [
    {"agent_id": ""}, {"endpoint": "ftp://x"}, {"endpoint": "nowhere"}, {"max_records": 0},
    {"drop": "all"}, {"endpoint": "http://x", "bootstrap_servers": "x:1"},
    {"bootstrap_servers": "x:1", "kafka": {"no.such.setting": 1}},
])  # fmt: skip
def test_what_cannot_be_meant_is_said_at_construction(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Recorder(**{"agent_id": "a", **options})


def test_many_threads_record_at_once(make: Make) -> None:
    memory = Memory()
    recorder = make(memory)

    def work(name: int) -> None:
        for number in range(200):
            recorder.action("prompt", turn_id=f"{name}/{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert recorder.flush(WAIT_S)
    assert [row["sequence"] for row in memory.kept] == list(range(1, 1201))
    assert len({row["producer_id"] for row in memory.kept}) == 1200
    for name in range(6):
        mine = [r["turn_id"] for r in memory.kept if r["turn_id"].startswith(f"{name}/")]
        assert mine == [f"{name}/{number}" for number in range(200)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_records_for_itself_and_sends_nothing_twice(
    make: Make, stuck: Stuck
) -> None:
    recorder = make(stuck)
    recorder.action("prompt", turn_id="parent")
    assert stuck.entered.wait(WAIT_S)
    recorder.action("prompt", turn_id="waiting")
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover - another process
        stuck.let_go.set()
        recorder.action("prompt", turn_id="child")
        recorder.flush(WAIT_S)
        rows = [(row["turn_id"], row["sequence"], row["sequence_epoch"]) for row in stuck.kept]
        os.write(writing, json.dumps(rows).encode())
        os._exit(0)
    os.waitpid(child, 0)
    [(turn, sequence, epoch)] = json.loads(os.read(reading, 65_536))
    stuck.let_go.set()
    assert recorder.flush(WAIT_S)
    assert (turn, sequence) == ("child", 1)
    assert [row["turn_id"] for row in stuck.kept] == ["parent", "waiting"]
    assert epoch != stuck.kept[0]["sequence_epoch"]


def test_ids_are_in_the_order_of_their_making() -> None:
    from tachograph.pipeline.sdk.ids import new_id

    first = new_id()
    time.sleep(0.005)
    second = new_id()
    assert first < second
    assert first[12] == "7"
    assert first[16] in "89ab"


def test_importing_it_brings_in_no_stage() -> None:
    program = (
        "import sys; import tachograph.pipeline.sdk;"
        "bad = {'polars', 'faust', 'clickhouse_connect', 'pyarrow', 'starlette', 'uvicorn',"
        " 'numpy', 'sklearn', 'structlog', 'prometheus_client', 'httpx', 'opentelemetry',"
        " 'typer', 'google'};"
        "print(sorted(bad & {name.split('.')[0] for name in sys.modules}))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=WAIT_S
    )
    assert answer.stdout.strip() == "[]"


def test_what_is_recorded_before_the_program_ends_is_sent() -> None:
    program = """
from tachograph.pipeline.sdk import Recorder
from tachograph.pipeline.sdk.transport import Outcome

class Printing:
    def send(self, kind, records):
        for record in records:
            print(kind, flush=True)
        return Outcome(len(records))
    def close(self): print("closed", flush=True)
    def abandon(self): pass

recorder = Recorder("a", transport=Printing())
recorder.action("prompt")
recorder.snapshot()
"""
    answer = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=WAIT_S
    )
    assert answer.stdout.split() == ["action", "state_snapshot", "closed"]
