"""A silence hides what it covers while it holds, and nothing else."""

from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors import silences as module
from tachograph.detectors.groups import Groups
from tachograph.detectors.silences import MAX_LENGTH, Silence, Silences
from tachograph.schemas.alert import Reason, Signal
from tests.detectors.made import at
from tests.detectors.test_groups_oracle import END_US, signal


def silence(name: str = "load-test", **options: Any) -> Silence:
    usual = {"owner": "ops", "reason": "load test", "starts": at(1_000), "ends": at(2_000)}
    return msgspec.convert(usual | {"rule": "rule"} | options | {"name": name}, Silence)


def seen(number: int, second: int, entity: str = "A", **fields: Any) -> Signal:
    made = signal(number, second, entity)
    return msgspec.structs.replace(made, observed_time=at(second), **fields)


@pytest.mark.parametrize(
    ("options", "covered"),
    [
        ({}, True),
        ({"rule": "ru*"}, True),
        ({"rule": "other"}, False),
        ({"entity": "A"}, True),
        ({"entity": "B"}, False),
        ({"tenant": "acme"}, False),
        ({"fields": {"agent.id": "A", "tool.name": "load_*"}}, True),
        ({"fields": {"agent.id": "A", "tool.name": "other"}}, False),
        ({"fields": {"target.domain": "*.test"}}, True),
        ({"fields": {"target.path": "*"}, "entity": "A"}, False),
        ({"fields": {"principal.id": "alice"}}, True),
    ],
)
def test_all_that_is_stated_has_to_fit(options: dict[str, Any], covered: bool) -> None:
    made = seen(
        1, 1_500, tool_name="load_page", group={"principal.id": "alice"},
        reason=Reason(text="", fields={"target.domain": "one.test"}),
    )  # fmt: skip
    assert silence(**options).covers(made) == covered


def test_it_holds_for_what_is_observed_in_its_time_whenever_that_happened() -> None:
    found = [silence().covers(seen(1, second)) for second in (999, 1_000, 1_999, 2_000)]
    assert found == [False, True, True, False]
    early = msgspec.structs.replace(seen(1, 500), observed_time=at(1_200))
    assert silence().covers(early)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"ends": at(999)}, "ends after it starts"),
        ({"ends": at(1_000) + MAX_LENGTH + timedelta(seconds=1)}, "within 366 days"),
        ({"rule": "*"}, "names a rule"),
        ({"rule": "*", "fields": {"agent.id": "*"}}, "names a rule"),
        ({"owner": ""}, "owner"),
        ({"reason": ""}, "reason"),
        ({"forever": True}, "forever"),
        ({"rule": "x" * 201}, "rule"),
    ],
)
def test_one_without_owner_reason_end_or_aim_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        silence(**options)


def test_beyond_the_limit_those_that_end_last_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SILENCES", 2)
    known = Silences(silence(f"s{n}", ends=at(1_600 + n)) for n in (3, 1, 2))
    assert len(known) == 2
    found = known.of(seen(1, 1_500))
    assert found is not None
    assert found.name == "s2"


@given(
    st.lists(st.tuples(st.integers(900, 2_100), st.sampled_from("AB")), max_size=60),
    st.integers(1, 9),
)
def test_silenced_signals_are_kept_apart_however_many_there_are(
    stream: list[tuple[int, str]], size: int
) -> None:
    groups = Groups()
    groups.silences = Silences([silence(fields={"agent.id": "A"})])
    signals = [seen(number, *one) for number, one in enumerate(stream)]
    said = {}
    for begin in range(0, len(signals), size):
        for group in groups.absorb(signals[begin : begin + size], 0):
            said[group.group_id] = group
    for group in groups.close(END_US, 1):
        said[group.group_id] = group
    expected: Counter[tuple[str, bool]] = Counter()
    for second, entity in stream:
        expected[entity, entity == "A" and 1_000 <= second < 2_000] += 1
    found: Counter[tuple[str, bool]] = Counter()
    for group in said.values():
        found[group.entity, group.suppressed is not None] += group.count
        assert group.suppressed in {None, "silenced by ops (load-test): load test"}
    assert found == expected


def test_a_signal_that_moves_out_of_a_silence_leaves_its_group() -> None:
    groups = Groups()
    groups.silences = Silences([silence(fields={"session.id": "s"})])
    [hushed] = groups.absorb([seen(1, 1_500)], 0)
    assert hushed.suppressed
    revised = seen(1, 1_500, session_id="t", change="revised")
    said = {group.group_id: group for group in groups.absorb([revised], 1)}
    assert said[hushed.group_id].count == 0
    [heard] = [group for key, group in said.items() if key != hushed.group_id]
    assert (heard.count, heard.suppressed) == (1, None)


def test_it_outlives_a_restart() -> None:
    groups = Groups()
    groups.silences = Silences([silence()])
    groups.absorb([seen(1, 1_500)], 0)
    after = Groups()
    after.load(groups.dump())
    [closed] = after.close(END_US, 1)
    assert closed.suppressed
