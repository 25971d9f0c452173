"""Classes of data: the tables of each, and how many days they stay."""

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from tachograph.pipeline.errors import ConfigError

DEFAULT_DAYS = 90
MAX_DAYS = 36_500
ENVIRONMENT = "TACHO_RETENTION"
# Classes of the logs: nothing of them goes until a number of days is named. What people looked at
# tells of people, so the law may want another time for it than for evidence about agents.
EVIDENCE, AUDIT = "evidence", "audit"
LOG_CLASSES = (EVIDENCE, AUDIT)
CLASSES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "actions": (
            "actions_data",
            "session_links_data",
            "same_as_data",
            "touched_data",
            "minutes_data",
            "denials_data",
            "delegated_data",
            "destinations_data",
            "texts_data",
            "reached_data",
        ),
        "signals": ("signals_data",),
        "alerts": ("alerts_data", "incidents_data", "incident_members_data"),
        "state": ("agent_state_data",),
        "dead_letters": ("dead_letters_data",),
        "health": ("health_data",),
    }
)
_CLASS_OF = {table: name for name, tables in CLASSES.items() for table in tables}


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """Days that rows stay: one number for all, and others for some classes."""

    days: int = DEFAULT_DAYS
    classes: dict[str, int] = {}

    def of_table(self, table: str) -> int:
        """Days that rows of a table stay."""
        return self.classes.get(_CLASS_OF.get(table, ""), self.days)

    def of_log(self, table: str) -> int | None:
        """Days that records of a log stay; None: for ever."""
        return self.classes.get(AUDIT if table == "audit_log" else EVIDENCE)


def retention_from(environ: Mapping[str, str]) -> Retention:
    """TACHO_RETENTION_DAYS, and TACHO_RETENTION: `alerts=365,actions=30`. Raises ConfigError."""
    days = _days("TACHO_RETENTION_DAYS", environ.get("TACHO_RETENTION_DAYS", str(DEFAULT_DAYS)))
    classes = {}
    for part in filter(None, environ.get(ENVIRONMENT, "").split(",")):
        name, _, number = part.strip().partition("=")
        if name not in (*CLASSES, *LOG_CLASSES):
            known = ", ".join((*CLASSES, *LOG_CLASSES))
            raise ConfigError(f"{ENVIRONMENT}: {name!r} is no class of data; there are {known}")
        classes[name] = _days(ENVIRONMENT, number)
    return Retention(days=days, classes=classes)


def _days(name: str, text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MAX_DAYS:
        raise ConfigError(f"{name}: {text!r} is no number from 1 to {MAX_DAYS}")
    return int(text)
