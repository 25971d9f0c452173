"""Directives that hold an agent back, and what each of them means for a call."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from tachograph.schemas.records import Directive

MAX_HELD: Final = 1_000
# Calls a minute under a throttle that does not say how many.
PER_MINUTE: Final = 6
MINUTE_S: Final = 60.0


class Request(NamedTuple):
    """A call that an agent wants to make."""

    tool: str
    target: str | None = None
    session_id: str | None = None
    args: Any = None


class Contained(RuntimeError):
    """The call must not be made now; `directive` says why and until when."""

    def __init__(self, directive: Directive) -> None:
        super().__init__(f"{directive.kind} until {directive.expires_at}: {directive.reason}")
        self.directive = directive


class Held:
    """What is in force for one agent. Thread-safe."""

    def __init__(
        self, clock: Callable[[], datetime], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._monotonic = clock, monotonic
        self._lock = threading.Lock()
        self._held: dict[str, Directive] = {}
        self._calls: dict[str, deque[float]] = {}
        self._released: list[Directive] = []

    def hold(self, directive: Directive) -> None:
        """Keep to a directive, unless a release that was issued after it is known already."""
        with self._lock:
            if any(_releases(one, directive) for one in self._released):
                return
            self._held[directive.directive_id] = directive
            while len(self._held) > MAX_HELD:
                del self._held[next(iter(self._held))]

    def release(self, release: Directive) -> None:
        """Keep no longer to what was issued before; to one alone where scope names directive_id."""
        with self._lock:
            self._released = [*self._released[-MAX_HELD:], release]
            self._held = {
                name: held for name, held in self._held.items() if not _releases(release, held)
            }

    def in_force(self) -> list[Directive]:
        """What has not expired, oldest first."""
        now = self._clock()
        with self._lock:
            self._held = {name: one for name, one in self._held.items() if one.expires_at > now}
            self._calls = {name: one for name, one in self._calls.items() if name in self._held}
            self._released = [one for one in self._released if one.expires_at > now]
            return list(self._held.values())

    def against(self, request: Request) -> Iterator[Directive]:
        """Directives that stand against the call, gravest first. A throttle does only beyond its
        number of calls a minute, and the call counts for it.
        """
        concerned = [one for one in self.in_force() if _concerns(one, request)]
        for directive in sorted(concerned, key=lambda one: _GRAVITY.index(one.kind)):
            if directive.kind != "throttle" or not self._spare(directive):
                yield directive

    def _spare(self, throttle: Directive) -> bool:
        now_s = self._monotonic()
        with self._lock:
            calls = self._calls.setdefault(throttle.directive_id, deque())
            while calls and calls[0] <= now_s - MINUTE_S:
                calls.popleft()
            if len(calls) >= _per_minute(throttle):
                return False
            calls.append(now_s)
            return True


_GRAVITY: Final = ("quarantine", "require_approval", "throttle", "capture", "release")


def _releases(release: Directive, held: Directive) -> bool:
    named = release.scope.get("directive_id")
    session = release.session_id
    return (
        held.issued_at <= release.issued_at
        and named in (None, held.directive_id)
        and session in (None, held.session_id)
    )


def _concerns(directive: Directive, request: Request) -> bool:
    session, scope = directive.session_id, directive.scope
    return (
        # A call of no known session may be of the one that is meant.
        (session is None or request.session_id in (None, session))
        and fnmatchcase(request.tool, scope.get("tool", "*"))
        and fnmatchcase(request.target or "", scope.get("target", "*"))
    )


def _per_minute(throttle: Directive) -> int:
    text = throttle.scope.get("per_minute", "")
    return int(text) if text.isdecimal() and len(text) < 7 else PER_MINUTE
