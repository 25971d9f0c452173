"""The recorder that an agent carries: a call returns at once, whatever the pipeline is doing."""

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Self

import msgspec

from tachograph.pipeline.sdk import encoding
from tachograph.pipeline.sdk.buffer import Buffer, Drop, Kind, Queued
from tachograph.pipeline.sdk.control import Approve, Control, State
from tachograph.pipeline.sdk.http import HttpTransport
from tachograph.pipeline.sdk.ids import new_id
from tachograph.pipeline.sdk.kafka import KafkaTransport
from tachograph.pipeline.sdk.listening import DoorListening, KafkaListening, Listening
from tachograph.pipeline.sdk.sender import Sender
from tachograph.pipeline.sdk.signing import key_of
from tachograph.pipeline.sdk.transport import Transport

log = logging.getLogger("tachograph.sdk")

DEFAULT_ENDPOINT: Final = "http://127.0.0.1:4318"
MAX_RECORDS: Final = 10_000
MAX_BYTES: Final = 16_777_216
TIMEOUT_S: Final = 10.0
CLOSE_S: Final = 5.0
SOURCE: Final = "tachograph-sdk"

_NO_FIELDS: Final[Mapping[str, Any]] = {}
_context: ContextVar[Mapping[str, Any]] = ContextVar("tachograph_session", default=_NO_FIELDS)
# Until it is closed: what it holds is still to be sent when the process ends.
_open: "set[Recorder]" = set()


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of everything an agent recorded; the counts add up to `recorded`."""

    recorded: int  # calls of action, snapshot and tool_call
    sent: int  # acknowledged
    queued: int  # waiting, or under way
    dropped: int  # lost: no room, or not sent by the deadline of close
    refused: int  # the other side does not take them
    invalid: int  # no record could be made of them
    retries: int  # sends that had to be made again


class Recorder:
    """Publishes what one agent does. May be used from any thread; never blocks, never raises.

    Without `endpoint` (an HTTP door) or `bootstrap_servers` (Kafka), TACHO_ENDPOINT, then
    KAFKA_BOOTSTRAP_SERVERS, then the door on 127.0.0.1:4318 is used. `kafka` adds librdkafka
    properties such as SASL's. `fields` stand on every action: agent_name, environment,
    agent_version …  `drop` says what goes when the buffer is full. Raises ValueError at
    construction for what cannot be meant.
    """

    def __init__(  # noqa: PLR0913 - keywords, each of which somebody wants alone
        self,
        agent_id: str,
        *,
        endpoint: str | None = None,
        bootstrap_servers: str | None = None,
        token: str | None = None,
        kafka: Mapping[str, Any] | None = None,
        tenant: str | None = None,
        fields: Mapping[str, Any] | None = None,
        max_records: int = MAX_RECORDS,
        max_bytes: int = MAX_BYTES,
        drop: Drop = "oldest",
        timeout_s: float = TIMEOUT_S,
        transport: Transport | None = None,
    ) -> None:
        if not agent_id or max_records < 1 or max_bytes < 1 or drop not in ("oldest", "newest"):
            raise ValueError(
                "agent_id, max_records and max_bytes must be there, drop oldest or newest"
            )
        if endpoint and bootstrap_servers:
            raise ValueError("give endpoint or bootstrap_servers, not both")
        self._agent_id = agent_id
        self._tenant = tenant or os.environ.get("TACHO_TENANT") or "default"
        self._listening: Callable[[], Listening] | None = None
        self._fields = dict(fields or {})
        self._bounds = (max_records, max_bytes, drop)
        self._transport = transport or self._chosen(
            endpoint, bootstrap_servers, token, kafka or {}, timeout_s
        )
        self._begin()
        _open.add(self)

    def _chosen(
        self,
        endpoint: str | None,
        bootstrap_servers: str | None,
        token: str | None,
        kafka: Mapping[str, Any],
        timeout_s: float,
    ) -> Transport:
        servers = bootstrap_servers
        if not endpoint and not servers:
            endpoint = os.environ.get("TACHO_ENDPOINT")
            servers = None if endpoint else os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
        if servers:
            config = {"bootstrap.servers": servers, **kafka}
            self._listening = partial(KafkaListening, config, self._tenant, self._agent_id)
            return KafkaTransport(config, self._tenant, timeout_s)
        token = token or os.environ.get("TACHO_TOKEN")
        door = endpoint or DEFAULT_ENDPOINT
        self._listening = partial(DoorListening, door, token, self._agent_id)
        return HttpTransport(door, token, timeout_s)

    def _begin(self) -> None:
        """Start empty: at construction, and in a process that was forked from this one."""
        self._lock = threading.Lock()
        self._buffer = Buffer(*self._bounds)
        self._sender: Sender | None = None
        self._closed = False
        self._invalid = 0
        self._sequence = 0
        # A running number that begins anew with every process shows what was dropped, and what
        # was cut out.
        self._instance = new_id()

    def action(self, kind: str, **fields: Any) -> None:
        """Record one thing the agent did. Field names are those of an Action; others become
        attributes.
        """
        row = {
            "event_time": datetime.now(UTC),
            "producer_id": new_id(),
            "agent_id": self._agent_id,
            "agent_instance_id": self._instance,
            "source_id": SOURCE,
            **self._fields,
            **_context.get(),
            **fields,
            "kind": kind,
        }
        self._record("action", row)

    def snapshot(self, **fields: Any) -> None:
        """Record what the agent is at this moment: goals, memory, tools, model, policies …"""
        session = _context.get().get("session_id")
        row = {
            "snapshot_id": new_id(),
            "tenant": self._tenant,
            "taken_at": datetime.now(UTC),
            "source": "agent",
            "agent_id": self._agent_id,
            "agent_instance_id": self._instance,
            "session_id": session,
            **fields,
        }
        self._record("state_snapshot", row)

    def ack(self, directive_id: str, status: str, detail: str | None = None) -> None:
        """Answer a directive. `listen` does this."""
        row = {
            "directive_id": directive_id,
            "tenant": self._tenant,
            "agent_id": self._agent_id,
            "status": status,
            "acked_at": datetime.now(UTC),
            "detail": detail,
        }
        self._record("directive_ack", row)

    def listen(
        self,
        *,
        state: State | None = None,
        approve: Approve | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> Control:
        """Hear what this agent is told, from where its records go, and keep to it: see Control.

        `state` gives the fields of a snapshot when it is asked for. `approve` is asked before a
        call that a person has to agree to. `keys` (id → base64) are the only ones that are believed
        then; without them those that the door gives out are. Raises ValueError where there is
        nothing to listen to, or a key is none; ImportError without the package `cryptography`.
        """
        import cryptography  # noqa: F401 - better told now than when it is needed

        if self._listening is None:
            raise ValueError("a recorder with a transport of its own has nothing to listen to")
        if keys is None and isinstance(self._transport, KafkaTransport):
            raise ValueError("Kafka gives out no keys: say which to believe, keys={id: base64}")
        return Control(
            self,
            self._listening(),
            agent_id=self._agent_id,
            # The door knows whose token it is.
            tenant=self._tenant if isinstance(self._transport, KafkaTransport) else None,
            state=state,
            approve=approve,
            keys={name: key_of(text) for name, text in keys.items()} if keys else None,
        )

    @property
    def session_id(self) -> str | None:
        """The session of this thread or task."""
        return _context.get().get("session_id")

    @contextlib.contextmanager
    def session(self, session_id: str, **fields: Any) -> Iterator[None]:
        """Everything recorded inside belongs to this session, in this thread or task; sessions
        nest.
        """
        marker = _context.set({**_context.get(), "session_id": session_id, **fields})
        try:
            yield
        finally:
            # A generator may be closed in another context than it began in; that one has no
            # session to end.
            with contextlib.suppress(ValueError):
                _context.reset(marker)

    @contextlib.contextmanager
    def tool_call(self, name: str, args: Any = None, **fields: Any) -> Iterator["ToolCall"]:
        """Record a tool call when it ends: arguments, result, how it ended, how long it took.

        An exception of the block is recorded and goes on its way.
        """
        call = ToolCall({"tool_call_id": new_id(), **fields, "tool_name": name, "tool_args": args})
        started, clock_s = datetime.now(UTC), time.perf_counter()
        try:
            yield call
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            duration_ms = (time.perf_counter() - clock_s) * 1000
            timing = {"start_time": started, "duration_ms": duration_ms}
            self.action(**{**timing, **call.fields, "kind": "tool_call"})

    def _record(self, kind: Kind, row: dict[str, Any]) -> None:
        try:
            with self._lock:
                payload = self._encoded(kind, row)
                named = row.get("agent_id")
                agent = named if isinstance(named, str) else self._agent_id
                self._buffer.put(Queued(kind, agent, payload))
                if self._sender is None and not self._closed:
                    self._begin_to_send()
        except encoding.Unusable as error:
            self._unusable(str(error))
        except Exception as error:  # noqa: BLE001 - no agent pays for its recorder, whatever it handed over
            self._unusable(type(error).__name__)

    def _begin_to_send(self) -> None:
        """The record waits already: where there can be no thread now, the next one asks again."""
        try:
            self._sender = Sender(self._buffer, self._transport)
        except RuntimeError as error:
            log.warning("records wait, for no thread can be started: %s", error)

    def _encoded(self, kind: Kind, row: dict[str, Any]) -> bytes:
        if kind == "state_snapshot":
            return encoding.snapshot(row)
        if kind == "directive_ack":
            return encoding.ack(row)
        numbered = {"sequence": self._sequence + 1, "sequence_epoch": self._instance, **row}
        dropped = self._buffer.dropped
        payload = encoding.action(numbered, {"sdk_dropped": str(dropped)} if dropped else {})
        self._sequence += 1
        return payload

    def _unusable(self, reason: str) -> None:
        with self._lock:
            self._invalid += 1
            first = self._invalid == 1
        if first:
            log.warning("no record could be made: %s (said once; see stats().invalid)", reason)

    @property
    def dropped(self) -> int:
        """Records lost so far."""
        return self._buffer.dropped

    def stats(self) -> Stats:
        """What became of everything recorded until now."""
        counts, sender, invalid = self._buffer.counts(), self._sender, self._invalid
        return Stats(
            recorded=counts.recorded + invalid,
            sent=counts.sent,
            queued=counts.queued,
            dropped=counts.dropped,
            refused=counts.refused,
            invalid=invalid,
            retries=sender.retries if sender else 0,
        )

    def flush(self, deadline_s: float = CLOSE_S) -> bool:
        """Wait until everything recorded is sent. False: not within the deadline. The one call
        that waits.
        """
        end = time.monotonic() + deadline_s
        while self.stats().queued:
            if time.monotonic() >= end:
                return False
            time.sleep(0.005)
        return True

    def close(self, deadline_s: float = CLOSE_S) -> Stats:
        """Send what is left, up to the deadline; what is not sent then counts as dropped."""
        with self._lock:
            self._closed = True
            sender = self._sender
        self._buffer.close()
        if sender is not None:
            sender.close(deadline_s)
        self._buffer.abandon()
        _open.discard(self)
        return self.stats()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _forked(self) -> None:
        """In a new process: what waits belongs to the old one, and its thread is not here."""
        self._transport.abandon()
        self._begin()


class ToolCall:
    """A tool call under way."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self.fields = {"attempt": "executed", "outcome": "succeeded", **fields}

    def result(self, value: Any) -> Any:
        """Record what the tool answered; gives it back."""
        self.fields["tool_result"] = value
        return value

    def add(self, **fields: Any) -> None:
        """Record more about the call: target_url, tool_rows_affected …"""
        self.fields |= fields

    def denied(self, reason: str | None = None) -> None:
        """The call was not allowed, and not made."""
        self.fields |= {"attempt": "requested", "outcome": "denied", "policy_reason": reason}

    def failed(self, error: BaseException) -> None:
        """The call ended with an error; one that is no Exception is a cancellation."""
        outcome = "failed" if isinstance(error, Exception) else "cancelled"
        if self.fields["outcome"] != "denied":
            self.fields["outcome"] = outcome
        self.fields |= {"error_type": type(error).__qualname__, "error_message": error}


def _after_fork() -> None:
    for recorder in list(_open):
        recorder._forked()  # noqa: SLF001 - the one caller it is for


def _at_exit() -> None:
    for recorder in list(_open):
        recorder.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
atexit.register(_at_exit)
