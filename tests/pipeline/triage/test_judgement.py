"""An alert is a function of the set of latest revisions: order and repetition change nothing."""

import random
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.triage.entry import (
    MAX_CONTEXTS,
    MAX_GROUP_BYTES,
    MAX_GROUPS,
    Entry,
    TriageRecord,
    apply,
    fresh,
)
from tachograph.pipeline.triage.judgement import alert_of, risk_of, stamped
from tachograph.pipeline.triage.membership import member_of
from tachograph.pipeline.triage.policy import DEFAULT_WEIGHTS, Policy, Suppression, rank
from tachograph.schemas import contracts
from tachograph.schemas.alert import Alert, Reason, SignalGroup, Witness
from tachograph.schemas.codec import decode, encode
from tachograph.schemas.records import Context
from tests.pipeline.triage import groups as make

POLICY = Policy()


def entry_of(records: list[TriageRecord]) -> Entry:
    entry = fresh(records[0])
    for record in records:
        entry = apply(entry, record)
    return entry


def alert_for(*records: TriageRecord, policy: Policy = POLICY) -> Alert:
    alert = alert_of(entry_of(list(records)), policy)
    assert alert is not None
    return alert


def latest(records: list[TriageRecord]) -> dict[str, SignalGroup]:
    """Oracle: the highest revision of each group."""
    found: dict[str, SignalGroup] = {}
    for record in records:
        if isinstance(record, SignalGroup):
            old = found.get(record.group_id)
            if old is None or record.revision > old.revision:
                found[record.group_id] = record
    return found


def oracle_risk(found: dict[str, SignalGroup]) -> int:
    """Oracle: the definition, written down plainly."""
    live = [group for group in found.values() if group.count]
    if not live:
        return 0
    end = max(group.last_seen for group in live)
    total = 0
    for group in live:
        times = [(sample.event_time, sample.severity) for sample in group.samples]
        heaviest = max((severity for _, severity in times), key=rank)
        decades = {1: 0, 3: 0, 10: 1, 100: 2}[group.count]
        for time, severity in times + [(group.last_seen, heaviest)] * decades:
            age_s = (end - time) / timedelta(seconds=1)
            total += int(DEFAULT_WEIGHTS[severity] * 0.5 ** (age_s / 900))
    return total


@settings(max_examples=150, deadline=None)
@given(st.lists(make.records(), min_size=1, max_size=25), st.randoms(use_true_random=False))
def test_any_order_and_repetition_gives_the_same_alert(
    records: list[TriageRecord], shuffled: random.Random
) -> None:
    again = records + shuffled.choices(records, k=len(records) // 2)
    shuffled.shuffle(again)
    # Whether anybody has heard of the alert does depend on the order: a retraction may come first.
    one, other = (msgspec.structs.replace(entry_of(told), opened=True) for told in (again, records))
    assert one == other
    assert alert_of(one, POLICY) == alert_of(other, POLICY)


@settings(max_examples=150, deadline=None)
@given(st.lists(make.records(), min_size=1, max_size=25))
def test_the_alert_is_what_the_oracle_makes_of_the_set(records: list[TriageRecord]) -> None:
    found = latest(records)
    alert = alert_of(entry_of(records), POLICY)
    if alert is None:
        assert not found
        return
    live = [group for group in found.values() if group.count]
    assert alert.status == ("open" if live else "retracted")
    assert alert.risk == oracle_risk(found)
    assert {hit.rule_id: hit.count for hit in alert.rules} == {
        group.rule_id: group.count for group in found.values()
    }
    assert alert.signal_count == sum(group.count for group in live)
    expected = max((s.severity for g in live for s in g.samples), key=rank, default="informational")
    assert alert.severity == expected
    assert set(alert.signal_ids) == {s.signal_id for group in live for s in group.samples}


@settings(max_examples=100, deadline=None)
@given(st.lists(make.records(), min_size=1, max_size=15), st.data())
def test_a_known_record_changes_nothing(records: list[TriageRecord], data: st.DataObject) -> None:
    entry = entry_of(records)
    known = data.draw(st.sampled_from(records))
    assert apply(entry, known) == entry


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(MAX_GROUPS + 1, MAX_GROUPS + 30))
def test_beyond_the_limit_the_same_groups_stay_whatever_the_order(
    shuffled: random.Random, many: int
) -> None:
    records: list[TriageRecord] = [make.group(f"r{n}", "low") for n in range(many)]
    records[3] = make.group("r3", "critical")
    entry = entry_of(records)
    shuffled.shuffle(records)
    assert entry_of(records) == entry
    assert len(entry.groups) == MAX_GROUPS
    alert = alert_of(entry, POLICY)
    assert alert is not None
    assert alert.severity == "critical"  # kept or not, the gravest severity is never lost
    assert f"more than {MAX_GROUPS} rules fired" in alert.blind_spots[0]


def test_contexts_beyond_the_limit_leave_the_earliest() -> None:
    records: list[TriageRecord] = [make.group("a")]
    records += [make.context(f"r{n}", at_s=n) for n in reversed(range(10))]
    kept = entry_of(records).contexts.values()
    assert [c.taken_at for c in kept] == [
        make.BUCKET + timedelta(seconds=n) for n in range(MAX_CONTEXTS)
    ]


def test_the_example_alert_is_what_the_example_groups_amount_to() -> None:
    groups = contracts.examples("signal_group").valid
    names = ("credential_file", "secret_then_egress", "instruction_in_tool_result")
    records: list[TriageRecord] = [decode(SignalGroup, groups[name]) for name in names]
    context = contracts.examples("context").valid["session_before_the_egress"]
    records.append(decode(Context, context))
    example = decode(Alert, contracts.examples("alert").valid["secret_sent_outside"])
    alert = alert_for(*records)
    assert stamped(alert, example.revision, example.updated_at) == example
    assert alert.title == "billing-helper: secret read, then sent outside (+2 more)"


@pytest.mark.parametrize("name", contracts.examples("triage_entry").valid)
def test_the_example_entry_round_trips(name: str) -> None:
    payload = contracts.examples("triage_entry").valid[name]
    assert decode(Entry, encode(decode(Entry, payload))) == decode(Entry, payload)


def test_risk_halves_with_every_half_life() -> None:
    end = make.BUCKET + timedelta(seconds=900)
    late = make.group("late", "low", last_seen=end, samples=[make.signal("late", "low", 900)])
    old = make.group("old", "high", samples=[make.signal("old", "high", 0)])
    assert risk_of([late], POLICY) == 1_000
    assert risk_of([late, old], POLICY) == 1_000 + 8_000 // 2


def test_a_flood_counts_by_its_logarithm() -> None:
    one = risk_of([make.group("a", count=1)], POLICY)
    ten_thousand = risk_of([make.group("a", count=10_000)], POLICY)
    assert ten_thousand < one * 8


def test_a_group_that_fell_to_nothing_retracts_the_alert_and_keeps_its_id() -> None:
    opened = alert_for(make.group("a"))
    gone = alert_for(make.group("a"), make.group("a", revision=2, count=0))
    assert (opened.status, gone.status) == ("open", "retracted")
    assert gone.alert_id == opened.alert_id
    assert (gone.risk, gone.signal_count) == (0, 0)


def test_a_suppressed_group_is_kept_with_its_reason_and_does_not_count() -> None:
    policy = Policy(suppressions=[Suppression(rule="noisy-*", reason="known load test")])
    alert = alert_for(make.group("noisy-1", "critical"), make.group("b", "low"), policy=policy)
    assert (alert.severity, alert.status) == ("low", "open")
    assert alert.risk == risk_of([make.group("b", "low")], policy)
    suppressed = {hit.rule_id: hit.suppressed for hit in alert.rules}
    assert suppressed == {"noisy-1": "known load test", "b": None}


def test_an_alert_of_suppressed_groups_alone_is_closed_by_the_policy() -> None:
    policy = Policy(suppressions=[Suppression(entity="billing-*", reason="maintenance")])
    alert = alert_for(make.group("a", "critical"), policy=policy)
    assert (alert.status, alert.risk, alert.severity) == ("closed", 0, "informational")
    assert alert.rules[0].suppressed == "maintenance"


def test_a_group_that_came_silenced_does_not_count_and_the_others_of_its_rule_do() -> None:
    hushed = make.group("a", "critical", suppressed="silenced by ops", group_id="apart")
    alert = alert_for(hushed, make.group("a", "low"))
    assert (alert.severity, alert.status) == ("low", "open")
    assert {hit.suppressed for hit in alert.rules} == {"silenced by ops", None}


def test_a_suppression_holds_for_its_window_alone() -> None:
    ended = Suppression(rule="a", reason="past", ends=make.BUCKET)
    coming = Suppression(rule="a", reason="future", starts=make.BUCKET + timedelta(seconds=1))
    now = Suppression(rule="a", reason="now", starts=make.BUCKET)
    assert [rule.covers(make.group("a")) for rule in (ended, coming, now)] == [False, False, True]


def test_the_policy_of_an_alert_is_stated_and_its_content_is_not_part_of_the_id() -> None:
    strict = Policy(weights={"high": 50_000})
    plain, other = alert_for(make.group("a")), alert_for(make.group("a"), policy=strict)
    assert plain.alert_id == other.alert_id
    assert plain.versions["policy"] == POLICY.version != other.versions["policy"]


def test_the_captured_state_is_that_of_the_gravest_signal() -> None:
    alert = alert_for(
        make.group("mild", "low"),
        make.group("grave", "critical"),
        make.context("mild", at_s=0),
        make.context("grave", at_s=9),
    )
    assert alert.state is not None
    assert alert.state.session_id == "session-grave"
    assert alert.state.alert_id == alert.alert_id
    assert [action["kind"] for action in alert.state.last_actions] == ["prompt", "tool_call"]
    assert any(text.startswith("goals:") for text in alert.state.missing)
    assert 0 < alert.state.completeness < 100


def test_what_the_judged_actions_were_done_to_may_join_the_alert_to_others() -> None:
    group = make.group("a")
    judged, before = alert_for(group).event_ids[0], "an action before it"
    actions = [
        {"event_id": before, "target_resource": "reports"},
        {"event_id": judged, "target_resource": "invoices/0.pdf", "target_domain": "s3.example"},
    ]
    records: list[TriageRecord] = [group, make.context("a", actions=actions)]
    member = member_of(alert_for(*records), entry_of(records), POLICY)
    targets = {one.value for one in member.shared if one.kind == "target"}
    assert {"invoices/0.pdf", "s3.example"} <= targets
    assert "reports" not in targets


def test_without_a_context_the_alert_goes_out_and_says_so() -> None:
    alert = alert_for(make.group("a"))
    assert alert.state is None
    assert alert.state_missing


def test_contexts_alone_are_no_alert() -> None:
    assert alert_of(entry_of([make.context("a")]), POLICY) is None


def test_stage_tells_whether_the_agent_answered() -> None:
    records: list[TriageRecord] = [make.group("a")]
    assert alert_for(*records).stage == "initial"
    records.append(make.answer("d", answered=False))
    assert alert_for(*records).stage == "unanswered"
    records.append(make.answer("e", answered=True))
    assert alert_for(*records).stage == "answered"


def test_an_alert_is_synthetic_only_when_all_of_it_is() -> None:
    real = make.group("a")
    made_up = make.group("b", samples=[make.signal("b", "low", 1, synthetic=True)])
    assert alert_for(made_up).synthetic
    assert not alert_for(made_up, real).synthetic


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Secret read, then sent outside", "billing-helper: secret read, then sent outside"),
        ("MCP server changed its tools", "billing-helper: MCP server changed its tools"),
        ("A source fell silent", "billing-helper: a source fell silent"),
    ],
)
def test_titles_read_as_sentences(title: str, expected: str) -> None:
    sample = make.signal("a", "high", 1, title=title)
    assert alert_for(make.group("a", samples=[sample])).title == expected


def test_a_title_holds_no_line_break_or_escape_of_an_agents_making() -> None:
    sample = make.signal("a", "high", 1, agent_name="x\x1b[2J\nALERT closed " + "y" * 500)
    title = alert_for(make.group("a", samples=[sample])).title
    assert title.isprintable()
    assert len(title) < 300


def test_a_group_about_something_else_is_named_by_its_entity() -> None:
    one = make.group("a", entity="paste.example", entity_type="target_domain")
    assert alert_for(one).title.startswith("paste.example: ")


def _huge() -> SignalGroup:
    fields = {f"field-{n}": "v" * 4_000 for n in range(100)}
    witness = Witness(events=[fields] * 20)
    reason = Reason(text="r" * 10_000, fields=fields)
    samples = [make.signal("a", "high", n, reason=reason, witness=witness) for n in range(9)]
    return make.group("a", samples=samples, count=9)


def test_a_huge_group_is_cut_to_its_limit_and_says_so() -> None:
    entry = entry_of([_huge()])
    assert all(len(encode(group)) <= MAX_GROUP_BYTES for group in entry.groups.values())
    alert = alert_of(entry, POLICY)
    assert alert is not None
    assert alert.witness.partial
    assert any("size limit" in spot for spot in alert.blind_spots)


def test_what_is_cut_of_a_group_does_not_depend_on_how_it_came_about() -> None:
    left: list[tuple[int, int]] = []
    for length in range(1_500, 2_500, 5):
        many = make.group("a", count=3)
        samples = [msgspec.structs.replace(sample, runbook="x" * length) for sample in many.samples]
        once = msgspec.structs.replace(many, samples=samples, closed=True)
        revised = [msgspec.structs.replace(s, revision=2**50, change="revised") for s in samples]
        later = msgspec.structs.replace(many, samples=revised, revision=2**51)
        left.append((_samples_left(once), _samples_left(later)))
    assert {at_once for at_once, _ in left} == {2, 3}, "the limit lies between"
    assert all(at_once == later for at_once, later in left)


def _samples_left(group: SignalGroup) -> int:
    entry = apply(fresh(group), group)
    return len(entry.groups[group.group_id].samples)


def test_a_full_entry_and_its_alert_fit_one_record() -> None:
    records: list[TriageRecord] = []
    for number in range(MAX_GROUPS + 5):
        rule = f"rule-{number}"
        samples = [make.signal(rule, "high", s, title="t" * 900, event_ids=["e" * 32] * 40)
                   for s in range(6)]  # fmt: skip
        records += [make.group(rule, count=6, samples=samples)]
        actions = [{f"k{n}": "v" * 900 for n in range(30)}] * 40
        records += [make.context(rule, at_s=number, actions=actions)]
    entry = entry_of(records)
    alert = alert_of(entry, POLICY)
    assert alert is not None
    assert len(encode(entry)) < 1_000_000
    assert len(encode(alert)) < 500_000


def test_a_group_that_lost_its_samples_is_as_grave_as_it_ever_was() -> None:
    bare = make.group("a", revision=2, samples=[], count=3)
    alert = alert_for(make.group("a", "critical"), bare)
    assert (alert.status, alert.severity, alert.signal_count) == ("open", "critical", 3)
    assert alert.title == "billing-helper: a"


def test_an_entry_survives_the_table_as_it_was() -> None:
    entry = entry_of([make.group("a"), make.context("a"), make.answer("d", answered=True)])
    kept = msgspec.structs.replace(entry, last_offset=9, partition=2)
    assert decode(Entry, encode(kept)) == kept
