"""Faust, mode and aiokafka speak through our own log, warnings and worse, without payloads."""

import logging

from tachograph.pipeline import log as logs

NAMES = ("faust", "mode", "aiokafka", "asyncio")
MAX_CHARS = 300


class _ToOurs(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        """Hand one line over; the library's own words, cut short."""
        speak = logs.get(record.name)
        text = record.getMessage()[:MAX_CHARS]
        if record.levelno >= logging.ERROR:
            speak.error("library", text=text)
        else:
            speak.warning("library", text=text)


def hush() -> None:
    """Route the libraries' loggers; may be called again."""
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.handlers = [_ToOurs(level=logging.WARNING)]
        logger.setLevel(logging.WARNING)
        logger.propagate = False
