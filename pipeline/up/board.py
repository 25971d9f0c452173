"""The alerts as they come, for the live view and the summary: newest revision of each, counted by
severity.
"""

import itertools
import threading
from collections import Counter, OrderedDict

from tachograph.pipeline.errors import TachoError
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.tail import messages
from tachograph.schemas import codec
from tachograph.schemas.alert import SEVERITIES, Alert

log = get("up.board")

ALERTS_MAX = 5_000
NEWEST = 10


class Board:
    """Newest revision of the last few thousand alerts. Filled by one thread, read by another."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._alerts: OrderedDict[str, Alert] = OrderedDict()
        self._lock = threading.Lock()
        self._fresh: list[Alert] = []

    def start(self, stop: threading.Event) -> None:
        """Follow agent.alerts in a thread of its own until `stop`."""
        threading.Thread(target=self._follow, args=(stop,), name="board", daemon=True).start()

    def _follow(self, stop: threading.Event) -> None:
        while not stop.is_set():
            try:
                for message in messages(
                    self._settings, "agent.alerts", from_start=False, follow=True
                ):
                    self.take(message.value() or b"")
                    if stop.is_set():
                        return
            except TachoError as error:
                log.debug("alerts cannot be read yet", error=str(error))
                stop.wait(1.0)

    def take(self, payload: bytes) -> None:
        """Take in one record; an older revision than known changes nothing."""
        try:
            alert = codec.decode(Alert, payload)
        except codec.InvalidRecord:
            return
        with self._lock:
            known = self._alerts.get(alert.alert_id)
            if known is not None and known.revision >= alert.revision:
                return
            self._alerts[alert.alert_id] = alert
            self._alerts.move_to_end(alert.alert_id)
            if known is None:
                self._fresh.append(alert)
            if len(self._alerts) > ALERTS_MAX:
                self._alerts.popitem(last=False)

    def newest(self, count: int = NEWEST) -> list[Alert]:
        """The alerts that changed last, newest first, without those that were taken back."""
        with self._lock:
            standing = (a for a in reversed(self._alerts.values()) if a.status != "retracted")
            return list(itertools.islice(standing, count))

    def take_fresh(self) -> list[Alert]:
        """Alerts that are new since the last call."""
        with self._lock:
            fresh, self._fresh = self._fresh, []
        return fresh

    def by_severity(self) -> dict[str, int]:
        """Open alerts by severity, gravest first."""
        with self._lock:
            found = Counter(a.severity for a in self._alerts.values() if a.status != "retracted")
        return {severity: found[severity] for severity in reversed(SEVERITIES)}
