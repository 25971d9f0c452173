"""NDJSON: the alert as we keep it ourselves (`tacho schema alert`), with what happened to it."""

from typing import Any

from tachograph.pipeline.forward.formats._bounded import fitting
from tachograph.pipeline.forward.formats._values import change_of, health_record, lines, record_of
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import Health

NAME = "ndjson"
CONTENT_TYPE = "application/x-ndjson"
MAX_BYTES = 262_144
pack = lines


def render(alert: Alert, *, update: bool = False) -> bytes:
    """One alert as one JSON object; a cut one says `truncated`."""
    return fitting(record_of(alert, change_of(alert, update=update)), MAX_BYTES, mark)


def render_health(health: Health) -> bytes:
    """One health record as one JSON object; `event` tells it from an alert."""
    return fitting(health_record(health), MAX_BYTES, mark)


def mark(event: dict[str, Any]) -> None:
    """Say that something was cut."""
    event["truncated"] = True
