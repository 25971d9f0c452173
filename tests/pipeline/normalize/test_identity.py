"""Identity, time and place: what fixes an id, what marks an action late, where a batch goes."""

import random
from typing import Any

import msgspec
import polars as pl
import pytest

from tachograph.pipeline.door_headers import sign
from tachograph.pipeline.normalize import batches, limits
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.identity import LinkBook, Named
from tachograph.pipeline.replayed import REPLAYED, first_place
from tachograph.schemas import batch
from tachograph.schemas.identity import partition_of

from .conftest import KEY, NOON_US, action, attribute, record, request, span

SECOND = 1_000_000


def one(core: Normalizer, value: Any, topic: str = "agent.raw", **more: Any) -> dict[str, Any]:
    [row] = core.normalize([record(value, topic, **more)]).frame.to_dicts()
    return row


def test_a_record_that_repeats_is_the_same_action(core: Normalizer) -> None:
    for value, topic in (
        (action(producer_id="p1", content_text="x"), "agent.raw"),
        (request(span(gen_ai__operation__name="chat")), "otlp_spans"),
    ):
        first = one(core, value, topic, offset=1)
        again = one(core, value, topic, offset=999, partition=3, timestamp_us=NOON_US + 5 * SECOND)
        assert first["event_id"] == again["event_id"]


def test_a_second_action_under_a_used_id_is_an_action_of_its_own(core: Normalizer) -> None:
    mine = one(core, action(producer_id="p1", content_text="x"))
    shadow = one(core, action(producer_id="p1", content_text="y"))
    later = one(core, action(producer_id="p1", content_text="x", event_time="2026-11-22T17:59:59Z"))
    other_agent = one(core, action(producer_id="p1", content_text="x", agent_id="b"))
    assert len({row["event_id"] for row in (mine, shadow, later, other_agent)}) == 4


def test_actions_under_one_id_show_it_in_the_first_half_of_theirs(core: Normalizer) -> None:
    """By it `detect` notices that an id was used before."""
    halves = [
        one(core, action(producer_id=name, content_text=text))["event_id"][:16]
        for name, text in (("p1", "x"), ("p1", "y"), ("p2", "x"))
    ]
    assert halves[0] == halves[1] != halves[2]
    spans = [span(gen_ai__operation__name="chat", x=x) for x in ("1", "2")]
    one_half, other_half = (one(core, request(s), "otlp_spans")["event_id"][:16] for s in spans)
    assert one_half == other_half


def test_log_records_of_one_span_and_name_do_not_use_an_id_again(core: Normalizer) -> None:
    logs = [
        {
            "timeUnixNano": str(NOON_US * 1000),
            "traceId": "7" * 32,
            "spanId": "8" * 16,
            "eventName": "gen_ai.user.message",
            "body": {"stringValue": text},
        }
        for text in ("first", "second")
    ]
    value = {"resourceLogs": [{"scopeLogs": [{"logRecords": logs}]}]}
    found = core.normalize([record(value, "otlp_logs")]).frame["event_id"]
    assert found[0][:16] != found[1][:16]


def test_without_an_id_of_the_producer_the_place_in_the_log_tells_actions_apart(
    core: Normalizer,
) -> None:
    same = action(content_text="x")
    found = core.normalize([record([same, same], offset=1), record(same, offset=2)])
    assert found.frame["event_id"].n_unique() == 3


def test_tenant_and_operators_key_are_part_of_every_id() -> None:
    value = action(producer_id="p")
    ids = {
        one(Normalizer(key, tenant), value)["event_id"]
        for key in (KEY, bytes(32))
        for tenant in ("a", "b")
    }
    assert len(ids) == 4


def test_an_id_does_not_depend_on_what_else_is_in_the_batch(core: Normalizer) -> None:
    tool = span("a2" * 8, gen_ai__operation__name="execute_tool")
    chat = span("a1" * 8, gen_ai__operation__name="chat", gen_ai__conversation__id="c1")
    alone = one(core, request(tool), "otlp_spans")
    joined = core.normalize([record(request(chat, tool), "otlp_spans")]).frame.to_dicts()[1]
    assert alone["session_id"] != joined["session_id"]
    assert alone["event_id"] == joined["event_id"]


def test_two_reports_of_a_call_are_twins_and_its_result_is_not(core: Normalizer) -> None:
    call = {"trace_id": "t", "tool_call_id": "c"}
    sdk, gateway = (one(core, action(source_id=s, **call)) for s in ("sdk", "gateway"))
    result = one(core, action(**{**call, "kind": "tool_result"}))
    assert sdk["event_id"] != gateway["event_id"]
    assert sdk["twin_key"] == gateway["twin_key"] != result["twin_key"]
    assert one(core, action(tool_call_id="c")).get("twin_key") is None


def completion(core: Normalizer, response: str, **fields: Any) -> Any:
    said = {"gen_ai.response.id": response}
    row = one(core, action(kind="completion", attributes=said, **fields))
    return row.get("twin_key")


def test_a_response_of_a_provider_is_known_by_its_id_alone_and_a_short_one_by_its_trace(
    core: Normalizer,
) -> None:
    long, short = "chatcmpl-0123456789ab", "chatcmpl-1"
    assert completion(core, long) == completion(core, long, trace_id="t") is not None
    assert completion(core, short) is None
    assert completion(core, short, trace_id="t") != completion(core, short, trace_id="u")


def test_the_content_of_a_call_is_another_source_than_its_span(core: Normalizer) -> None:
    said = {"gen_ai.operation.name": "chat", "gen_ai.response.id": "chatcmpl-0123456789ab"}
    name = "gen_ai.client.inference.operation.details"
    attributes = [attribute(key, value) for key, value in said.items()]
    log = {"eventName": name, "timeUnixNano": str(NOON_US * 1000), "attributes": attributes}
    scopes = [{"scope": {"name": "test"}, "logRecords": [log]}]
    told = record({"resourceLogs": [{"resource": {}, "scopeLogs": scopes}]}, "otlp_logs")
    spoken = record(request(span() | {"attributes": attributes}), "otlp_spans")
    rows = core.normalize([told, spoken]).frame
    assert rows["twin_key"].n_unique() == 1
    assert sorted(rows["source_id"]) == ["test", "test (event)"]


def test_a_tool_call_and_the_mcp_call_that_it_wraps_are_twins(core: Normalizer) -> None:
    tool = span("a1" * 8, gen_ai__operation__name="execute_tool", gen_ai__tool__call__id="c")
    client = {**span("c1" * 8, mcp__method__name="tools/call"), "kind": 3, "parentSpanId": "a1" * 8}
    server = {**span("d1" * 8, mcp__method__name="tools/call"), "kind": 2, "parentSpanId": "c1" * 8}
    given = record(request(tool, client, server), "otlp_spans")
    rows = core.normalize([given]).frame
    assert rows["twin_key"].n_unique() == 1
    assert rows["source_id"].to_list() == ["test", "test", "test (server)"]


def test_the_client_and_the_server_of_an_mcp_call_are_twins(core: Normalizer) -> None:
    client = {**span("c1" * 8, mcp__method__name="tools/call"), "kind": 3}
    server = {**span("d1" * 8, mcp__method__name="tools/call"), "kind": 2, "parentSpanId": "c1" * 8}
    other = {**span("e1" * 8, mcp__method__name="tools/call"), "kind": 3}
    twins = core.normalize([record(request(client, server, other), "otlp_spans")]).frame["twin_key"]
    assert twins[0] == twins[1] != twins[2]


@pytest.mark.parametrize(
    ("behind_s", "late", "far"),
    [
        (0, False, False),
        (60, False, False),
        (61, True, False),
        (7 * 86400 + 1, True, True),
        (-600, False, False),
        (-601, False, True),
    ],
)
def test_late_and_far_are_properties_of_the_record(
    core: Normalizer, behind_s: int, late: bool, far: bool
) -> None:
    row = one(core, action(), timestamp_us=NOON_US + behind_s * SECOND)
    assert (row["late"], row["far"]) == (late, far)
    assert row["observed_time"].timestamp() == (NOON_US + behind_s * SECOND) / SECOND


def test_the_doors_clock_counts_while_it_agrees_with_the_logs(core: Normalizer) -> None:
    value = msgspec.json.encode(action())

    def seen(door_us: int) -> float:
        row = one(core, value, headers=sign(KEY, value, None, door_us, None))
        return float(row["observed_time"].timestamp() * SECOND) - NOON_US

    assert seen(NOON_US - 2 * SECOND) == -2 * SECOND
    assert seen(NOON_US - limits.DOOR_HOLD_US - 1) == 0  # kept and sent again later
    assert seen(NOON_US + SECOND) == 0


def test_an_agent_cannot_fill_in_its_observed_time(core: Normalizer) -> None:
    row = one(core, action(observed_time="2026-11-22T17:00:00Z"))
    assert row["observed_time"].timestamp() == NOON_US / SECOND


def test_a_file_loses_nothing_to_lateness_and_keeps_its_own_observed_time() -> None:
    core = Normalizer(KEY, "acme", observed_from_event=True)
    old = action(event_time="2020-01-01T00:00:00Z")
    exported = {**old, "observed_time": "2020-01-01T00:02:00Z"}
    found = core.normalize([record([old, exported], timestamp_us=None)])
    assert found.dead == []
    assert found.frame["late"].to_list() == [False, True]


def test_records_are_bounded_by_rows_and_bytes_and_lose_nothing(core: Normalizer) -> None:
    rng = random.Random(1)
    noise = [
        "".join(rng.choices("abcdefghijklmnopqrstuvwxyz0123456789 ", k=3_000)) for _ in range(600)
    ]
    found = core.normalize(
        [record(action(sequence=n, content_text=text), offset=n) for n, text in enumerate(noise)]
    )
    records = list(batches.Batches(4).records(found.frame))
    assert len(records) > 1
    assert all(len(r.value) <= batches.BYTES for r in records)
    assert {r.partition for r in records} == {partition_of("acme/a", 4)}
    frames = [batch.decode(r.value) for r in records]
    assert [f.height for f in frames] == [r.rows for r in records]
    assert pl.concat(frames)["sequence"].to_list() == list(range(600))
    many = pl.concat([found.frame.drop("content_text")] * 9)
    assert max(r.rows for r in batches.Batches(4).records(many)) <= batches.ROWS


def test_links_are_remembered_within_a_bound() -> None:
    book = LinkBook(capacity=2)
    named = [Named("p", f"t{n}", "s", None, None, None) for n in range(3)]
    assert [book.fresh("t", one, 0) is not None for one in (*named, named[2], named[0])] == [
        True,
        True,
        True,
        False,
        True,
    ]
    assert book.evicted == 2


def test_what_is_put_back_is_known_by_where_it_first_lay(core: Normalizer) -> None:
    batch = [action(sequence=n) for n in range(3)]
    first = core.normalize([record(batch, partition=2, offset=5)]).frame["event_id"].to_list()
    whole = record(batch, partition=2, offset=88, headers={REPLAYED: b"2/5"})
    alone = record(batch[1], partition=2, offset=89, headers={REPLAYED: b"2/5/1"})
    assert core.normalize([whole]).frame["event_id"].to_list() == first
    assert core.normalize([alone]).frame["event_id"].to_list() == first[1:2]


@pytest.mark.parametrize("forged", [b"", b"2", b"2/5/1/9", b"-2/5", b"2/\xff", b"2/5\n"])
def test_what_is_no_place_does_not_count_as_one(core: Normalizer, forged: bytes) -> None:
    plain = one(core, action(), offset=88)
    assert one(core, action(), offset=88, headers={REPLAYED: forged}) == plain


def test_a_letter_of_what_was_put_back_names_its_first_place(core: Normalizer) -> None:
    value = [action(), action(kind="new"), action()]
    [letter] = core.normalize([record(value, partition=2, offset=5)]).dead
    assert first_place(letter) == "2/5/1"
    back = record(letter.original or b"", partition=2, offset=9, headers={REPLAYED: b"2/5/1"})
    [again] = core.normalize([back]).dead
    assert first_place(again) == "2/5/1"
    whole = record(value, partition=2, offset=9, headers={REPLAYED: b"2/5"})
    [of_whole] = core.normalize([whole]).dead
    assert first_place(of_whole) == "2/5/1"
