"""Batches may be cut anywhere and triage may die between any two steps: the end is the same."""

import random

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tachograph.pipeline.triage import desk
from tachograph.pipeline.triage.desk import Arrival, judge
from tachograph.pipeline.triage.entry import MAX_NAME_CHARS, Entry, TriageRecord, key_of
from tachograph.pipeline.triage.judgement import stamped
from tachograph.pipeline.triage.policy import Policy
from tachograph.schemas import contracts
from tachograph.schemas.alert import Alert, SignalGroup
from tachograph.schemas.codec import encode
from tachograph.schemas.records import CaptureAnswer, Context, Directive, IncidentLink
from tests.pipeline.triage import groups as make

POLICY = Policy()
KINDS = {
    SignalGroup: "signal_group", Context: "context", CaptureAnswer: "capture_answer",
    IncidentLink: "incident_link",
}  # fmt: skip


def arrivals(records: list[TriageRecord]) -> list[Arrival]:
    """The records as a log of one partition."""
    return [
        Arrival(partition=1, offset=n, at_ms=n * 10, kind=KINDS[type(r)], payload=encode(r))
        for n, r in enumerate(records)
    ]


def nothing(_key: str) -> Entry | None:
    """A table without entries."""
    return None


class Disk:
    """A table and a topic that keep what was acknowledged, and a process that may die."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.alerts: list[Alert] = []
        self.committed = 0

    def step(self, batch: list[Arrival], *, reached: int) -> None:
        """One batch, dying after `reached` of its acknowledgements (alerts, entries, commit)."""
        outcome = judge(batch, self.entries.get, POLICY)
        self.alerts += outcome.alerts[:reached]
        left = reached - len(outcome.alerts)
        for key, entry in list(outcome.entries.items())[: max(0, left)]:
            self.entries[key] = entry
        if left > len(outcome.entries):
            self.committed = batch[-1].offset + 1

    def final(self) -> dict[str, Alert]:
        """What a reader of the topic holds: the newest revision of each alert."""
        newest: dict[str, Alert] = {}
        for alert in self.alerts:
            held = newest.get(alert.alert_id)
            if held is None or alert.revision >= held.revision:
                newest[alert.alert_id] = stamped(alert, 0, alert.created_at)
        return newest


def run(log: list[Arrival], chance: random.Random, *, deaths: int) -> Disk:
    disk = Disk()
    while disk.committed < len(log):
        size = chance.randint(1, 6)
        batch = log[disk.committed : disk.committed + size]
        dies = deaths > 0 and chance.random() < 0.5
        deaths -= dies
        disk.step(batch, reached=chance.randint(0, 6) if dies else 1_000)
    return disk


@settings(max_examples=200, deadline=None)
@given(
    st.lists(make.records(), min_size=1, max_size=25),
    st.lists(st.sampled_from("xyz"), min_size=25, max_size=25),
    st.randoms(use_true_random=False),
)
def test_deaths_and_batch_cuts_change_no_final_alert(
    records: list[TriageRecord], owners: list[str], chance: random.Random
) -> None:
    named = [make.owned(record, owner) for record, owner in zip(records, owners, strict=False)]
    log = arrivals(named)
    calm = run(log, random.Random(1), deaths=0)
    wild = run(log, chance, deaths=6)
    assert wild.final() == calm.final()
    said: dict[tuple[str, int], Alert] = {}
    for alert in wild.alerts:
        assert said.setdefault((alert.alert_id, alert.revision), alert) == alert


def test_an_alert_that_was_told_and_forgotten_is_told_again_when_it_reverts() -> None:
    opened, gone = make.group("a"), make.group("a", revision=2, count=0)
    log = arrivals([opened, gone])
    disk = Disk()
    disk.step(log[:1], reached=1)  # the alert is out, the table never heard of it
    disk.step(log, reached=1_000)  # the same record again, now in one batch with the next
    assert [alert.status for alert in disk.final().values()] == ["retracted"]


def test_the_revision_is_the_offset_of_the_record_that_changed_the_alert() -> None:
    log = arrivals([make.group("a"), make.group("b"), make.group("b")])
    outcome = judge(log, nothing, POLICY)
    assert [alert.revision for alert in outcome.alerts] == [1]
    assert outcome.known == 1


def test_closing_a_group_is_kept_and_raises_no_new_revision() -> None:
    first = judge(arrivals([make.group("a")]), nothing, POLICY)
    closing = arrivals([make.group("a"), make.group("a", revision=5, closed=True)])[1:]
    outcome = judge(closing, first.entries.get, POLICY)
    assert outcome.alerts == []
    assert outcome.entries


def test_a_retraction_of_what_was_never_open_is_no_alert() -> None:
    outcome = judge(arrivals([make.group("a", count=0)]), nothing, POLICY)
    assert outcome.alerts == []


@pytest.mark.parametrize("cut", [1, 2])
def test_what_was_taken_back_before_it_was_heard_of_is_no_alert_wherever_batches_are_cut(
    cut: int,
) -> None:
    log = arrivals([make.group("a", revision=4, count=0), make.group("a", revision=0)])
    disk = Disk()
    for batch in filter(None, (log[:cut], log[cut:])):
        disk.step(batch, reached=1_000)
    assert disk.alerts == []


def test_one_alert_an_entry_and_batch_however_many_records() -> None:
    log = arrivals([make.group(f"r{n}") for n in range(50)])
    assert len(judge(log, nothing, POLICY).alerts) == 1


@pytest.mark.parametrize("record", ["signal_group", "context", "capture_answer"])
def test_every_invalid_example_is_refused_and_stops_nothing(record: str) -> None:
    bad = contracts.examples(record).invalid.values()
    log = [
        Arrival(partition=0, offset=n, at_ms=0, kind=record, payload=payload)
        for n, payload in enumerate(bad)
    ]
    log.append(Arrival(partition=0, offset=99, at_ms=0, kind="signal_group",
                       payload=encode(make.group("a"))))  # fmt: skip
    outcome = judge(log, nothing, POLICY)
    assert [refusal.reason for refusal in outcome.refusals] == ["mistyped"] * len(bad)
    assert len(outcome.alerts) == 1


@pytest.mark.parametrize("kind", ["", "alert", "signal", "signal_group\n"])
def test_a_record_of_another_kind_is_refused_by_its_header(kind: str) -> None:
    log = [Arrival(partition=0, offset=0, at_ms=0, kind=kind, payload=encode(make.group("a")))]
    assert len(judge(log, nothing, POLICY).refusals) == 1


def test_a_name_beyond_all_reason_is_refused() -> None:
    long = make.group("a", entity="x" * (MAX_NAME_CHARS + 1))
    assert len(judge(arrivals([long]), nothing, POLICY).refusals) == 1


def test_a_fault_in_one_entry_is_a_dead_letter_and_spares_the_others() -> None:
    def faulty(key: str) -> Entry | None:
        if "/x/" in key:
            raise ZeroDivisionError
        return None

    log = arrivals([make.group("a", entity="x"), make.group("a", entity="y")])
    outcome = judge(log, faulty, POLICY)
    assert [refusal.reason for refusal in outcome.refusals] == ["judgement_failed"]
    assert [alert.entity for alert in outcome.alerts] == ["y"]
    assert len(outcome.entries) == 1
    assert "ZeroDivisionError at " in outcome.refusals[0].detail


def test_an_entry_whose_alert_cannot_be_made_is_not_kept_so_that_a_replay_tells_it() -> None:
    [sent] = arrivals([make.group("a")])
    outcome = judge([msgspec.structs.replace(sent, at_ms=10**18)], nothing, POLICY)
    assert [refusal.reason for refusal in outcome.refusals] == ["judgement_failed"]
    assert (outcome.alerts, outcome.entries) == ([], {})


def test_an_entry_that_fails_after_its_alert_was_made_has_said_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def faulty(alert: Alert, *_: object) -> list[Directive]:
        if alert.entity == "x":
            raise ZeroDivisionError
        return []

    monkeypatch.setattr(desk, "directives_of", faulty)
    log = arrivals([make.group("a", entity=name) for name in ("x", "x", "y")])
    outcome = judge(log, nothing, POLICY)
    assert [alert.entity for alert in outcome.alerts] == ["y"]
    assert len(outcome.members) == len(outcome.entries) == 1
    # The second said nothing new; it is refused with the first, and not known besides.
    assert [refusal.arrival.offset for refusal in outcome.refusals] == [0, 1]
    assert outcome.known == 0


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", *desk.KINDS]),
            st.one_of(
                st.binary(max_size=80),
                st.sampled_from(
                    [p for k in desk.KINDS for p in contracts.examples(k).valid.values()]
                ),
            ),
            st.binary(max_size=6),
            st.integers(0, 400),
        ),
        max_size=8,
    )
)
def test_no_bytes_whatever_stop_the_desk(drawn: list[tuple[str, bytes, bytes, int]]) -> None:
    log = [
        Arrival(partition=0, offset=n, at_ms=0, kind=kind,
                payload=payload[:at] + patch + payload[at + len(patch):] if n % 2 else payload)
        for n, (kind, payload, patch, at) in enumerate(drawn)
    ]  # fmt: skip
    outcome = judge(log, nothing, POLICY)
    assert all(refusal.detail for refusal in outcome.refusals)
    for refusal in outcome.refusals:
        assert refusal.reason != "judgement_failed", refusal


NAMES = st.text("ab/%2F", min_size=1, max_size=6)


@given(NAMES, NAMES, NAMES, NAMES)
@example("a", "b/c", "a/b", "c")
@example("a/b", "c", "a%2Fb", "c")
def test_an_agent_cannot_call_itself_into_another_tenants_entry(
    tenant: str, entity: str, other_tenant: str, other_entity: str
) -> None:
    first, second = (
        msgspec.structs.replace(make.group("r"), tenant=whose, entity=who)
        for whose, who in ((tenant, entity), (other_tenant, other_entity))
    )
    same = (tenant, entity) == (other_tenant, other_entity)
    assert (key_of(first) == key_of(second)) == same
