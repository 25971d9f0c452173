"""Logs: one line an event, JSON unless a person watches. Payloads and secrets never go in.

Values are made harmless: control characters are escaped (no forged second line) and long values
are cut.
"""

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from functools import cached_property
from typing import Any, TextIO, cast

MAX_VALUE_CHARS = 500


def _harmless(
    _logger: object, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for name, value in event.items():
        if isinstance(value, bytes):
            event[name] = f"<{len(value)} bytes>"
        elif isinstance(value, str):
            event[name] = _printable(value)
    return event


def _printable(text: str) -> str:
    cut = text if len(text) <= MAX_VALUE_CHARS else text[:MAX_VALUE_CHARS] + "…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


class _StandardError:
    """Standard error as it is when something is said: it may have been put in place of another."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


class _Logger:
    """A logger that names its module. structlog takes long to load, and a short scan has nothing to
    log: it is loaded, and set up, with the first line.
    """

    def __init__(self, component: str) -> None:
        self._component = component

    @cached_property
    def _bound(self) -> Any:
        import structlog

        return structlog.get_logger(component=self._component)

    def __getattr__(self, name: str) -> Any:
        _set_up()
        return getattr(self._bound, name)


# The level that was asked for, until the first line is logged.
_asked: list[int] = []


def configure(level: str | None = None) -> None:
    """Set logging up for this process; TACHO_LOG_LEVEL (default info) says how much is told."""
    chosen = (level or os.environ.get("TACHO_LOG_LEVEL") or "info").upper()
    _asked[:] = [logging.getLevelNamesMapping().get(chosen, logging.INFO)]


def _set_up() -> None:
    try:
        number = _asked.pop()
    except IndexError:
        return
    import structlog

    watched = sys.stderr.isatty()
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if watched else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _harmless,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )


def place_of(error: BaseException) -> str:
    """Where an error that nobody expected came from, and its kind. Not its text, nor a traceback:
    they may quote a payload.
    """
    kind = type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    return f"{kind} at {frames[-1].filename}:{frames[-1].lineno}" if frames else kind


def get(name: str) -> Any:
    """A logger that names its module."""
    return _Logger(name)
