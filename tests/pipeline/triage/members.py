"""Members of incidents for tests."""

from collections.abc import Iterable
from typing import Any

import msgspec

from tachograph.pipeline.clock import to_datetime, to_us
from tachograph.schemas.records import IncidentMember, SharedValue
from tests.pipeline.triage.groups import BUCKET

START_US = to_us(BUCKET)


def member(
    alert_id: str,
    *,
    agent: str,
    first_us: int = 0,
    last_us: int | None = None,
    rules: Iterable[str] = ("rule",),
    shared: Iterable[tuple[str, str]] = (),
    **fields: Any,
) -> IncidentMember:
    """An open alert of `agent`, its times counted from the start of the bucket."""
    first = to_datetime(START_US + first_us)
    made = IncidentMember(
        alert_id=alert_id, revision=0, tenant="acme", entity=agent, bucket_start=BUCKET,
        status="open", title=f"{agent}: it", severity="high", risk=8_000, half_life_s=900,
        first_seen=first, last_seen=to_datetime(START_US + (first_us if last_us is None
                                                            else last_us)),
        updated_at=first, agent_id=agent, rule_ids=sorted(rules),
        shared=[SharedValue(kind=kind, value=value) for kind, value in sorted(shared)],
        incident_id=alert_id,
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)
