"""From alerts to acknowledged records: coalesced, capped, noted; refused ones are named."""

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tachograph.pipeline.clock import SECOND_US, to_us
from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.forward.config import Configured, Route
from tachograph.pipeline.forward.destination import Doubtful, Outgoing, PartlyRefused, types
from tachograph.pipeline.forward.destinations.webhook import Options
from tachograph.pipeline.forward.formats import formats
from tachograph.pipeline.forward.ledger import Ledger
from tachograph.pipeline.forward.outbox import Outbox, Stopping
from tests.pipeline.forward import alerts

NEVER = threading.Event()


class Recorder:
    """A destination that keeps what it takes; `refuse` and `fail` say which keys it does not."""

    def __init__(self, batch_records: int = 1, batch_bytes: int = 1 << 30) -> None:
        self.batch_records = batch_records
        self.batch_bytes = batch_bytes
        self.taken: list[Outgoing] = []
        self.calls = 0
        self.sizes: list[int] = []
        self.stop_at = ""
        self.refuse: set[str] = set()
        self.doubt: set[str] = set()
        self.fail_calls: set[int] = set()

    def deliver(self, records: Sequence[Outgoing]) -> str:
        self.calls += 1
        self.sizes.append(len(records))
        if self.stop_at in [record.key for record in records]:
            at = [record.key for record in records].index(self.stop_at)
            self.taken.extend(records[:at])
            raise PartlyRefused("never", at)
        if self.calls in self.fail_calls:
            raise RetryLater("away")
        if self.doubt & {record.key for record in records}:
            raise Doubtful("403: not this")
        if self.refuse & {record.key for record in records}:
            raise Refused("never")
        self.taken.extend(records)
        return "taken"

    def close(self) -> None:
        pass

    @property
    def keys(self) -> list[str]:
        return [record.key for record in self.taken]


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now_us = to_us(alerts.START)

    def __call__(self) -> int:
        return self.now_us


Make = Callable[..., Outbox]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def outbox(destination: Recorder, clock: Time | None = None, **route: Any) -> Outbox:
        configured = Configured(
            route=Route(name="siem", type="webhook", **route),
            type=types()["webhook"],
            options=Options(url="https://siem.example/", unsigned=True),
            format=formats()["ocsf"],
            secret=None,
        )
        ledger = Ledger(tmp_path / "ledger.sqlite", "cluster")
        return Outbox(configured, destination, ledger, clock=clock or Time())

    return outbox


def key(number: int, revision: int | None = None) -> str:
    return f"{number:032x}:{number if revision is None else revision}"


def test_everything_goes_out_in_order_and_once(make: Make) -> None:
    destination = Recorder()
    outbox = make(destination)
    batch = [alerts.alert(n) for n in range(1, 6)]
    assert outbox.put(batch, NEVER) == []
    assert outbox.put(batch, NEVER) == []
    assert destination.keys == [key(n) for n in range(1, 6)]
    assert outbox.drops["acknowledged"] == 5
    assert outbox.watermark == batch[-1].updated_at


def test_the_first_record_creates_and_the_next_updates_and_the_last_closes(make: Make) -> None:
    destination = Recorder()
    outbox = make(destination)
    outbox.put([alerts.alert(1, revision=1)], NEVER)
    outbox.put([alerts.alert(1, revision=2)], NEVER)
    outbox.put([alerts.alert(1, revision=3, status="retracted")], NEVER)
    activities = [json.loads(record.body)["activity_name"] for record in destination.taken]
    assert activities == ["Create", "Update", "Close"]


def test_what_is_not_taken_while_others_are_is_refused_and_holds_nobody_up(make: Make) -> None:
    destination = Recorder()
    destination.doubt = {key(1), key(2)}
    outbox = make(destination)
    refused = outbox.put([alerts.alert(n) for n in range(1, 5)], NEVER)
    assert destination.keys == [key(3), key(4)]
    assert [(one.alert.revision, one.reason) for one in refused] == [
        (1, "403: not this"), (2, "403: not this"),
    ]  # fmt: skip


def test_where_nothing_is_taken_the_address_is_at_fault_and_nothing_is_refused(make: Make) -> None:
    destination = Recorder()
    destination.doubt = {key(1), key(2)}
    outbox = make(destination)
    with pytest.raises(Doubtful):
        outbox.put([alerts.alert(1), alerts.alert(2)], NEVER)
    destination.doubt = set()
    assert outbox.put([alerts.alert(1), alerts.alert(2)], NEVER) == []
    assert destination.keys == [key(1), key(2)]


def test_an_address_that_goes_away_half_way_costs_no_alert(make: Make) -> None:
    destination = Recorder()
    destination.doubt = {key(2), key(3)}
    outbox, batch = make(destination), [alerts.alert(n) for n in range(1, 4)]
    with pytest.raises(Doubtful):
        outbox.put(batch, NEVER)
    destination.doubt = set()
    assert outbox.put(batch, NEVER) == []
    assert destination.keys == [key(1), key(2), key(3)]


def test_an_answer_in_doubt_that_passes_costs_no_alert(make: Make) -> None:
    class Passing(Recorder):
        def deliver(self, records: Sequence[Outgoing]) -> str:
            if len(self.taken) == 1:
                self.doubt = set()
            return super().deliver(records)

    destination = Passing()
    destination.doubt = {key(1)}
    assert make(destination).put([alerts.alert(1), alerts.alert(2)], NEVER) == []
    assert destination.keys == [key(2), key(1)]


def test_after_a_failure_only_what_was_not_acknowledged_goes_out_again(make: Make) -> None:
    destination = Recorder()
    destination.fail_calls = {3}
    outbox = make(destination)
    batch = [alerts.alert(n) for n in range(1, 6)]
    with pytest.raises(RetryLater):
        outbox.put(batch, NEVER)
    outbox.put(batch, NEVER)
    assert destination.keys == [key(n) for n in range(1, 6)]


def test_one_refused_record_does_not_take_its_batch_with_it(make: Make) -> None:
    destination = Recorder(batch_records=100)
    destination.refuse = {key(3)}
    [refused] = make(destination).put([alerts.alert(n) for n in range(1, 6)], NEVER)
    assert (refused.alert.alert_id, refused.reason) == (f"{3:032x}", "never")
    assert destination.keys == [key(n) for n in (1, 2, 4, 5)]


def test_what_was_taken_before_a_refused_record_is_not_sent_again(make: Make) -> None:
    destination = Recorder(batch_records=100)
    destination.stop_at = key(3)
    [refused] = make(destination).put([alerts.alert(n) for n in range(1, 6)], NEVER)
    assert (refused.alert.alert_id, refused.reason) == (f"{3:032x}", "never")
    assert destination.keys == [key(n) for n in (1, 2, 4, 5)]
    assert destination.sizes == [5, 2]


def test_a_batch_is_bounded_in_bytes_too_but_holds_one_at_least(make: Make) -> None:
    length = len(formats()["ocsf"].render(alerts.alert(1)))
    destination = Recorder(batch_records=100, batch_bytes=length * 2 + 10)
    make(destination).put([alerts.alert(n) for n in range(1, 6)], NEVER)
    assert destination.sizes == [2, 2, 1]
    tiny = Recorder(batch_records=100, batch_bytes=1)
    make(tiny).put([alerts.alert(n) for n in range(11, 14)], NEVER)
    assert tiny.sizes == [1, 1, 1]


def test_a_stop_between_two_deliveries_leaves_the_rest_for_the_next_start(make: Make) -> None:
    destination = Recorder()
    stop = threading.Event()
    stop.set()
    outbox = make(destination)
    with pytest.raises(Stopping):
        outbox.put([alerts.alert(1)], stop)
    outbox.put([alerts.alert(1)], NEVER)
    assert destination.keys == [key(1)]


def test_a_flood_is_capped_and_summed_up_once_the_minute_is_over(make: Make) -> None:
    destination, clock = Recorder(), Time()
    clock.now_us -= clock.now_us % (60 * SECOND_US)
    outbox = make(destination, clock, rate_cap=10)
    batch = [alerts.alert(n) for n in range(1, 101)]
    outbox.put(batch, NEVER)
    outbox.sum_up()
    assert len(destination.taken) == 10
    clock.now_us += 60 * SECOND_US
    outbox.sum_up()
    outbox.sum_up()
    assert len(destination.taken) == 11
    summary = json.loads(destination.taken[-1].body)
    assert summary["message"].startswith("90 alerts were held back from siem")
    assert outbox.drops["rate_cap"] == 90


def test_a_summary_that_fails_goes_out_later_under_the_same_id(make: Make) -> None:
    destination, clock = Recorder(), Time()
    outbox = make(destination, clock, rate_cap=1)
    outbox.put([alerts.alert(n) for n in range(1, 4)], NEVER)
    clock.now_us += 120 * SECOND_US
    destination.fail_calls = {2}
    with pytest.raises(RetryLater):
        outbox.sum_up()
    outbox.sum_up()
    assert len(destination.taken) == 2


def test_health_goes_out_in_the_format_of_the_destination(make: Make) -> None:
    destination = Recorder()
    health = alerts.health_examples()["stage_ok"]
    make(destination).greet(health)
    [record] = destination.taken
    assert record.key.startswith("health:detect:")
    assert json.loads(record.body)["class_name"] == "Application Lifecycle"
