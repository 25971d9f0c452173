"""One suite for every format that is found: its samples, and whatever else may come."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.formats.decoder import Decoder, Sample
from tachograph.pipeline.normalize.formats.registry import Formats, shipped
from tachograph.pipeline.normalize.raw import Normalized, RawRecord

NOW_US = 1_795_370_400_000_000
CORE = Normalizer(b"k" * 32, "default", observed_from_event=True, undated_us=NOW_US)
FORMATS = sorted(shipped().values(), key=lambda one: one.name)
SAMPLES = [(one, sample) for one in FORMATS for sample in one.samples]


def named(value: Any) -> str:
    return getattr(value, "name", "sample")


def read(items: list[Any], form: str = "actions") -> Normalized:
    value = b"\n".join(map(msgspec.json.encode, items))
    return CORE.normalize([RawRecord("agent.raw", 0, 7, value, format=form)])


@pytest.mark.parametrize("form", FORMATS, ids=named)
def test_every_format_has_samples_and_says_what_it_is_for(form: Decoder) -> None:
    assert form.samples
    assert form.title
    assert form.about


@pytest.mark.parametrize(("form", "sample"), SAMPLES, ids=named)
def test_a_sample_is_recognised_and_gives_what_it_says(form: Decoder, sample: Sample) -> None:
    formats = Formats()
    assert [formats.of(item) for item in sample.objects] == [form.name] * len(sample.objects)
    found = read(sample.objects)
    assert not found.dead
    rows = found.frame.sort("raw_index").to_dicts()
    assert len(rows) == len(sample.gives)
    for row, wanted in zip(rows, sample.gives, strict=True):
        assert {name: row.get(name) for name in wanted} == wanted
        assert row["agent_id"]
        assert row["event_time"]


@pytest.mark.parametrize(("form", "sample"), SAMPLES, ids=named)
def test_ids_are_of_the_meaning_alone_and_different_for_each_action(
    form: Decoder, sample: Sample
) -> None:
    first, again = (read(sample.objects, form.name).frame for _ in range(2))
    assert first["event_id"].to_list() == again["event_id"].to_list()
    assert first["event_id"].n_unique() == first.height


def _paths(value: Any) -> list[list[Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, one in inner:
        found.append([key])
        if isinstance(one, dict | list):
            found += [[key, *rest] for rest in _paths(one)]
    return found


def _changed(value: Any, path: list[Any], new: Any) -> Any:
    copy = msgspec.json.decode(msgspec.json.encode(value))
    at = copy
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return copy


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False)
    | st.text(max_size=12) | st.sampled_from(["{", "[1", '{"a":1}', "1e400", "-", "2026-13-01"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_a_sample_with_anything_anywhere_becomes_actions_or_dead_letters(
    data: st.DataObject,
) -> None:
    form, sample = data.draw(st.sampled_from(SAMPLES))
    items: Any = sample.objects
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(_paths(items)))
        items = _changed(items, path, data.draw(anything))
        if len(path) == 1:
            break
    first, again = (read(items, form.name) for _ in range(2))
    assert first.frame.equals(again.frame)
    assert [letter.reason for letter in first.dead] == [letter.reason for letter in again.dead]
    if first.frame.height:
        assert first.frame["event_time"].null_count() == 0
        assert first.frame["event_id"].n_unique() == first.frame.height


@given(st.lists(anything, min_size=1, max_size=4), st.sampled_from([one.name for one in FORMATS]))
@settings(max_examples=60, deadline=None)
def test_any_json_read_as_any_format_never_raises(items: list[Any], form: str) -> None:
    read(items, form)


def test_records_of_several_systems_may_share_a_topic() -> None:
    items = [one.samples[0].objects[0] for one in FORMATS if one.name in ("kong", "litellm")]
    items.append({"kind": "other", "event_time": "2026-11-22T10:00:00Z", "agent_id": "a"})
    found = read(items)
    assert not found.dead
    assert set(found.frame["source_kind"]) == {"kong", "litellm", "native"}
    assert found.frame["event_id"].n_unique() == found.frame.height


def test_an_object_of_no_known_format_is_a_dead_letter_that_says_what_is_missing() -> None:
    [letter] = read([{"what": "ever"}]).dead
    assert letter.detail.startswith("an action has a kind and an event_time, and no format")


def test_a_record_as_tools_dump_it_is_read_by_its_value() -> None:
    kong = next(one for one in FORMATS if one.name == "kong").samples[0].objects[0]
    dump = {"topic": "t", "partition": 0, "offset": 1, "key": None,
            "payload": msgspec.json.encode(kong).decode()}  # fmt: skip
    assert read([dump]).frame["source_kind"].to_list() == ["kong"]


def test_attributes_of_a_binary_event_are_headers() -> None:
    headers = {"ce_specversion": b"1.0", "ce_id": b"1", "ce_source": b"urn:agent:clerk",
               "ce_type": b"t", "ce_time": b"2026-11-22T10:00:00Z"}  # fmt: skip
    value = msgspec.json.encode({"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "x"})
    found = CORE.normalize([RawRecord("agent.raw", 0, 0, value, headers)])
    assert found.frame.select("kind", "tool_name", "agent_id").row(0) == ("tool_call", "x", "clerk")


def test_the_endpoint_says_whose_the_records_of_the_agents_sdk_are() -> None:
    [batch] = next(one for one in FORMATS if one.name == "openai_agents").samples[0].objects
    value = msgspec.json.encode(batch)
    record = RawRecord(
        "agent.raw", 0, 7, value, {"tacho-service": b"refunds"}, format="openai_agents"
    )
    found = CORE.normalize([record])
    assert set(found.frame["partition_key"]) == {"refunds"}
    assert set(found.frame["service_name"]) == {"refunds"}
    assert {link.partition_key for link in found.links} <= {"refunds"}


def test_an_answer_that_completes_a_call_is_not_passed_over() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "x"}}
    items = [call, {"jsonrpc": "2.0", "id": 1, "result": {"content": []}}]
    found = read(items, "mcp")
    assert (found.frame.height, found.foreign) == (1, 0)


def test_a_message_that_an_envelope_holds_twice_counts_once() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "search"}}
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "a"}]}}
    item = {
        "message": call,
        "raw": msgspec.json.encode(call).decode(),
        "response": answer,
        "data": answer,
    }
    found = read([item], "mcp")
    assert not found.dead
    assert found.frame["kind"].to_list() == ["tool_call"]
    assert found.frame["outcome"].to_list() == ["succeeded"]
