"""What beats mean: silence and standstill, decided once, taken back when it is over."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors import signals
from tachograph.pipeline.clock import SECOND_US, to_datetime, to_us
from tachograph.pipeline.forward import monitor as module
from tachograph.pipeline.forward import own_signals
from tachograph.pipeline.forward.monitor import Monitor, Overview
from tachograph.pipeline.forward.own_signals import group_of
from tachograph.schemas.records import Health
from tests.pipeline.forward import alerts

START_US = to_us(alerts.START)


def at(second: float) -> int:
    return START_US + int(second * SECOND_US)


def beat(second: float, component: str = "normalize", **fields: object) -> Health:
    defaults: dict[str, object] = {"tenant": "acme", "status": "ok", "lag": 0}
    given_ = {**defaults, **fields}
    return Health(component=component, at=to_datetime(at(second)), **given_)  # type: ignore[arg-type]


def beating(
    until: float, start: float = 0, every: float = 10, quiet_from: float = 1e9
) -> list[Health]:
    """Beats of normalize, with a source that falls silent at `quiet_from`."""
    found, second = [], start
    while second < until:
        sources = {"otlp_spans": 5} if second < quiet_from else {}
        found.append(beat(second, sources=sources))
        second += every
    return found


def told(decisions: list[Health]) -> list[tuple[str, str]]:
    return [(decision.component, decision.status) for decision in decisions]


def decide(watch: Monitor, second: float) -> list[Health]:
    """Judge, and read the decisions back as the log would give them; the clock does not jump."""
    last_us = watch._judged_us or at(second)
    steps = range(last_us, at(second), 20 * SECOND_US)
    return [made for now_us in [*steps, at(second)] for made in judged(watch, now_us)]


def judged(watch: Monitor, now_us: int) -> list[Health]:
    decisions = watch.judge(now_us)
    for decision in decisions:
        watch.read(decision)
    return decisions


def after(*records: Health, started: float = 0) -> Monitor:
    watch = Monitor(at(started))
    for record in records:
        watch.read(record)
    return watch


def test_a_source_in_every_beat_is_silent_after_a_minute_without_it() -> None:
    watch = after(*beating(400, quiet_from=200))
    assert decide(watch, 249) == []
    [decision] = decide(watch, 260)
    assert told([decision]) == [("source:otlp_spans", "silent")]
    assert decision.watermark == to_datetime(at(190))
    assert decision.detail == "nothing for 70 s; usually something every 10 s"
    assert decide(watch, 300) == []


def test_a_slow_source_may_be_quiet_for_three_of_its_gaps() -> None:
    slow = [beat(n * 100, sources={"batch": 1}) for n in range(12)]
    alive = [beat(n * 10) for n in range(200)]
    watch = after(*sorted([*slow, *alive], key=lambda b: b.at))
    assert decide(watch, 1100 + 299) == []
    assert told(decide(watch, 1100 + 300)) == [("source:batch", "silent")]


def test_a_source_that_was_seen_a_few_times_only_is_not_expected() -> None:
    watch = after(*beating(400, quiet_from=10 * (module.MIN_SIGHTINGS - 1)))
    assert decide(watch, 400) == []


def test_a_source_that_comes_back_is_taken_back_and_can_fall_silent_again() -> None:
    watch = after(*beating(300, quiet_from=200))
    [silent] = decide(watch, 290)
    watch.read(beat(310, sources={"otlp_spans": 1}))
    [back] = decide(watch, 311)
    assert told([back]) == [("source:otlp_spans", "ok")]
    assert back.watermark == silent.watermark
    # The long gap was no normal one: a minute is enough again.
    for record in beating(420, start=320, quiet_from=330):
        watch.read(record)
    assert told(decide(watch, 400)) == [("source:otlp_spans", "silent")]


def test_without_its_reporter_nothing_is_known_of_a_source() -> None:
    watch = after(*beating(200))
    assert told(decide(watch, 500)) == [("stage:normalize", "stalled")]


def many(count: int, until: float, start: float = 0) -> list[Health]:
    """Beats of normalize with so many sources in each."""
    names = {f"agent-{number}": 1 for number in range(count)}
    return [beat(second, sources=names) for second in range(int(start), int(until), 10)]


def test_most_sources_silent_at_once_are_one_decision_and_the_rest_follows_when_they_are_back() -> (
    None
):
    watch = after(*many(20, 100), *(beat(second) for second in range(100, 200, 10)))
    assert told(decide(watch, 199)) == [("sources:normalize", "silent")]
    for record in many(12, 300, start=200):
        watch.read(record)
    found = told(decide(watch, 299))
    assert found[0] == ("sources:normalize", "ok")
    assert sorted(found[1:]) == sorted((f"source:agent-{n}", "silent") for n in range(12, 20))


def test_sources_that_fell_silent_together_stay_so_over_a_restart() -> None:
    log = [*many(20, 100), *(beat(second) for second in range(100, 200, 10))]
    decided = decide(after(*log), 199)
    later = [beat(second) for second in range(200, 300, 10)]
    assert decide(after(*log, *decided, *later, started=205), 299) == []


def test_a_few_silent_sources_among_many_are_told_one_by_one() -> None:
    watch = after(*many(40, 100), *many(30, 200, start=100))
    found = told(decide(watch, 199))
    assert sorted(found) == sorted((f"source:agent-{n}", "silent") for n in range(30, 40))


def test_nobody_is_silent_whom_a_door_sends_away() -> None:
    log = beating(until=300, quiet_from=100)
    log += [
        beat(second, "serve", drops={"turned_away": max(0, second - 90)})
        for second in range(0, 300, 10)
    ]
    log.sort(key=lambda health: health.at)
    watch = after(*log)
    assert decide(watch, 299) == []
    # It stays away after the door lets everyone in again.
    for second in range(300, 400, 10):
        watch.read(beat(second))
        watch.read(beat(second, "serve", drops={"turned_away": 200}))
    assert told(decide(watch, 399)) == [("source:otlp_spans", "silent")]


def test_what_a_reporter_has_not_read_yet_may_hold_the_source() -> None:
    log = beating(until=100, quiet_from=100)
    log += [beat(second, lag=5_000) for second in range(100, 300, 10)]
    assert told(decide(after(*log), 299)) == [("stage:normalize", "stalled")]


def test_a_stage_without_a_beat_for_a_minute_stands_still_until_it_beats() -> None:
    watch = after(*[beat(n * 10, "detect") for n in range(5)])
    assert decide(watch, 99) == []
    [stalled] = decide(watch, 100)
    assert (told([stalled]), stalled.detail) == (
        [("stage:detect", "stalled")],
        "no beat for 60 s",
    )
    watch.read(beat(130, "detect"))
    assert told(decide(watch, 131)) == [("stage:detect", "ok")]


def test_a_stage_that_beats_but_falls_behind_without_progress_stands_still() -> None:
    stuck = [beat(n * 10, "store", lag=n, watermark=alerts.START) for n in range(12)]
    watch = after(*stuck)
    [decision] = decide(watch, 111)
    assert (told([decision]), decision.detail) == (
        [("stage:store", "stalled")],
        "11 records behind, no progress seen",
    )
    later = alerts.START + timedelta(seconds=1)
    watch.read(beat(120, "store", lag=50, watermark=later))
    assert told(decide(watch, 121)) == [("stage:store", "ok")]


def test_a_stage_that_is_behind_but_gets_on_is_left_alone() -> None:
    busy = [
        beat(n * 10, "store", lag=1_000 + n, watermark=alerts.START + timedelta(seconds=n))
        for n in range(30)
    ]
    assert decide(after(*busy), 295) == []


def test_nobody_is_judged_for_the_time_that_nobody_watched() -> None:
    watch = after(*beating(200), started=50_000)
    assert decide(watch, 50_059) == []
    assert told(decide(watch, 50_060)) == [("stage:normalize", "stalled")]


def test_a_pause_of_the_monitor_is_nobodys_silence() -> None:
    watch = after(*beating(200))
    assert decide(watch, 200) == []
    assert watch.judge(at(5_000)) == []
    assert decide(watch, 5_059) == []
    assert told(decide(watch, 5_060)) == [("stage:normalize", "stalled")]


def test_a_restart_knows_what_was_decided_and_does_not_decide_it_again() -> None:
    first = after(*beating(300, quiet_from=200))
    decisions = decide(first, 290)
    again = after(*beating(300, quiet_from=200), *decisions, started=300)
    again.read(beat(301))
    assert decide(again, 302) == []
    again.read(beat(310, sources={"otlp_spans": 1}))
    assert told(decide(again, 311)) == [("source:otlp_spans", "ok")]


def test_a_decision_that_holds_is_said_again_before_the_log_forgets_it() -> None:
    watch = after(*beating(300, quiet_from=200))
    [silent] = decide(watch, 290)
    late = 290 + module.REPEAT_S
    watch.read(beat(late - 5))
    [again] = watch.judge(at(late))
    assert (again.component, again.watermark) == (silent.component, silent.watermark)
    assert watch.read(again) is False


def test_a_repeated_decision_changes_nothing() -> None:
    watch = after(*beating(300, quiet_from=200))
    [silent] = watch.judge(at(290))
    assert watch.read(silent) is True
    assert watch.read(silent) is False


def test_a_flood_is_an_alert_until_it_is_over_and_stays_one() -> None:
    watch = after(*beating(300))
    flood = beat(60, "flood:agent.raw/0", status="degraded", watermark=alerts.START, detail="much")
    assert watch.read(flood) is True
    again = beat(90, "flood:agent.raw/0", status="degraded", watermark=alerts.START, detail="much")
    assert watch.read(again) is False
    group = group_of(flood, 7)
    assert (group.rule_id, group.count, group.entity) == (
        "tacho.dead_letter_flood", 1, "flood:agent.raw/0",
    )  # fmt: skip
    assert "agent.raw/0" in group.samples[0].reason.text
    assert watch.judge(at(290)) == []
    watch = after(*beating(2_000, start=60), flood)
    [over] = watch.judge(at(60 + module.FLOOD_OVER_S))
    assert (over.component, over.status) == ("flood:agent.raw/0", "ok")
    assert watch.read(over) is False
    assert watch.judge(at(70 + module.FLOOD_OVER_S)) == []


def test_what_is_tracked_and_decided_at_once_is_bounded() -> None:
    names = {f"s{n}": 1 for n in range(module.MAX_SUBJECTS + 100)}
    watch = after(*[beat(n * 10, sources=names) for n in range(12)])
    talking = dict(list(names.items())[: module.MAX_SUBJECTS * 2 // 3])
    for n in range(12, 20):
        watch.read(beat(n * 10, sources=talking))
    assert len(watch._sources) == module.MAX_SUBJECTS
    assert len(watch.judge(at(195))) == module.MAX_DECISIONS


@given(cut=st.integers(0, 40), offset=st.integers(0, 2**40))
def test_a_group_follows_from_its_decision_alone(cut: int, offset: int) -> None:
    silent = beat(100 + cut, "source:x", status="silent", watermark=alerts.START, detail="quiet")
    back = beat(200 + cut, "source:x", status="ok", watermark=alerts.START)
    group, gone = group_of(silent, offset), group_of(back, offset + 1)
    assert group == group_of(silent, offset)
    assert (group.group_id, group.bucket_start) == (gone.group_id, gone.bucket_start)
    assert group.samples[0].signal_id == gone.samples[0].signal_id
    assert (group.count, gone.count) == (1, 0)
    assert group.revision < gone.revision
    assert group.rule_id == "tacho.source_silent"
    assert group.samples[0].risk_category == "governance"


def test_own_signals_fall_into_the_same_buckets_as_those_of_detectors() -> None:
    assert own_signals.ALERT_BUCKET_S == signals.ALERT_BUCKET_S


def test_a_stage_and_a_source_of_one_name_are_two_subjects() -> None:
    stage = group_of(beat(1, "stage:x", status="stalled", watermark=alerts.START), 1)
    source = group_of(beat(1, "source:x", status="silent", watermark=alerts.START), 1)
    assert stage.group_id != source.group_id
    assert stage.rule_id == "tacho.stage_stalled"


def test_the_overview_sums_up_one_tenant_and_leaves_out_the_dead() -> None:
    overview = Overview()
    early, late = alerts.START, alerts.START + timedelta(seconds=9)
    overview.update(beat(0, "dead", lag=99))
    overview.update(beat(100, "normalize", lag=2, watermark=late, sources={"otlp_spans": 3}))
    overview.update(beat(100, "detect", lag=5, watermark=early, drops={"late": 4, "far": 0}))
    overview.update(beat(100, "detect", tenant="other", lag=70))
    overview.update(beat(100, "stage:dead", status="stalled"))
    summary = overview.summary("acme", at(105))
    assert (summary.lag, summary.watermark, summary.status) == (7, early, "degraded")
    assert summary.sources == {"otlp_spans": 3}
    assert summary.drops == {"detect.late": 4}
    assert summary.detail == "stage:dead stalled"


def test_a_greeting_comes_as_often_as_it_is_wanted() -> None:
    now = [START_US]
    due = Overview().greeting("acme", 300, clock=lambda: now[0])
    assert due() is None
    now[0] += 300 * SECOND_US
    assert due() is not None
    assert due() is None
    assert Overview().greeting("acme", 0, clock=lambda: now[0])() is None
