"""tacho.actions: each action once, under its conversation, with all who reported it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.sink import Sink
from tachograph.pipeline.store.twins import MAX_REPORTS
from tachograph.schemas import batch
from tachograph.schemas.identity import plain_id
from tests.pipeline.store.conftest import Ask
from tests.pipeline.store.samples import Feed, action, at, link


def shown(ask: Ask, tenant: str, columns: str) -> list[tuple[Any, ...]]:
    return ask(f"SELECT {columns} FROM tacho.actions WHERE tenant = '{tenant}' ORDER BY event_time")


def test_an_action_that_is_stored_again_stands_once(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    twice = [action(tenant, "a"), action(tenant, "b", event_time=at(1))]
    sink.store(feed.batch(twice, twice))
    sink.store(feed.batch(twice))
    assert shown(ask, tenant, "event_id") == [(plain_id("a"),), (plain_id("b"),)]
    assert ask(f"SELECT count() FROM tacho.actions WHERE tenant = '{tenant}'") == [(2,)]


def test_of_two_copies_the_one_received_first_is_shown(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    sink.store(feed.batch(action(tenant, "a", observed_time=at(5), raw_offset=5, late=True)))
    sink.store(feed.batch(action(tenant, "a", observed_time=at(1), raw_offset=1, late=False)))
    sink.store(feed.batch(action(tenant, "a", observed_time=at(9), raw_offset=9, late=True)))
    assert shown(ask, tenant, "raw_offset, late") == [(1, False)]


def test_every_type_of_column_comes_back_as_it_was(sink: Sink, ask: Ask, tenant: str) -> None:
    row = action(
        tenant, "a", usage_input_tokens=7, duration_ms=1.5, late=False, start_time=at(-1),
        recipients=["x@example.com", "y@example.com"], tool_args='{"q": "it\'s \\"x\\""}',
        attributes=[{"key": "k", "value": "v"}, {"key": "ü", "value": ""}],
    )  # fmt: skip
    sink.store(Feed(tenant).batch([row, action(tenant, "b", event_time=at(1))]))
    columns = (
        "usage_input_tokens, duration_ms, late, toString(start_time), recipients, tool_args,"
        " attributes"
    )
    assert shown(ask, tenant, columns) == [
        (7, 1.5, False, "2026-11-22 11:59:59.000000", row["recipients"], row["tool_args"],
         {"k": "v", "ü": ""}),
        (None, None, None, None, [], "", {}),
    ]  # fmt: skip


def test_a_column_of_a_newer_writer_becomes_an_attribute(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    pending = feed.batch()
    newer = feed.batch(action(tenant, "a", attributes=[{"key": "k", "value": "v"}]))

    frame = newer.frames[0].with_columns(pl.lit(3).alias("from_the_future"))
    pending.add(feed.origin("agent.actions", batch.encode(frame)), "action_batch", 0.0)
    sink.store(pending)
    assert shown(ask, tenant, "attributes") == [({"k": "v", "from_the_future": "3"},)]


ORDERS = {
    "link first": [["link"], ["action"]],
    "link last": [["action"], ["link"]],
    "in one batch": [["action", "link"]],
    "repeated afterwards": [["action"], ["link"], ["action"]],
    "link repeated": [["link"], ["action"], ["link"]],
}


@pytest.mark.parametrize("order", ORDERS.values(), ids=list(ORDERS))
def test_an_action_that_fell_back_to_its_trace_is_shown_under_its_conversation(
    sink: Sink, ask: Ask, tenant: str, order: list[list[str]]
) -> None:
    feed = Feed(tenant)
    items = {
        "action": action(tenant, "a", trace_id="t1", session_id="t1", agent_name=None),
        "link": link(tenant, "t1", "conv", agent_name="Named later", principal_id="not ann"),
    }
    for names in order:
        sink.forget()
        sink.store(feed.batch(*(items[name] for name in names)))
    assert shown(ask, tenant, "session_id, agent_name, principal_id, session_linked, trace_id") == [
        ("conv", "Named later", "ann", True, "t1")
    ]
    assert ask(
        f"SELECT count() FROM tacho.actions WHERE tenant = '{tenant}' AND session_id = 't1'"
    ) == [(0,)]


def test_the_first_word_about_a_trace_holds(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    first = link(tenant, "t1", "conv-1")
    second = link(tenant, "t1", "conv-2", agent_name="Second")
    fallen_back = action(tenant, "a", trace_id="t1", session_id="t1", agent_name=None)
    sink.store(feed.batch(fallen_back, first))
    sink.store(feed.batch(second))
    sink.forget()
    sink.store(feed.batch({**fallen_back, "event_id": plain_id("b"), "event_time": at(1)}))
    assert shown(ask, tenant, "session_id, agent_name") == [("conv-1", "Second")] * 2
    assert ask(
        f"SELECT session_id, agent_name FROM tacho.session_links WHERE tenant = '{tenant}'"
    ) == [("conv-1", "Second")]


def test_a_link_touches_neither_other_traces_nor_other_tenants(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    other = f"{tenant}-other"
    rows = [
        action(tenant, "a", trace_id="t1", session_id="own conversation"),
        action(tenant, "b", trace_id="t2", session_id="t2", event_time=at(1)),
        action(other, "c", trace_id="t1", session_id="t1"),
    ]
    sink.store(feed.batch(rows))
    sink.store(feed.batch(link(tenant, "t1", "conv")))
    assert shown(ask, tenant, "session_id") == [("own conversation",), ("t2",)]
    assert shown(ask, other, "session_id") == [("t1",)]


def test_two_reports_of_one_action_are_one_row_with_both_sources(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    by_sdk = action(tenant, "a", twin_key="k", event_time=at(1))
    by_gateway = action(tenant, "b", twin_key="k", source_id="gateway", event_time=at(2))
    sink.store(feed.batch(by_sdk))
    sink.store(feed.batch(by_gateway))
    sink.store(feed.batch(by_gateway, by_sdk))
    columns = "event_id, report_ids, report_sources"
    both = [plain_id("a"), plain_id("b")]
    assert shown(ask, tenant, columns) == [(plain_id("a"), both, ["sdk", "gateway"])]


def test_a_third_and_earlier_report_takes_the_others_in(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    reports = [
        action(tenant, name, twin_key="k", source_id=name, event_time=at(seconds))
        for name, seconds in (("b", 2), ("c", 3), ("a", 1))
    ]
    for report in reports:
        sink.forget()
        sink.store(feed.batch(report))
    assert shown(ask, tenant, "event_id, report_sources") == [(plain_id("a"), ["a", "b", "c"])]


def test_reports_of_two_services_are_one_row(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    places = ("client", "gateway", "server")
    reports = [
        action(tenant, place, twin_key="k", source_id=place, partition_key=place, event_time=at(n))
        for n, place in enumerate(places)
    ]
    for report in reports:
        sink.store(feed.batch(report))
    found = shown(ask, tenant, "event_id, report_sources")
    assert found == [(plain_id("client"), list(places))]


def test_a_report_whose_sender_is_proved_is_shown_before_an_earlier_one(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    proved = action(tenant, "a", twin_key="k", assurance="authenticated", event_time=at(2))
    forged = action(tenant, "b", twin_key="k", source_id="other", partition_key="other")
    sink.store(Feed(tenant).batch(forged, proved))
    assert shown(ask, tenant, "event_id, report_sources") == [(plain_id("a"), ["sdk", "other"])]


def test_a_report_with_arguments_is_shown_before_an_earlier_one_without(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    whole = action(tenant, "a", twin_key="k", tool_args="{}", event_time=at(2))
    bare = action(tenant, "b", twin_key="k", tool_args=None, source_id="server")
    sink.store(Feed(tenant).batch(bare, whole))
    assert shown(ask, tenant, "event_id, report_sources") == [(plain_id("a"), ["sdk", "server"])]


def test_an_agent_that_uses_one_call_id_again_and_again_hides_nothing(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    rows = [action(tenant, f"n{i}", twin_key="k", event_time=at(i)) for i in range(20)]
    sink.store(feed.batch(rows[:10]))
    sink.store(feed.batch(rows[10:]))
    assert len(shown(ask, tenant, "event_id")) == 20


def test_no_more_reports_than_the_limit_are_folded_into_one_row(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    rows = [
        action(tenant, f"n{i}", twin_key="k", source_id=f"s{i}", event_time=at(i))
        for i in range(MAX_REPORTS + 3)
    ]
    sink.store(Feed(tenant).batch(rows))
    found = shown(ask, tenant, "length(report_ids)")
    assert found == [(MAX_REPORTS,), (1,), (1,), (1,)]


def test_a_linked_twin_is_both_linked_and_folded(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    one = action(tenant, "a", twin_key="k", trace_id="t", session_id="t")
    other = {**one, "event_id": plain_id("b"), "source_id": "gateway", "event_time": at(1)}
    sink.store(feed.batch(one))
    sink.store(feed.batch(link(tenant, "t", "conv")))
    sink.store(feed.batch(other))
    sink.store(feed.batch(one, other))
    assert shown(ask, tenant, "session_id, report_sources") == [("conv", ["sdk", "gateway"])]


HOSTILE = [
    "it's",
    'say "x"',
    "back\\slash'",
    "nul\0byte",
    "‹ü›",
    "a\nb",
    "'; DROP TABLE tacho.actions_data; --",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_linked_and_folded_like_any_other(
    sink: Sink, ask: Ask, tenant: str, text: str
) -> None:
    feed = Feed(tenant)
    one = action(tenant, "a", trace_id=text, session_id=text, twin_key=text, source_id=text)
    other = {**one, "event_id": plain_id("b"), "source_id": "gateway", "event_time": at(1)}
    sink.store(feed.batch(one))
    sink.store(feed.batch(link(tenant, text, f"conv {text}"), other))
    columns = "session_id, trace_id, report_sources"
    assert shown(ask, tenant, columns) == [(f"conv {text}", text, [text, "gateway"])]


@pytest.mark.parametrize("year", [1, 1899, 1970, 2099, 2300, 9999])
def test_events_of_any_date_are_linked_too(sink: Sink, ask: Ask, tenant: str, year: int) -> None:
    feed = Feed(tenant)
    moment = datetime(year, 1, 1, 0, 0, 1, tzinfo=UTC)
    early = action(tenant, "a", event_time=moment, trace_id="t", session_id="t")
    sink.store(feed.batch(early))
    sink.store(feed.batch(link(tenant, "t", "conv")))
    assert shown(ask, tenant, "session_id") == [("conv",)]


def everything(tenant: str) -> list[Any]:
    """Two traces, one linked twice; a twin; a copy."""
    one = action(tenant, "a", trace_id="t1", session_id="t1", principal_id=None)
    return [
        one,
        {**one, "observed_time": at(3), "raw_offset": 3},
        action(tenant, "b", trace_id="t1", session_id="t1", event_time=at(1), twin_key="k"),
        action(tenant, "c", trace_id="t2", session_id="t2", event_time=at(2)),
        action(
            tenant, "d", trace_id="t1", session_id="t1", event_time=at(3), twin_key="k",
            source_id="gateway",
        ),
        link(tenant, "t1", "conv", principal_id="ben"),
    ]  # fmt: skip


EXPECTED = [
    (plain_id("a"), "conv", "ben", [plain_id("a")], None),
    (plain_id("b"), "conv", "ann", [plain_id("b"), plain_id("d")], None),
    (plain_id("c"), "t2", "ann", [plain_id("c")], None),
]


def cut(items: Sequence[Any], cuts: set[int]) -> list[list[Any]]:
    pieces: list[list[Any]] = [[]]
    for place, item in enumerate(items):
        if place in cuts:
            pieces.append([])
        pieces[-1].append(item)
    return [piece for piece in pieces if piece]


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations(range(6)),
    repeated=st.lists(st.integers(0, 5), max_size=4),
    cuts=st.sets(st.integers(1, 9), max_size=4),
    forgetful=st.booleans(),
)
def test_what_is_shown_is_a_function_of_the_set_of_records(  # noqa: PLR0917
    sink: Sink, ask: Ask, order: list[int], repeated: list[int], cuts: set[int], forgetful: bool
) -> None:
    tenant = f"t-{uuid4().hex}"
    feed, items = Feed(tenant), everything(tenant)
    for piece in cut([items[i] for i in [*order, *repeated]], cuts):
        if forgetful:
            sink.forget()
        sink.store(feed.batch(*piece))
    columns = "event_id, session_id, principal_id, report_ids, raw_offset"
    assert shown(ask, tenant, columns) == EXPECTED


@pytest.mark.parametrize("year", [1, 1899, 1970, 2099, 2300, 9999])
def test_events_of_any_date_are_stored(sink: Sink, ask: Ask, tenant: str, year: int) -> None:
    moment = datetime(year, 1, 1, 0, 0, 1, tzinfo=UTC)
    sink.store(Feed(tenant).batch(action(tenant, "a", event_time=moment, far=True)))
    assert shown(ask, tenant, "far") == [(True,)]


def test_hostile_dates_cannot_make_many_partitions(sink: Sink, ask: Ask, tenant: str) -> None:
    rows = [
        action(tenant, f"n{year}", event_time=datetime(year, 1 + year % 12, 5, tzinfo=UTC))
        for year in range(1971, 2290)
    ]
    sink.store(Feed(tenant).batch(rows))
    assert len(shown(ask, tenant, "event_id")) == len(rows)
    [(partitions,)] = ask(
        "SELECT uniq(partition) FROM system.parts WHERE table = 'actions_data' AND active"
    )
    assert partitions <= 32


@pytest.mark.parametrize("places", [(0, 1, 0, 1, 2), (2, 1, 0, 0, 1)])
def test_reports_of_one_action_are_one_row_whichever_process_reads_which(
    settings: Settings, ask: Ask, tenant: str, places: tuple[int, ...]
) -> None:
    sinks = [Sink(settings, lambda: True, shared=lambda: True) for _ in range(3)]
    feed = Feed(tenant)
    for number, place in enumerate(places):
        report = action(
            tenant, str(number), event_time=at(number), source_id=f"source-{number}",
            twin_key="twin", partition_key=f"svc-{number}",
        )  # fmt: skip
        sinks[place].store(feed.batch([report]))
    for sink in sinks:
        sink.close()
    [(sources,)] = shown(ask, tenant, "report_sources")
    assert sources == [f"source-{number}" for number in range(5)]
