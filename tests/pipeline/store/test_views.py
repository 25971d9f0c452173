"""The other plain names: signals, alerts, state, directives, dead letters, health."""

import hashlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.store.records import EXCERPT_CHARS, Origin, rows_of
from tachograph.pipeline.store.sink import Sink
from tachograph.pipeline.store.stage import redactor
from tachograph.schemas import codec, contracts
from tachograph.schemas.alert import Alert, Signal, StateSnapshot
from tachograph.schemas.fields import Record
from tachograph.schemas.records import (
    DeadLetter,
    Directive,
    DirectiveAck,
    Disposition,
    Health,
)
from tests.pipeline.store.conftest import Ask
from tests.pipeline.store.samples import NOON, Feed, at

TOPIC_OF = {
    "signal": "agent.signals",
    "alert": "agent.alerts",
    "state_snapshot": "agent.state",
    "directive": "agent.control",
    "directive_ack": "agent.acks",
    "disposition": "agent.dispositions",
    "dead_letter": "agent.dead_letters",
    "health": "agent.health",
    "incident_member": "agent.incident_members",
    "incident": "agent.incidents",
}
VALID = [(record, name) for record in TOPIC_OF for name in contracts.examples(record).valid]


def example(kind: type[Record], record: str, name: str, **fields: Any) -> Any:
    """A contract's example with some fields changed."""
    found = codec.decode(kind, contracts.examples(record).valid[name])
    return msgspec.structs.replace(found, **fields)


@pytest.mark.parametrize(("record", "name"), VALID)
def test_every_valid_example_of_a_contract_is_stored(
    sink: Sink, ask: Ask, tenant: str, record: str, name: str
) -> None:
    content = {**msgspec.json.decode(contracts.examples(record).valid[name]), "tenant": tenant}
    if "state" in content:
        content["state"]["tenant"] = tenant
    pending = Feed(tenant).records(TOPIC_OF[record], msgspec.json.encode(content))
    sink.store(pending)
    assert pending.letters == []
    for table in pending.rows:
        assert ask(f"SELECT count() FROM tacho.{table} WHERE tenant = '{tenant}'") == [(1,)], table


def test_a_signal_is_shown_at_its_newest_revision_and_not_once_retracted(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    first = example(
        Signal,
        "signal",
        "stateless_credential_file",
        tenant=tenant,
        revision=1 << 40,
        title="first",
    )
    later = msgspec.structs.replace(first, revision=2 << 40, title="later", change="revised")
    gone = msgspec.structs.replace(later, revision=3 << 40, change="retracted")
    query = f"SELECT title, revision FROM tacho.signals WHERE tenant = '{tenant}'"
    sink.store(feed.records("agent.signals", later))
    sink.store(feed.records("agent.signals", first, first))
    assert ask(query) == [("later", 2 << 40)]
    sink.store(feed.records("agent.signals", gone))
    sink.store(feed.records("agent.signals", later))
    assert ask(query) == []


def alert_of(tenant: str, **fields: Any) -> Alert:
    found: Alert = example(Alert, "alert", "secret_sent_outside", tenant=tenant, **fields)
    return found


def said(alert: Alert, action: Any, seconds: float, **fields: Any) -> Disposition:
    return Disposition(
        alert_id=alert.alert_id, tenant=alert.tenant, action=action, by="ann", at=at(seconds),
        **fields,
    )  # fmt: skip


def test_an_alert_is_shown_once_at_its_newest_revision(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    alert = alert_of(tenant, revision=7, status="open")
    newer = msgspec.structs.replace(alert, revision=9, severity="critical")
    sink.store(feed.records("agent.alerts", newer, alert))
    sink.store(feed.records("agent.alerts", alert, newer))
    rows = ask(
        f"SELECT revision, severity, rule_ids, status, acted_at FROM tacho.alerts"
        f" WHERE tenant = '{tenant}'"
    )
    assert rows == [(9, "critical", [hit.rule_id for hit in alert.rules], "open", None)]
    assert ask(f"SELECT count() FROM tacho.alerts_log WHERE tenant = '{tenant}'") == [(4,)]


def test_a_retracted_alert_is_hidden_whatever_people_said(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    alert = alert_of(tenant, revision=7, status="open")
    gone = msgspec.structs.replace(alert, revision=8, status="retracted")
    sink.store(feed.records("agent.dispositions", said(alert, "reopen", 1)))
    sink.store(feed.records("agent.alerts", alert, gone))
    assert ask(f"SELECT count() FROM tacho.alerts WHERE tenant = '{tenant}'") == [(0,)]


def test_what_people_said_stands_on_the_alert(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    alert = alert_of(tenant, revision=7, status="open", disposition=None, assignee=None)
    other = msgspec.structs.replace(alert, alert_id="0" * 32)
    words = [
        said(alert, "assign", 1, assignee="ben"),
        said(alert, "close", 2, disposition="false_positive", note="a drill"),
        said(alert, "note", 3, note="seen again"),
    ]
    sink.store(feed.records("agent.alerts", alert, other))
    sink.store(feed.records("agent.dispositions", *words, *words))
    query = (
        "SELECT status, disposition, assignee, note, acted_by FROM tacho.alerts"
        f" WHERE tenant = '{tenant}' ORDER BY alert_id DESC"
    )
    assert ask(query) == [
        ("closed", "false_positive", "ben", "seen again", "ann"),
        ("open", "", "", "", ""),
    ]
    sink.store(feed.records("agent.dispositions", said(alert, "reopen", 4)))
    assert ask(query)[0][0] == "open"
    assert ask(f"SELECT count() FROM tacho.alerts WHERE tenant = '{tenant}' AND status='open'") == [
        (2,)
    ]


def test_the_state_that_travels_with_an_alert_is_an_agent_state(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    alert = alert_of(tenant, revision=7)
    assert alert.state is not None
    state = msgspec.structs.replace(alert.state, tenant=tenant, completeness=40)
    fuller = msgspec.structs.replace(state, completeness=90)
    newer = msgspec.structs.replace(alert, revision=8, state=fuller)
    sink.store(feed.records("agent.alerts", newer))
    sink.store(feed.records("agent.alerts", msgspec.structs.replace(alert, state=state)))
    rows = ask(f"SELECT snapshot_id, completeness FROM tacho.agent_state WHERE tenant = '{tenant}'")
    assert rows == [(state.snapshot_id, 90)]


def test_a_published_state_keeps_its_lists_and_maps(sink: Sink, ask: Ask, tenant: str) -> None:
    state = example(
        StateSnapshot, "state_snapshot", "published_by_the_agent", tenant=tenant,
        last_actions=[{"kind": "tool_call", "tool_name": "bash"}, {}], usage={"tokens": 1.5},
    )  # fmt: skip
    sink.store(Feed(tenant).records("agent.state", state))
    rows = ask(
        "SELECT last_actions, usage, tools, source FROM tacho.agent_state"
        f" WHERE tenant = '{tenant}'"
    )
    assert rows == [(state.last_actions, state.usage, state.tools, "agent")]


def test_logs_hold_the_exact_bytes_once_for_every_place_in_kafka(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    alert = alert_of(tenant)
    payload = codec.encode(alert).replace(b'"tenant":', b'"newer_field": [1,  2], "tenant":')
    feed = Feed(tenant)
    pending = feed.records("agent.alerts", payload)
    sink.store(pending)
    again = feed.empty()
    again.add(pending.rows["alerts_log"][0].origin, "", 0.0)
    sink.store(again)
    rows = ask(
        "SELECT log_topic, log_partition, lower(hex(SHA256(record))) FROM tacho.alerts_log FINAL"
        f" WHERE tenant = '{tenant}'"
    )
    assert rows == [("agent.alerts", 0, hashlib.sha256(payload).hexdigest())]


def test_a_directive_is_shown_once_with_its_newest_answer(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    told = example(Directive, "directive", "capture_state", tenant=tenant)
    statuses: list[tuple[Any, float]] = [("applied", 2), ("received", 1)]
    answers = [
        DirectiveAck(
            directive_id=told.directive_id, tenant=tenant, agent_id=told.agent_id,
            status=status, acked_at=at(seconds),
        )
        for status, seconds in statuses
    ]  # fmt: skip
    sink.store(feed.records("agent.control", told, told))
    query = f"SELECT kind, answer FROM tacho.directives WHERE tenant = '{tenant}'"
    assert ask(query) == [("capture", "")]
    sink.store(feed.records("agent.acks", *answers, *answers))
    assert ask(query) == [("capture", "applied")]
    assert ask(f"SELECT count() FROM tacho.acks WHERE tenant = '{tenant}'") == [(2,)]


def letter(tenant: str, original: bytes | None, **fields: Any) -> DeadLetter:
    return DeadLetter(
        topic="agent.raw", partition=1, offset=7, stage="normalize", reason="truncated",
        detail="ends too early", tenant=tenant, observed_time=NOON, original=original,
        sha256=hashlib.sha256(original or b"").hexdigest(), size_bytes=len(original or b""),
        **fields,
    )  # fmt: skip


def test_a_dead_letter_shows_a_redacted_excerpt_and_never_the_original(
    sink: Sink, ask: Ask, tenant: str, settings: Any
) -> None:
    secret = b"AKIA" + b"IOSFODNN7EXAMPLE"[:12] + b"QQQQ"
    original = b'{"key": "' + secret + b'", "n": 1\n\x00\xff'
    redact = redactor(settings)
    value = codec.encode(letter(tenant, original))
    feed = Feed(tenant)
    pending = feed.empty()
    pending.put(rows_of(Origin(("agent.dead_letters", 0), 3, value), redact))
    sink.store(pending)
    [(excerpt, everything)] = ask(
        f"SELECT excerpt, toString(tuple(*)) FROM tacho.dead_letters WHERE tenant = '{tenant}'"
    )
    assert "‹secret:" in excerpt
    assert excerpt.isprintable()
    assert secret.decode() not in everything


def test_an_excerpt_is_cut_and_a_hash_only_letter_has_none(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    long = letter(tenant, b"x" * 100_000)
    hash_only = letter(tenant, None, index=3)
    sink.store(feed.records("agent.dead_letters", long, hash_only))
    query = (
        f"SELECT `index`, lengthUTF8(excerpt) FROM tacho.dead_letters WHERE tenant = '{tenant}'"
        " ORDER BY item"
    )
    assert ask(query.replace("ORDER BY item", "ORDER BY ifNull(`index`, -1)")) == [
        (None, EXCERPT_CHARS + 1),
        (3, 0),
    ]


def test_input_refused_again_after_a_restart_is_one_dead_letter(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    feed = Feed(tenant)
    sink.store(feed.records("agent.dead_letters", letter(tenant, b"x"), letter(tenant, b"x")))
    later = letter(tenant, b"x")
    sink.store(feed.records("agent.dead_letters", later))
    assert ask(f"SELECT count() FROM tacho.dead_letters WHERE tenant = '{tenant}'") == [(1,)]


def test_a_dead_letter_that_cannot_be_read_is_noted_and_not_sent_round(
    sink: Sink, ask: Ask, tenant: str
) -> None:
    pending = Feed(tenant).records("agent.dead_letters", b'{"topic": 1}')
    assert pending.letters == []
    sink.store(pending)
    rows = ask(
        f"SELECT stage, size_bytes, excerpt FROM tacho.dead_letters WHERE tenant = '{tenant}'"
    )
    assert rows == [("store", 12, "")]


def test_each_health_report_is_shown_once(sink: Sink, ask: Ask, tenant: str) -> None:
    feed = Feed(tenant)
    ok = Health(component="detect", tenant=tenant, status="ok", at=NOON, lag=3, drops={"late": 2})
    later = msgspec.structs.replace(ok, at=NOON + timedelta(seconds=10), watermark=NOON)
    pending = feed.records("agent.health", ok, later)
    sink.store(pending)
    pending.stored.clear()
    sink.store(pending)
    rows = ask(
        f"SELECT lag, drops, watermark IS NULL FROM tacho.health WHERE tenant = '{tenant}'"
        " ORDER BY at"
    )
    assert rows == [(3, {"late": 2}, True), (3, {"late": 2}, False)]
