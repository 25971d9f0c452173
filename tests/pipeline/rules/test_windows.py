"""`tacho rules explain` of rules over several actions: how their groups stand, of every kind."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.rules.explaining import Question, run_explain
from tachograph.pipeline.rules.loading import Sources
from tachograph.pipeline.scan.feed import feeder
from tachograph.pipeline.scan.inputs import chunks
from tachograph.pipeline.settings import ClickHouseSettings
from tests.pipeline.stored import Store

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
BASE = "".join(
    f"title: {name}\nname: {name}\nlogsource: {{category: any}}\n"
    f"detection: {{s: {{tool.name: {name}}}, condition: s}}\n---\n"
    for name in "abc"
)
# What happened: seconds after noon, tool, target, cost; in session s, but for the last one.
HAPPENED = [
    (0, "a", "x", 0.25),
    (2, "c", "y", 0.5),
    (5, "b", "y", None),
    (30, "a", "x", 0.125),
    (33, "b", "z", 0.125),
    (80, "c", "z", 0.25),
    (81, "a", "t", 1.0),
]
# Kind, rules, condition, more; what is asked, found and missing at the nearest event of session s.
CASES = [
    ("event_count", "a, b", "{gte: 3}", "", "at least 3 actions within 10 s", "2 actions",
     "1 more"),
    ("event_count", "a, b", "{gte: 2}", "", "at least 2 actions within 10 s", "2 actions", None),
    ("value_count", "a, b, c", "{field: target.resource, gte: 3}", "",
     "at least 3 values of target.resource within 10 s",
     "2 values of target.resource: 'x', 'z'", "1 more"),
    ("value_sum", "a, c", "{field: usage.cost.usd, gt: 1}", "",
     "sum of usage.cost.usd more than 1 within 10 s",
     "sum of usage.cost.usd is 0.75, of 2 actions", "asked for more than 1"),
    ("temporal", "a, b, c", "", "", "at least 3 of a, b, c within 10 s", "a, b, c", None),
    ("temporal", "a, b", "a and not b", "", "a and no b within 10 s", "a; not b",
     None),
    ("temporal_ordered", "a, b, c", "", "", "a → b → c within 10 s",
     "2 of 3 steps: a at 12:00:30, b at 12:00:33", "no c after that"),
    ("temporal_ordered", "a, b, c", "a and not c and b", "", "a → no c between, b within 10 s",
     "2 of 2 steps: a at 12:00:30, b at 12:00:33", None),
    ("temporal_ordered", "b, a", "", "", "b → a within 10 s",
     "1 of 2 steps: b at 12:00:33", "no a after that"),
    ("event_count", "a, b, c", "{gte: 4}", "window: session, gap: 5s",
     "at least 4 actions in a session of at most 10 s without a pause of 5 s",
     "3 actions", "1 more"),
    ("event_count", "a, b, c", "{gte: 3}", "window: tumbling",
     "at least 3 actions in a window of 10 s", "3 actions", None),
    ("temporal_ordered", "a, b", "", "absent: b", "a and no b within 10 s after it",
     "a, and b 3 s later", "b followed"),
    ("value_count", "a, b, c", "{field: target.resource, gte: 1}", "first_seen: {learning: 9s}",
     "values of target.resource that were not seen for 10 s, after 9 s of learning",
     "target.resource: 'z'",
     "the group is watched since 2026-11-22T12:01:20+00:00, 0 s; it learns for 9 s"),
]  # fmt: skip


def text_of(kind: str, names: str, condition: str, more: str) -> str:
    return (
        f"{BASE}title: asked\nid: asked\ncorrelation:\n  type: {kind}\n  rules: [{names}]\n"
        "  group-by: [session.id]\n  timespan: 10s\n"
        + (f"  condition: {condition}\n" if condition else "")
        + (f"tacho: {{{more}}}\n" if more else "")
    )


@pytest.fixture
def events(tmp_path: Path) -> Path:
    file = tmp_path / "events.ndjson"
    lines = [
        {
            "kind": "tool_call",
            "event_time": (NOON + timedelta(seconds=at_s)).isoformat(),
            "producer_id": str(number),
            "agent_id": "agent",
            "session_id": "s" if number < len(HAPPENED) - 1 else "other",
            "tool_name": tool,
            "target_resource": target,
            "usage_cost_usd": cost,
        }
        for number, (at_s, tool, target, cost) in enumerate(HAPPENED)
    ]
    file.write_text("\n".join(map(json.dumps, lines)))
    return file


def explained(folder: Path, rule: str, *, as_json: bool = False, **asked: Any) -> str:
    """What `tacho rules explain` says of a rule alone."""
    file = folder / "asked.yml"
    file.write_text(rule)
    sink = StringIO()
    sources = Sources(paths=[file], builtin=False)
    run_explain(Question(rule="asked", sources=sources, **asked), as_json=as_json, sink=sink)
    return sink.getvalue()


def told(folder: Path, rule: str, **asked: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(explained(folder, rule, as_json=True, **asked))
    windows: dict[str, Any] = answer["windows"]
    return windows


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}, {case[2] or case[1]}")
def test_it_is_told_what_is_asked_found_and_missing(
    case: tuple[str, str, str, str, str, str, str | None], tmp_path: Path, events: Path
) -> None:
    kind, names, condition, more, asked, found, missing = case
    windows = told(
        tmp_path, text_of(kind, names, condition, more), file=events, groups=["session.id=s"]
    )
    [one] = windows["told"]
    standing = one["standing"]
    assert (standing["asked"], standing["found"], standing["missing"]) == (asked, found, missing)
    if missing is None:
        assert one["signals"]


THREE = text_of("event_count", "a, b, c", "{gte: 3}", "")


def test_at_an_event_it_is_told_how_it_was_then(tmp_path: Path, events: Path) -> None:
    windows = told(tmp_path, THREE, file=events, index=1)
    assert (windows["groups"], windows["signals"]) == (2, 1)
    [one] = windows["told"]
    assert one["standing"]["missing"] == "1 more"
    assert [event["what"] for event in one["standing"]["events"]] == ["a", "c"]
    assert one["signals"] == ["2026-11-22T12:00:05+00:00: asked: 3 within 10 s, 3 are enough"]


def test_it_is_told_in_lines(tmp_path: Path, events: Path) -> None:
    text = explained(tmp_path, THREE, file=events, groups=["session.id=s"])
    assert "group session.id=s of agent, tenant default: 1 signal\n" in text
    assert "  ✓ after 2026-11-22T11:59:55 up to 2026-11-22T12:00:05: 3 actions\n" in text
    text = explained(tmp_path, THREE, file=events, groups=["session.id=other"])
    assert "12:01:21: 1 action   missing: 2 more\n" in text


def test_groups_of_which_something_is_said_come_first(tmp_path: Path, events: Path) -> None:
    rule = text_of("event_count", "a", "{gte: 1}", "").replace("session.id", "target.resource")
    windows = told(tmp_path, rule.replace("gte: 1", "gte: 2"), file=events)
    assert [one["standing"]["group"] for one in windows["told"]] == [
        {"target.resource": "x"},
        {"target.resource": "t"},
    ]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"groups": ["session.id=none"]}, "no group has these values"),
        ({"index": 2}, "no group has it: no step asks for it"),
    ],
)
def test_what_is_in_no_group_is_said_to_be(
    asked: dict[str, Any], said: str, tmp_path: Path, events: Path
) -> None:
    assert said in explained(
        tmp_path, text_of("event_count", "a", "{gte: 2}", ""), file=events, **asked
    )


@pytest.mark.parametrize(
    ("group", "reason"),
    [("session.id", "write it as key=value"), ("agent.id=x", "asked groups by session.id")],
)
def test_a_group_that_cannot_be_is_refused(
    group: str, reason: str, tmp_path: Path, events: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        explained(tmp_path, THREE, file=events, groups=[group])


def test_a_stored_action_is_told_of_with_those_around_it(
    tmp_path: Path,
    events: Path,
    store: Store,
    clickhouse: ClickHouseSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse.url)
    frame = feeder("actions", tmp_path / "home", "default", None).feed(*chunks(events)).frame
    store(frame)
    last = frame.filter(tool_name="b")["event_id"][0]
    [one] = told(tmp_path, THREE, event_id=last)["told"]
    assert one["standing"]["missing"] is None
    assert len(one["signals"]) == 1
