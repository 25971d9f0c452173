"""What a scan says: the newest state of every signal, one JSON object each.

A stateless signal is final at once and is written at once. A windowed one may still be revised or
retracted by a later line, and a signal whose session is only a trace id may still learn its
conversation: these wait for the end of the file.
"""

from collections.abc import Iterable, Iterator

import msgspec

from tachograph.pipeline.scan.raw_lines import line_of
from tachograph.schemas.alert import Signal
from tachograph.schemas.records import SessionLink


class Finding(msgspec.Struct, kw_only=True):
    """One line of output."""

    rule_id: str
    title: str
    severity: str
    kind: str
    # The event that it is of; of several the one that made it true, and when that was.
    event_time: str
    event_id: str | None
    event_index: int | None
    session_id: str | None
    trace_id: str | None
    agent_id: str | None
    reason: str
    signal_id: str
    risk_category: str
    event_count: int
    event_ids: list[str]
    tool_name: str | None
    frameworks: list[str]
    fields: dict[str, str]
    # What a rule over several events groups by.
    group: dict[str, str]
    blind_spots: list[str]


class Findings:
    """Collects signals of one scan; knows which of them are final."""

    def __init__(self, *, raw: bool) -> None:
        self._raw = raw
        self._waiting: dict[str, Signal] = {}
        self._sessions: dict[str, str] = {}

    def learn(self, links: Iterable[SessionLink]) -> None:
        """Conversations of traces, for signals that wait for theirs."""
        self._sessions.update((link.trace_id, link.session_id) for link in links)

    def take(self, signals: Iterable[Signal]) -> Iterator[Finding]:
        """Take signals in; gives back those that are final."""
        for signal in signals:
            if signal.kind != "stateless":
                self._replace(signal)
            elif signal.session_id is not None and signal.session_id == signal.trace_id:
                self._waiting[signal.signal_id] = signal
            else:
                yield self._finding(signal)

    def _replace(self, signal: Signal) -> None:
        known = self._waiting.get(signal.signal_id)
        if signal.change == "retracted":
            self._waiting.pop(signal.signal_id, None)
        elif known is None or known.revision <= signal.revision:
            self._waiting[signal.signal_id] = signal

    def rest(self) -> Iterator[Finding]:
        """At the end of the file: what waited, in the order of time."""
        for signal in sorted(self._waiting.values(), key=lambda s: (s.event_time, s.signal_id)):
            yield self._finding(signal)

    def _finding(self, signal: Signal) -> Finding:
        event = _event_of(signal)
        session = signal.session_id
        if session is not None and session == signal.trace_id:
            session = self._sessions.get(session, session)
        return Finding(
            rule_id=signal.rule_id,
            title=signal.title,
            severity=signal.severity,
            kind=signal.kind,
            event_time=signal.event_time.isoformat().replace("+00:00", "Z"),
            event_id=event,
            event_index=line_of(event) if self._raw and event else None,
            session_id=session,
            trace_id=signal.trace_id,
            agent_id=signal.agent_id,
            reason=signal.reason.text,
            signal_id=signal.signal_id,
            risk_category=signal.risk_category,
            event_count=signal.event_count,
            event_ids=signal.event_ids,
            tool_name=signal.tool_name,
            frameworks=signal.frameworks,
            fields=signal.reason.fields,
            group=signal.group,
            blind_spots=signal.blind_spots,
        )


def _event_of(signal: Signal) -> str | None:
    """The event at the signal's time."""
    first = signal.event_ids[0] if signal.event_ids else None
    return signal.witness.window.get("last", first)
