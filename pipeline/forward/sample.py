"""One made-up alert, marked as such, to see whether a destination takes ours and shows it well."""

from tachograph.pipeline.clock import to_datetime
from tachograph.schemas.alert import Alert, Observable, Reason, RuleHit
from tachograph.schemas.identity import plain_id

RULE_ID = "tacho.sample"


def sample_alert(tenant: str, now_us: int) -> Alert:
    """An informational alert that says it is a test; id and times are of this moment."""
    at = to_datetime(now_us)
    title = "Test alert of Tachograph: this destination works"
    return Alert(
        alert_id=plain_id(RULE_ID, tenant, str(now_us)),
        revision=0,
        tenant=tenant,
        status="open",
        title=title,
        severity="informational",
        confidence=100,
        risk=0,
        risk_category="governance",
        rules=[
            RuleHit(
                rule_id=RULE_ID,
                rule_version="1",
                title=title,
                severity="informational",
                kind="stateless",
                count=1,
            )
        ],
        first_seen=at,
        last_seen=at,
        created_at=at,
        updated_at=at,
        entity="tacho-forward-test",
        observables=[Observable(type="url", value="https://example.com/?a=1|2")],
        reasons=[Reason(text="Someone typed `tacho forward test`. Nothing happened.")],
        signal_ids=[],
        event_ids=[],
        signal_count=1,
        state_missing="a test alert has no agent",
        synthetic=True,
    )
