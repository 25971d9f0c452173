"""Triage dies in the middle of a capture: no alert without its snapshot, no second directive."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.triage.desk import Arrival, judge
from tachograph.pipeline.triage.entry import Entry, TriageRecord
from tachograph.pipeline.triage.policy import Policy, Response
from tachograph.schemas.alert import Alert, SignalGroup
from tachograph.schemas.codec import encode
from tachograph.schemas.records import CaptureAnswer, Context, Directive, IncidentLink
from tests.pipeline.triage import groups as make

KINDS = {
    SignalGroup: "signal_group", Context: "context", CaptureAnswer: "capture_answer",
    IncidentLink: "incident_link",
}  # fmt: skip
POLICY = Policy(
    respond=[Response(kind="quarantine", reason="stop it", min_severity="high")],
)
# Where it dies: before anything is sent, with alerts sent, with directives too, with the table
# written but nothing committed; or not at all.
STAGES = ("nothing", "alerts", "directives", "table", "done")


class Triage:
    """The adapter's order of doing things, with a log, a table and a broker in memory."""

    def __init__(self, records: list[TriageRecord]) -> None:
        self._log = [
            Arrival(partition=0, offset=at, at_ms=1_000 * at, kind=KINDS[type(record)],
                    payload=encode(record))
            for at, record in enumerate(records)
        ]  # fmt: skip
        self.alerts: list[Alert] = []
        self.directives: list[Directive] = []
        self._table: dict[str, Entry] = {}
        self._committed = 0

    def batch(self, size: int, until: str) -> None:
        """Judge the next records and get as far as `until`."""
        end = min(self._committed + size, len(self._log))
        outcome = judge(self._log[self._committed : end], self._table.get, POLICY)
        assert not outcome.refusals
        reached = STAGES.index(until)
        if reached >= STAGES.index("alerts"):
            self.alerts += outcome.alerts
        if reached >= STAGES.index("directives"):
            self.directives += outcome.directives
        if reached >= STAGES.index("table"):
            self._table |= outcome.entries
        if until == "done":
            self._committed = end

    def finish(self) -> None:
        """Without a further death."""
        while self._committed < len(self._log):
            self.batch(len(self._log), "done")


def _told(directives: list[Directive]) -> set[tuple[Any, ...]]:
    return {(one.alert_id, one.agent_id, one.kind) for one in directives}


@settings(max_examples=80, deadline=None)
@given(
    records=st.lists(make.records(), min_size=1, max_size=20),
    steps=st.lists(st.tuples(st.integers(1, 8), st.sampled_from(STAGES)), max_size=14),
)
def test_wherever_it_dies_each_alert_has_its_snapshot_and_each_agent_is_told_once(
    records: list[TriageRecord], steps: list[tuple[int, str]]
) -> None:
    triage = Triage(records)
    for size, until in steps:
        triage.batch(size, until)
    triage.finish()
    for alert in triage.alerts:
        assert (alert.state is None) == (alert.state_missing is not None)
    ids = {one.directive_id for one in triage.directives}
    assert len(ids) == len(_told(triage.directives)), "a second directive for what was told"


@given(records=st.lists(make.records(), min_size=1, max_size=20))
@settings(max_examples=30, deadline=None)
def test_a_table_that_was_written_asks_nobody_again(records: list[TriageRecord]) -> None:
    triage = Triage(records)
    triage.batch(len(records), "table")
    said = len(triage.alerts), len(triage.directives)
    triage.finish()
    assert (len(triage.alerts), len(triage.directives)) == said


def test_the_capture_that_was_under_way_is_answered_in_the_same_alert() -> None:
    first, context = make.group("exfil", "critical"), make.context("exfil")
    triage = Triage([first, context, make.answer("a", answered=True)])
    triage.batch(1, "directives")
    triage.batch(2, "directives")
    triage.finish()
    last = triage.alerts[-1]
    assert (last.stage, last.state is not None) == ("answered", True)
    assert {one.kind for one in triage.directives} == {"capture", "quarantine"}
    assert len({one.directive_id for one in triage.directives}) == 2
