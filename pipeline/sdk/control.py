"""What an agent is told, and how it keeps to it: capture, throttle, require_approval, quarantine.

    control = recorder.listen(state=lambda: {"goals": goals, "memory": memory})
    with control.tool_call("pay", {"amount": 420}) as call:   # raises Contained when it must not
        call.result(pay(420))

A directive counts when it is this agent's, signed by a key that is known, not expired and not known
already; every one that is this agent's is answered.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tachograph.pipeline.sdk.holding import Contained, Held, Request
from tachograph.pipeline.sdk.listening import Listening
from tachograph.pipeline.sdk.signing import holds
from tachograph.schemas.records import AckStatus, Directive

if TYPE_CHECKING:
    from tachograph.pipeline.sdk.recorder import Recorder, ToolCall

log = logging.getLogger("tachograph.sdk")

KNOWN: Final = 10_000
# How far the clocks of pipeline and agent may be apart.
SKEW: Final = timedelta(seconds=30)
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 5.0
JOIN_S: Final = 2.0

_NOT_SIGNED: Final = "not signed by a key that is known"

State = Callable[[], Mapping[str, Any]]
Approve = Callable[[Directive, Request], bool]
Clock = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


class Control:
    """Listens on a thread of its own. All methods may be called from any thread."""

    def __init__(
        self,
        recorder: "Recorder",
        listening: Listening,
        *,
        agent_id: str,
        tenant: str | None,
        state: State | None = None,
        approve: Approve | None = None,
        keys: Mapping[str, bytes] | None = None,
        clock: Clock = _now,
    ) -> None:
        """`tenant`: None where the other side knows it. `state`: fields of a snapshot, asked for on
        capture. `approve`: whether a person approves a call. `keys`: public keys by id; without
        them those that the other side gives out are believed.
        """
        self._recorder, self._listening = recorder, listening
        self._agent_id, self._tenant = agent_id, tenant
        self._state, self._approve, self._clock = state, approve, clock
        self._keys, self._pinned = dict(keys or {}), keys is not None
        self._known: OrderedDict[str, None] = OrderedDict()
        self._held = Held(clock)
        self._stop = threading.Event()
        self.received = 0
        self._thread = threading.Thread(target=self._run, name="tachograph-control", daemon=True)
        self._thread.start()

    # --- what the agent asks ---

    def admit(self, tool: str, target: str | None = None, **facts: Any) -> None:
        """Whether a call may be made now. Raises Contained when it may not. Asks `approve` where a
        directive says that a person has to agree, and may block as long as that takes.
        """
        session = facts.get("session_id") or self._recorder.session_id
        request = Request(tool, target, session, facts.get("args"))
        for directive in self._held.against(request):
            if directive.kind == "require_approval" and self._approved(directive, request):
                continue
            raise Contained(directive)

    @contextmanager
    def tool_call(
        self, name: str, args: Any = None, *, target: str | None = None, **fields: Any
    ) -> "Iterator[ToolCall]":
        """As Recorder.tool_call, when it is admitted; a call that is not is recorded as denied."""
        try:
            self.admit(name, target, args=args, session_id=fields.get("session_id"))
        except Contained as contained:
            with self._recorder.tool_call(name, args, **fields) as call:
                call.denied(f"{contained.directive.kind} {contained.directive.directive_id}")
            raise
        with self._recorder.tool_call(name, args, **fields) as call:
            yield call

    @property
    def in_force(self) -> list[Directive]:
        """What holds now."""
        return self._held.in_force()

    def close(self) -> None:
        """Stop listening. What was in force is no longer kept to."""
        self._stop.set()
        self._listening.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(JOIN_S)

    def _approved(self, directive: Directive, request: Request) -> bool:
        if self._approve is None:
            return False
        agreed = bool(self._approve(directive, request))
        self._recorder.action(
            "approval",
            approval_id=directive.directive_id,
            approval_decision="approved" if agreed else "refused",
            tool_name=request.tool,
        )
        return agreed

    # --- on the thread that listens ---

    def _run(self) -> None:
        wait_s = FIRST_WAIT_S
        while not self._stop.is_set():
            try:
                for raw in self._listening.directives():
                    wait_s = FIRST_WAIT_S
                    if self._stop.is_set():
                        return
                    if raw:
                        self.take(raw)
            except OSError as error:
                log.info("directives are not heard for now: %s", error)
            except Exception as error:  # noqa: BLE001 - the thread must live: it is how the agent is reached
                log.warning("a directive could not be followed: %s", type(error).__name__)
            self._stop.wait(wait_s)
            wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def take(self, raw: bytes) -> AckStatus | None:
        """Follow one directive as it came; what it is answered with, None when it is not answered
        (it is another's, or known, or nothing that can be read).
        """
        try:
            plain = msgspec.json.decode(raw, type=dict[str, Any])
            directive = msgspec.convert(plain, Directive)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return None
        mine = directive.agent_id == self._agent_id and self._tenant in (None, directive.tenant)
        if not mine or directive.directive_id in self._known:
            return None
        self.received += 1
        if not self._signed(plain):
            # A forged one must not keep out the true one of its id.
            self._recorder.ack(directive.directive_id, "refused", _NOT_SIGNED)
            return "refused"
        self._known[directive.directive_id] = None
        status, detail = self._tried(directive)
        while len(self._known) > KNOWN:
            self._known.popitem(last=False)
        self._recorder.ack(directive.directive_id, status, detail)
        return status

    def _tried(self, directive: Directive) -> tuple[AckStatus, str | None]:
        """One that cannot be followed is answered like any other: it must not come again and again
        before those behind it.
        """
        try:
            return self._followed(directive)
        except Exception as error:  # noqa: BLE001 - told to whoever issued it
            return "refused", f"it could not be followed: {type(error).__name__}"

    def _followed(self, directive: Directive) -> tuple[AckStatus, str | None]:
        now = self._clock()
        if directive.expires_at <= now:
            return "expired", None
        if directive.issued_at > now + SKEW:
            return "refused", "it is issued in the future"
        if directive.dry_run:
            return "received", "a dry run: nothing was done"
        if directive.kind == "capture":
            return self._captured(directive)
        if directive.kind == "release":
            self._held.release(directive)
        else:
            self._held.hold(directive)
        return "applied", None

    def _signed(self, plain: Mapping[str, Any]) -> bool:
        key_id = plain.get("key_id")
        if not self._pinned and isinstance(key_id, str) and key_id not in self._keys:
            try:
                self._keys = self._listening.keys() or self._keys
            except OSError as error:
                log.info("no key to check a directive by: %s", error)
        return holds(plain, self._keys)

    def _captured(self, directive: Directive) -> tuple[AckStatus, str | None]:
        if self._state is None:
            return "refused", "this agent publishes no state"
        try:
            fields = dict(self._state())
        except Exception as error:  # noqa: BLE001 - whatever the agent's own code raises is told, not followed
            return "refused", f"its state could not be made: {type(error).__name__}"
        self._recorder.snapshot(
            **{
                "session_id": directive.session_id,
                **fields,
                "directive_id": directive.directive_id,
                "alert_id": directive.alert_id,
                "agent_id": self._agent_id,
            }
        )
        return "applied", None
