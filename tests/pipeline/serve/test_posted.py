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
