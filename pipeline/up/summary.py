"""What came of a run: alerts stored, which of the recorded attacks raised one, and what to try
next.
"""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence

import msgspec

from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.up.sample import Session
from tachograph.schemas.alert import SEVERITIES

SHOWN = 12
# An alert at or above this counts as "raised" in the summary.
COUNTS_FROM = "medium"

_NEXT = """\
Try next:
  {tacho} alert {alert_id}   # the gravest, on one page
  {tacho} incident list   # which alerts belong together
  {tacho} query --list   # hunts that ship
  {tacho} clickhouse   # serves what was stored; then, in another terminal:
  curl {clickhouse} -d "SELECT severity, agent_id, title FROM tacho.alerts \
ORDER BY risk DESC LIMIT 10 FORMAT PrettyCompact"
  {tacho} up --no-demo   # waits for your own agents; then
  {door}/console   # the web console: alerts as they come; curl -N {door}/alerts is the feed
  OTEL_EXPORTER_OTLP_ENDPOINT={door} python your_agent.py"""


class StoredAlert(msgspec.Struct, frozen=True, array_like=True):
    """One row of tacho.alerts, as far as the summary needs it."""

    alert_id: str
    agent_id: str
    severity: str
    title: str
    synthetic: bool


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of a run."""

    stored_actions: int
    alerts: list[StoredAlert]
    sessions: list[Session]
    door: str
    clickhouse: str

    @property
    def stored_alerts(self) -> int:
        return len(self.alerts)

    def text(self) -> str:
        """The summary as a person reads it."""
        parts = [self._stored(), *self._attacks(), self._next()]
        return "\n".join(parts)

    def _stored(self) -> str:
        counts = Counter(alert.severity for alert in self.alerts)
        by_severity = ", ".join(f"{counts[s]} {s}" for s in reversed(SEVERITIES) if counts[s])
        return (
            f"\nStored: {self.stored_actions:,} actions, {self.stored_alerts:,} alerts"
            f" ({by_severity or 'none'})."
        )

    def _attacks(self) -> list[str]:
        if not self.sessions:
            return []
        raised = {a.agent_id: a for a in self.alerts if _counts(a)}
        attacks = [s for s in self.sessions if s.attack]
        others = [s for s in self.sessions if not s.attack]
        caught = [s for s in attacks if s.agent_id in raised]
        flagged = [s for s in others if s.agent_id in raised]
        lines = [
            f"Recorded sessions: {len(caught)} of {len(attacks)} with a successful attack raised an"
            f" alert of severity {COUNTS_FROM} or above,"
            f" {len(flagged)} of {len(others)} others did.",
            "What the attacks raised:",
        ]
        for session in caught[:SHOWN]:
            alert = raised[session.agent_id]
            lines.append(f"  {alert.severity:<9} {_plain(alert.title)}")
        if len(caught) > SHOWN:
            lines.append(f"  … and {len(caught) - SHOWN} more")
        return lines

    def _next(self) -> str:
        example = self.alerts[0].alert_id[:12] if self.alerts else "…"
        return _NEXT.format(
            tacho=_program(), clickhouse=self.clickhouse, door=self.door, alert_id=example
        )


def _program() -> str:
    """How this person calls us: `tacho` where that is found, else the path from here."""
    return "tacho" if shutil.which("tacho") else os.path.relpath(sys.argv[0])


def _counts(alert: StoredAlert) -> bool:
    ranks = {severity: rank for rank, severity in enumerate(SEVERITIES)}
    return ranks[alert.severity] >= ranks[COUNTS_FROM]  # type: ignore[index]


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in text)[:120]


def summarize(settings: Settings, sessions: Sequence[Session], door: str) -> Summary:
    """Ask ClickHouse what it holds. Raises RetryLater when it does not answer."""
    at = settings.clickhouse
    with Connection(at) as connection:
        rows = connection.rows(
            "SELECT alert_id, ifNull(agent_id, entity), severity, title, synthetic"
            " FROM tacho.alerts ORDER BY risk DESC"
        )
        [(actions,)] = connection.rows("SELECT count() FROM tacho.actions")
    return Summary(
        stored_actions=actions,
        alerts=[msgspec.convert(row, StoredAlert, strict=False) for row in rows],
        sessions=list(sessions),
        door=door,
        clickhouse=at.url,
    )
