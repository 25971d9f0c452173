"""Records and a core for the tests of `normalize`."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.raw import RawRecord

KEY = bytes(range(32))
NOON_US = 1_795_370_400_000_000  # 2026-11-22T18:00:00Z
NOON = "2026-11-22T18:00:00.000000Z"


def record(
    value: bytes | dict[str, Any] | list[Any], topic: str = "agent.raw", **more: Any
) -> RawRecord:
    """A raw record as it comes from Kafka at noon."""
    payload = value if isinstance(value, bytes) else msgspec.json.encode(value)
    facts: dict[str, Any] = {"partition": 0, "offset": 0, "timestamp_us": NOON_US, **more}
    return RawRecord(topic=topic, value=payload, **facts)


def action(**fields: Any) -> dict[str, Any]:
    """The least an action needs, and more."""
    return {"kind": "tool_call", "event_time": NOON, "agent_id": "a", **fields}


def attribute(name: str, value: Any) -> dict[str, Any]:
    """One OTLP/JSON attribute."""
    if isinstance(value, bool):
        return {"key": name, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": name, "value": {"intValue": str(value)}}
    if isinstance(value, float):
        return {"key": name, "value": {"doubleValue": value}}
    return {"key": name, "value": {"stringValue": value}}


def span(span_id: str = "aa" * 8, trace_id: str = "bb" * 16, **attributes: Any) -> dict[str, Any]:
    """An OTLP/JSON span that ends at noon; `__` in names stands for a dot."""
    named = {name.replace("__", "."): value for name, value in attributes.items()}
    return {
        "traceId": trace_id,
        "spanId": span_id,
        "name": "work",
        "kind": 1,
        "startTimeUnixNano": str((NOON_US - 1_000_000) * 1000),
        "endTimeUnixNano": str(NOON_US * 1000),
        "attributes": [attribute(name, value) for name, value in named.items()],
    }


def request(*spans: dict[str, Any], service: str | None = "shop") -> dict[str, Any]:
    """An export request of one service."""
    resource = {"attributes": [attribute("service.name", service)]} if service else {}
    return {
        "resourceSpans": [
            {
                "resource": resource,
                "scopeSpans": [{"scope": {"name": "test"}, "spans": list(spans)}],
            }
        ]
    }


@pytest.fixture
def core() -> Normalizer:
    """A core of its own, tenant acme."""
    return Normalizer(KEY, "acme")


@pytest.fixture
def rows(core: Normalizer) -> Callable[..., list[dict[str, Any]]]:
    """Normalise one value and give the actions, nulls left out."""

    def normalized(
        value: Any, topic: str = "agent.raw", form: str = "auto"
    ) -> list[dict[str, Any]]:
        found = core.normalize([record(value, topic, format=form)])
        assert found.dead == []
        return [{k: v for k, v in row.items() if v is not None} for row in found.frame.to_dicts()]

    return normalized
