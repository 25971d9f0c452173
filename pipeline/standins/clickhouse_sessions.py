"""Sessions of the writer: a connection that outlives a request, as `session_id` asks for.

In a session SET, USE and temporary tables last until it was idle for its timeout. Settings in the
URL last one request, so they are put back. Thread-safe.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError, engine_errors
from tachograph.pipeline.standins.clickhouse_limits import MAX_SESSIONS
from tachograph.pipeline.standins.clickhouse_sql import set_statement

_CHANGED_SETTINGS = "SELECT name, value FROM system.settings WHERE changed"


@dataclass
class _Session:
    connection: Any
    lock: threading.Lock = field(default_factory=threading.Lock)
    expires_at: float = 0.0


class Sessions:
    """At most MAX_SESSIONS of them; the one that expires first makes room for a new one."""

    def __init__(
        self, connect: Callable[[], Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, _Session] = {}

    @contextmanager
    def lease(self, session_id: str, timeout_s: int, settings: tuple[str, ...]) -> Iterator[Any]:
        """The session's connection, for one request that sets `settings` for itself.

        Raises ClickHouseError if the session is busy with another request."""
        set_statement(dict.fromkeys(settings, ""))  # refuses what is no setting's name
        session = self._acquire(session_id, timeout_s)
        try:
            before = _saved(session.connection, settings)
            try:
                yield session.connection
            finally:
                _restore(session.connection, before)
        finally:
            session.expires_at = self._clock() + timeout_s
            session.lock.release()

    def _acquire(self, session_id: str, timeout_s: int) -> _Session:
        with self._lock:
            self._expire()
            session = self._sessions.get(session_id)
            if session is None:
                if len(self._sessions) >= MAX_SESSIONS:
                    self._drop_one()
                session = self._sessions[session_id] = _Session(self._connect())
            if not session.lock.acquire(blocking=False):
                text = f"Session {session_id[:64]} is locked by a concurrent client."
                raise ClickHouseError(errors.SESSION_IS_LOCKED, text)
            session.expires_at = self._clock() + timeout_s
            return session

    def _expire(self) -> None:
        now = self._clock()
        for name in [name for name, one in self._sessions.items() if one.expires_at <= now]:
            self._close(name)

    def _drop_one(self) -> None:
        for name in sorted(self._sessions, key=lambda name: self._sessions[name].expires_at):
            if self._close(name):
                return
        text = f"All {MAX_SESSIONS} sessions are busy."
        raise ClickHouseError(errors.TOO_MANY_SIMULTANEOUS_QUERIES, text)

    def _close(self, name: str) -> bool:
        session = self._sessions[name]
        if not session.lock.acquire(blocking=False):
            return False
        del self._sessions[name]
        session.connection.close()
        return True

    def close(self) -> None:
        """End all sessions. None may be busy."""
        with self._lock:
            for name in list(self._sessions):
                self._close(name)


def _saved(connection: Any, names: tuple[str, ...]) -> dict[str, str | None]:
    """Values that the session itself gave to these settings; None for those it left alone."""
    if not names:
        return {}
    with engine_errors():
        rows = connection.query(_CHANGED_SETTINGS, "TSVRaw").bytes().decode().splitlines()
    changed = {name: value for name, _, value in (row.partition("\t") for row in rows)}
    return {name: changed.get(name) for name in names}


def _restore(connection: Any, before: dict[str, str | None]) -> None:
    own = {name: value for name, value in before.items() if value is not None}
    with engine_errors():
        if own:
            connection.query(set_statement(own))
        for name in before.keys() - own.keys():
            # An unknown name was refused with the request itself, and changed nothing.
            with suppress(ClickHouseError), engine_errors():
                connection.query(f"SET {name} = DEFAULT")
