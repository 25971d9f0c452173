"""Native records at the door get the answer that `normalize` would give."""

from typing import Any

import msgspec
import pytest

from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import RawRecord
from tachograph.pipeline.serve import native
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.limits import Limits

NOW_US = 1_795_370_400_000_000  # 2026-11-22T18:00:00Z
NDJSON = "application/x-ndjson"


def action(**fields: Any) -> dict[str, Any]:
    return {"kind": "tool_call", "event_time": "2026-11-22T18:00:00Z", "agent_id": "a", **fields}


def posted(*bodies: dict[str, Any] | bytes) -> list[native.Line]:
    """What the door makes of some lines."""
    raw = [b if isinstance(b, bytes) else msgspec.json.encode(b) for b in bodies]
    return native.lines("action", NDJSON, b"\n".join(raw), Limits(), NOW_US)


def refused(*bodies: dict[str, Any] | bytes) -> list[dict[str, Any]]:
    """The bad lines the door names."""
    with pytest.raises(RequestError) as caught:
        posted(*bodies)
    assert caught.value.status == 400
    errors: Any = caught.value.details["errors"]
    return list(errors)


def normalized(body: dict[str, Any] | bytes) -> Any:
    value = body if isinstance(body, bytes) else msgspec.json.encode(body)
    core = Normalizer(bytes(32), "acme")
    return core.normalize([RawRecord("agent.raw", 0, 0, value, timestamp_us=NOW_US)])


@pytest.mark.parametrize(
    ("event_time", "sound"),
    [
        ("1970-01-01T00:00:00Z", False),
        ("1999-12-31T23:59:59Z", False),
        ("2099-01-01T00:00:00Z", False),
        ("0001-01-01T00:00:00+14:00", False),
        ("2022-01-01T00:00:00Z", True),
        ("2026-11-22T18:00:00.123456+01:00", True),
        ("2031-11-01T00:00:00Z", True),
    ],
)
def test_a_time_is_impossible_at_the_door_where_it_is_in_normalize(
    event_time: str, sound: bool
) -> None:
    one = action(event_time=event_time)
    assert (normalized(one).dead == []) is sound
    if sound:
        assert len(posted(action(), one)) == 2
        return
    [error] = refused(action(), one)
    assert error["line"] == 2
    assert "before 2000" in error["reason"]


FORMS = (
    {"agent_name": "n", "http_status": 200},
    {"agent.name": "n", "http.status": 200},
    {"agent": {"name": "n"}, "http": {"status": 200}},
)


@pytest.mark.parametrize("form", FORMS)
def test_flat_dotted_and_nested_names_are_one_field_at_the_door_too(form: dict[str, Any]) -> None:
    one = {"kind": "tool_call", "event_time": "2026-11-22T18:00:00Z", **form}
    sent = msgspec.json.encode(one)
    assert posted(one) == [native.Line(sent, "n")]
    [row] = normalized(one).frame.to_dicts()
    assert (row["agent_name"], row["http_status"]) == ("n", 200)


@pytest.mark.parametrize(
    "bad",
    [
        {"http_status": "x"},
        {"http.status": "x"},
        {"http": {"status": "x"}},
        {"http": {"status": 200}, "outcome": "maybe"},
    ],
)
def test_a_wrong_value_under_any_form_of_its_name_is_refused(bad: dict[str, Any]) -> None:
    assert [letter.reason for letter in normalized(action(**bad)).dead] == ["mistyped"]
    [error] = refused(action(), action(**bad))
    assert error["line"] == 2
    assert ("http_status" in error["reason"]) is ("outcome" not in bad)


@pytest.mark.parametrize(
    "odd", [{"event_id": 5}, {"tenant": ["x"]}, {"mine": {"own": 1}}, {"kind.of": [1]}]
)
def test_what_normalize_ignores_or_keeps_aside_passes_the_door(odd: dict[str, Any]) -> None:
    assert normalized(action(**odd)).dead == []
    assert len(posted(action(**odd))) == 1
