"""An agent keeps to what it is told, when it is told by who may, and to nothing else."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.control.keys import Signer
from tachograph.pipeline.sdk import Contained, Control, Recorder
from tachograph.pipeline.sdk.holding import Held, Request
from tachograph.pipeline.sdk.signing import key_of
from tachograph.schemas.codec import encode
from tachograph.schemas.records import Directive
from tests.pipeline.sdk.conftest import Memory
from tests.waiting import WAIT_S

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
SIGNER = Signer(bytes(range(32)))
KEYS = {SIGNER.public.key_id: key_of(SIGNER.public.public_key)}
Make = Callable[..., Recorder]


class Quiet:
    """A way on which nothing comes; `given` are the keys that it gives out."""

    def __init__(self, given: dict[str, bytes] | None = None) -> None:
        self.given, self.asked = given or {}, 0

    def directives(self) -> Iterator[bytes | None]:
        return iter(())

    def keys(self) -> dict[str, bytes]:
        self.asked += 1
        return self.given

    def close(self) -> None: ...


def told(kind: str = "quarantine", **fields: Any) -> Directive:
    """A directive to agent a-1, not signed."""
    made = Directive(
        directive_id=f"d-{kind}", tenant="default", kind=kind, agent_id="a-1",  # type: ignore[arg-type]
        reason="Stop it.", issued_at=NOW, expires_at=NOW + timedelta(minutes=5),
    )  # fmt: skip
    return msgspec.structs.replace(made, **fields)


def raw(directive: Directive) -> bytes:
    return encode(SIGNER.signed(directive))


class Agent:
    """A recorder, its control, and what they sent."""

    def __init__(self, make: Make, **options: Any) -> None:
        self.memory, self.now = Memory(), NOW
        self.recorder = make(self.memory)
        chosen = {"keys": KEYS, "listening": Quiet(), **options}
        self.control = Control(
            self.recorder, chosen.pop("listening"), agent_id="a-1", tenant=None,
            clock=lambda: self.now, **chosen,
        )  # fmt: skip

    def sent(self, field: str) -> list[dict[str, Any]]:
        assert self.recorder.flush(WAIT_S)
        return [one for one in self.memory.kept if field in one]


@pytest.fixture
def agent(make: Make) -> Iterator[Agent]:
    made = Agent(make, state=lambda: {"goals": ["book"], "memory": {"k": "v"}})
    yield made
    made.control.close()


def test_a_quarantined_agent_makes_no_call_until_it_expires(agent: Agent) -> None:
    assert agent.control.take(raw(told())) == "applied"
    with pytest.raises(Contained), agent.control.tool_call("pay", {"amount": 1}):
        raise AssertionError("it was called")
    [denied] = agent.sent("outcome")
    assert (denied["outcome"], denied["policy_reason"]) == ("denied", "quarantine d-quarantine")
    agent.now += timedelta(minutes=6)
    with agent.control.tool_call("pay") as call:
        call.result("paid")
    assert agent.control.in_force == []


def test_a_capture_is_answered_by_a_snapshot_that_names_it(agent: Agent) -> None:
    assert agent.control.take(raw(told("capture", session_id="S", alert_id="A"))) == "applied"
    [snapshot] = agent.sent("directive_id")[:1]
    assert (snapshot["directive_id"], snapshot["session_id"]) == ("d-capture", "S")
    assert (snapshot["goals"], snapshot["agent_id"]) == (["book"], "a-1")


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"expires_at": NOW}, "expired"),
        (
            {"issued_at": NOW + timedelta(hours=1), "expires_at": NOW + timedelta(hours=2)},
            "refused",
        ),
        ({"dry_run": True}, "received"),
        ({"agent_id": "another"}, None),
    ],
)
def test_what_does_not_count_is_not_kept_to(
    agent: Agent, change: dict[str, Any], answer: str | None
) -> None:
    assert agent.control.take(raw(told(**change))) == answer
    agent.control.admit("pay")
    acks = [ack["status"] for ack in agent.sent("acked_at")]
    assert acks == ([answer] if answer else [])


@pytest.mark.parametrize(
    "forge",
    [
        lambda one: encode(told()),
        lambda one: one.replace(b"Stop it.", b"Stop now"),
        lambda one: one.replace(SIGNER.public.key_id.encode(), b"0" * 16),
        lambda one: encode(Signer(bytes(32)).signed(told())),
        lambda one: one.replace(b'"signature":"', b'"signature":"AAAA'),
    ],
)
def test_what_nobody_signed_who_may_is_refused_and_does_not_keep_out_the_true_one(
    agent: Agent, forge: Callable[[bytes], bytes]
) -> None:
    true = raw(told())
    assert agent.control.take(forge(true)) == "refused"
    agent.control.admit("pay")
    assert agent.control.take(true) == "applied"


@pytest.mark.parametrize("noise", [b"", b"{}", b"[1]", b"\xff", b"[" * 10_000, b'{"kind": 1}'])
def test_what_cannot_be_read_is_passed_by(agent: Agent, noise: bytes) -> None:
    assert agent.control.take(noise) is None


def test_one_that_cannot_be_followed_is_answered_and_those_behind_it_are_kept_to(
    agent: Agent,
) -> None:
    # A time without a zone cannot be compared with ours.
    broken = told(expires_at=(NOW + timedelta(minutes=5)).replace(tzinfo=None), directive_id="b")
    assert agent.control.take(raw(broken)) == "refused"
    assert agent.control.take(raw(broken)) is None
    assert agent.control.take(raw(told())) == "applied"
    with pytest.raises(Contained):
        agent.control.admit("any")


def test_a_number_of_calls_that_is_none_of_ours_throttles_as_if_none_was_named(
    agent: Agent,
) -> None:
    assert agent.control.take(raw(told("throttle", scope={"per_minute": "\u00b2"}))) == "applied"
    agent.control.admit("any")


def test_a_known_directive_is_followed_and_answered_once(agent: Agent) -> None:
    assert [agent.control.take(raw(told("capture"))) for _ in range(3)] == ["applied", None, None]
    assert len(agent.sent("acked_at")) == 1


def test_keys_that_are_given_out_are_believed_where_none_are_named(make: Make) -> None:
    way = Quiet(KEYS)
    agent = Agent(make, keys=None, listening=way)
    assert agent.control.take(raw(told())) == "applied"
    assert way.asked == 1
    agent.control.close()


def test_state_that_fails_is_told_and_not_followed(make: Make) -> None:
    agent = Agent(make, state=lambda: 1 / 0)
    assert agent.control.take(raw(told("capture"))) == "refused"
    [ack] = agent.sent("acked_at")
    assert ack["detail"] == "its state could not be made: ZeroDivisionError"
    agent.control.close()


@pytest.mark.parametrize("agrees", [True, False])
def test_a_call_that_a_person_must_agree_to_waits_for_the_word(make: Make, agrees: bool) -> None:
    asked: list[Request] = []

    def approve(_directive: Directive, request: Request) -> bool:
        asked.append(request)
        return agrees

    agent = Agent(make, approve=approve)
    agent.control.take(raw(told("require_approval", scope={"tool": "pay*"})))
    agent.control.admit("read")
    if agrees:
        agent.control.admit("pay_invoice", args={"amount": 1})
    else:
        with pytest.raises(Contained):
            agent.control.admit("pay_invoice", args={"amount": 1})
    assert [one.tool for one in asked] == ["pay_invoice"]
    [word] = agent.sent("approval_decision")
    assert word["approval_decision"] == ("approved" if agrees else "refused")
    agent.control.close()


def test_a_throttle_lets_so_many_calls_a_minute_through() -> None:
    now_s = [0.0]
    held = Held(lambda: NOW, lambda: now_s[0])
    held.hold(told("throttle", scope={"per_minute": "2"}))
    calls = []
    for second in (0, 1, 2, 59, 60, 61, 62):
        now_s[0] = float(second)
        calls.append(not list(held.against(Request("pay"))))
    assert calls == [True, True, False, False, True, True, False]


@pytest.mark.parametrize(
    ("scope", "release", "left"),
    [
        ({}, {}, 0),
        ({}, {"scope": {"directive_id": "d-quarantine"}}, 0),
        ({}, {"scope": {"directive_id": "another"}}, 1),
        ({}, {"issued_at": NOW - timedelta(seconds=1)}, 1),
        ({}, {"session_id": "T"}, 1),
    ],
)
@pytest.mark.parametrize("first", ["held", "release"])
def test_a_release_ends_what_was_issued_before_in_whichever_order_they_come(
    agent: Agent, scope: dict[str, str], release: dict[str, Any], left: int, first: str
) -> None:
    both = [raw(told(scope=scope)), raw(told("release", **{"issued_at": NOW, **release}))]
    for one in both if first == "held" else reversed(both):
        agent.control.take(one)
    assert len(agent.control.in_force) == left


def test_a_session_that_is_held_leaves_the_others_alone(agent: Agent) -> None:
    agent.control.take(raw(told(session_id="S")))
    with agent.recorder.session("T"):
        agent.control.admit("pay")
    with agent.recorder.session("S"), pytest.raises(Contained):
        agent.control.admit("pay")
    with pytest.raises(Contained):
        agent.control.admit("pay")
