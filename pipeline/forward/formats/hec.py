"""Splunk HTTP Event Collector: an envelope with time, sourcetype and indexed fields, and the event.

The event is the alert as in `ndjson`, its ids and short fields first: Splunk finds fields by itself
only in the beginning of an event. Alert id and revision are indexed fields, for de-duplication;
their names differ from those of the event, or Splunk would show each value twice.
"""

from datetime import datetime
from typing import Any

from tachograph.pipeline.forward.formats._bounded import fitting
from tachograph.pipeline.forward.formats._values import (
    HEALTH_EVENT,
    change_of,
    cut,
    epoch_ms,
    health_record,
    lines,
    record_of,
    risk_points,
)
from tachograph.schemas.alert import Alert
from tachograph.schemas.records import Health

NAME = "hec"
CONTENT_TYPE = "application/json"
# The sourcetype we ship reads events of this length whole.
MAX_BYTES = 65_536
# HEC takes objects one after another; a newline between them is allowed and can be read.
pack = lines

SOURCE = "tacho"
ALERT_TYPE = "tacho:alert"
HEALTH_TYPE = "tacho:health"
_FIELD_BYTES = 256


def render(alert: Alert, *, update: bool = False, hostname: str = "", index: str = "") -> bytes:
    """One alert as one HEC object; a cut one says `event.truncated`."""
    event = record_of(alert, change_of(alert, update=update))
    event["risk_points"] = risk_points(alert)
    fields = {
        "tacho_id": f"{alert.alert_id}:{alert.revision}",
        "tacho_alert_id": alert.alert_id,
        "tacho_tenant": alert.tenant,
        "tacho_severity": alert.severity,
    }
    envelope = _envelope(ALERT_TYPE, alert.updated_at, hostname, index)
    return _record(envelope, event, fields)


def render_health(health: Health, *, hostname: str = "", index: str = "") -> bytes:
    """One health record as one HEC object."""
    fields = {"tacho_component": health.component, "tacho_tenant": health.tenant}
    envelope = _envelope(HEALTH_TYPE, health.at, hostname, index)
    return _record(envelope, {**health_record(health), "event": HEALTH_EVENT}, fields)


def _envelope(sourcetype: str, at: datetime, hostname: str, index: str) -> dict[str, Any]:
    given = {"host": hostname, "index": index}
    return {
        "time": epoch_ms(at) / 1000,
        **{name: value for name, value in given.items() if value},
        "source": SOURCE,
        "sourcetype": sourcetype,
    }


def _record(envelope: dict[str, Any], event: dict[str, Any], fields: dict[str, str]) -> bytes:
    short = {name: cut(value, _FIELD_BYTES) for name, value in fields.items()}
    return fitting({**envelope, "fields": short, "event": event}, MAX_BYTES, _mark)


def _mark(record: dict[str, Any]) -> None:
    record["event"]["truncated"] = True
