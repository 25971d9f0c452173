"""Untrusted text for a terminal, and the colours of severities."""

from typing import Final

from rich.text import Text

STYLE: Final = {
    "critical": "bold white on red",
    "high": "bold red",
    "medium": "yellow",
    "low": "cyan",
    "informational": "dim",
}


def safe(value: str | None, width: int) -> Text:
    """Untrusted text on one line, cut to a width."""
    clean = "".join(c if c.isprintable() else "·" for c in value or "–")
    return Text(clean if len(clean) <= width else clean[: width - 1] + "…")
