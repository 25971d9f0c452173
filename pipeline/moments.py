"""Times and people as command lines write and show them."""

from datetime import UTC, datetime
from getpass import getuser

from tachograph.pipeline.errors import ConfigError


def moment_of(option: str, text: str | None) -> datetime | None:
    """A time that a person wrote. Raises ConfigError."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{option} {text}: write it as 2026-11-30T08:00:00+01:00") from None
    return moment.astimezone(UTC)


def shown(moment: datetime) -> str:
    """A time for a person, to the second."""
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def who() -> str:
    """Who runs this process."""
    try:
        return getuser()
    except (KeyError, OSError):
        return "unknown"
