"""Correlations are honoured in full, or are a problem with line and reason."""

from pathlib import Path

import pytest

from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.pipelines import Pipelines, read_pipelines
from tachograph.detectors.language.rule import (
    Absent,
    AllOf,
    Bound,
    Correlation,
    Count,
    Figure,
    FirstSeen,
    Link,
    Not,
    Ordered,
    Seen,
    Together,
    Values,
)
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleErrors, build
from tests.detectors.language.judged import signals
from tests.detectors.made import rules

BASE = """
title: base
name: base
id: 5ae0b0a6-9a4d-4b0c-8a3e-0d6b6a6f0001
logsource: {category: any}
detection: {s: {tool.name: a}, condition: s}
---
title: other
name: other
logsource: {category: any}
detection: {s: {tool.name: b}, condition: s}
---
title: over time
name: over_time
correlation:
"""
FIRST_LINE = BASE.count("\n")


def text(more: str = "", **fields: str) -> str:
    usual = {
        "type": "event_count",
        "rules": "[base]",
        "group-by": "[session.id]",
        "timespan": "5m",
        "condition": "{gte: 3}",
    }
    lines = {**usual, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return BASE + "".join(f"  {name}: {value}\n" for name, value in lines.items() if value) + more


def one(*args: str, **fields: str) -> Correlation:
    found = rules(text(*args, **fields))
    [rule] = [rule for rule in found.correlations if rule.meta.title == "over time"]
    return rule


def problems(content: str) -> list[tuple[int, str]]:
    with pytest.raises(RuleErrors) as caught:
        rules(content)
    return [(problem.line, problem.reason) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("fields", "key", "reason"),
    [
        ({"condition": "{gte: 0}"}, "condition", "makes no threshold"),
        ({"condition": "{gte: 1.5}"}, "condition", "no number of events"),
        ({"condition": "{lt: 1}"}, "condition", "can never hold"),
        ({"condition": "{gt: 5, lt: 6}"}, "condition", "can never hold"),
        ({"condition": "{gte: 20000}"}, "condition", "can never hold: there are 1 to 10000"),
        ({"condition": "{gte: soon}"}, "", "soon"),
        ({"condition": "{field: x}"}, "", "exactly one condition item"),
        ({"condition": "base or other"}, "", "temporal"),
        ({"type": "value_count"}, "", "field"),
        ({"type": "value_sum", "condition": "{gte: 3}"}, "", "field"),
        ({"type": "value_sum", "condition": "{gte: .nan, field: x}"}, "", "nan"),
        (
            {"type": "value_sum", "condition": "{gt: 1, lt: 1, field: x}"},
            "condition",
            "can never hold",
        ),
        (
            {"type": "value_sum", "condition": "{gt: 1e15, field: x}"},
            "condition",
            "is beyond",
        ),
        (
            {"type": "value_avg", "condition": "{gt: 1, field: [x, y]}"},
            "condition",
            "made of one field",
        ),
        (
            {"type": "value_percentile", "condition": "{gt: 1, field: x}"},
            "condition",
            "needs percentile",
        ),
        ({"type": "temporal", "condition": ""}, "rules", "refers to 2 to 8 rules"),
        (
            {"type": "temporal", "rules": "[base, 5ae0b0a6-9a4d-4b0c-8a3e-0d6b6a6f0001]"},
            "rules",
            "refers to a rule twice",
        ),
        (
            {"type": "temporal", "rules": "[base, other]", "condition": "{gte: 3}"},
            "condition",
            "can never hold: there are 1 to 2 rules",
        ),
        (
            {"type": "temporal", "rules": "[base, other]", "condition": "not base or other"},
            "condition",
            "holds where nothing happened",
        ),
        (
            {
                "type": "temporal",
                "rules": "[base, other]",
                "condition": "base and other and nobody",
            },
            "",
            "nobody",
        ),
        (
            {
                "type": "temporal_ordered",
                "rules": "[base, other]",
                "condition": "base and not other",
            },
            "condition",
            "must not follow the last event",
        ),
        ({"timespan": "8d"}, "timespan", "longer than 168 hours: so long are actions kept"),
        ({"timespan": "soon"}, "", "soon"),
        ({"rules": "[nobody]"}, "rules", "no rule that is loaded"),
        ({"rules": "[over_time]"}, "rules", "refers to itself"),
        ({"aliases": "{x: {nobody: y}}"}, "aliases", "speaks of nobody"),
        (
            {"rules": "[base, other]", "aliases": "{x: {base: y}}", "group_by": "[x]"},
            "aliases",
            "does not say which field of other",
        ),
        ({"group_by": '["tool.args.a\'b"]'}, "group-by", "does not name members"),
        ({"type": "near"}, "", "near"),
    ],
)
def test_what_cannot_be_honoured_names_line_and_reason(
    fields: dict[str, str], key: str, reason: str
) -> None:
    content = text(**fields)
    (line, said), *_ = problems(content)
    assert reason in said
    lines = content.split("\n")
    assert lines[line - 1].strip().startswith(f"{key}:" if key else "correlation:")


def test_a_range_has_all_its_bounds() -> None:
    asks = one(condition="{gt: 2, lte: 9}").asks
    assert asks == Count([Bound("gt", 2), Bound("lte", 9)])


def test_figures_of_a_field() -> None:
    total = one(type="value_sum", condition="{gte: 0.5, field: usage.cost.usd}").asks
    assert total == Figure("sum", "usage.cost.usd", [Bound("gte", 0.5)])
    median = one(type="value_median", condition="{lt: 3, field: x}").asks
    assert median == Figure("percentile", "x", [Bound("lt", 3)], 50)
    high = one(type="value_percentile", condition="{lt: 3, field: x, percentile: 95}").asks
    assert high == Figure("percentile", "x", [Bound("lt", 3)], 95)


def test_values_of_several_fields_are_combinations() -> None:
    rule = one(type="value_count", condition="{gte: 3, field: [tool.name, target.domain]}")
    assert rule.asks == Values(["tool.name", "target.domain"], [Bound("gte", 3)])
    assert rule.leaves[0].values == ["tool.name", "target.domain"]


def test_rules_together_without_a_condition_are_all_asked_for() -> None:
    fields = {"type": "temporal", "rules": "[base, other]"}
    for condition in ("", "{gte: 2}", "{eq: 2}"):
        assert one(condition=condition, **fields).asks == Together([Bound("gte", 2)])
    expression = AllOf((Seen(0), Not(Seen(1))))
    asks = one(condition="base and not other", **fields).asks
    assert asks == Together(expression=expression)


def test_a_boolean_condition_may_name_the_rules_alone() -> None:
    rule = one(type="temporal", rules="", condition="other and not base")
    assert [step.name for step in rule.steps] == ["other", "base"]


def test_rules_in_order_by_default_are_all_asked_for() -> None:
    fields = {"type": "temporal_ordered", "rules": "[base, other]"}
    whole = Ordered(((Link(0), Link(1)),))
    for condition in ("", "{gte: 1}", "{gte: 2}", "{eq: 2}"):
        assert one(condition=condition, **fields).asks == whole
    assert one(condition="{lt: 2}", **fields).asks == Ordered(bounds=[Bound("lt", 2)])


def test_a_boolean_condition_in_order_is_paths_with_what_must_not_lie_between() -> None:
    rule = one(
        type="temporal_ordered",
        rules="[base, other]",
        condition="base and not (other or base) and other",
    )
    assert rule.asks == Ordered(((Link(0), Link(1, (1, 0))),))
    either = one(type="temporal_ordered", rules="[base, other]", condition="base or other and base")
    assert either.asks == Ordered(((Link(0),), (Link(1), Link(0))))


def test_what_is_only_known_when_nothing_more_comes_is_said_then() -> None:
    assert not one().closed
    assert one(condition="{gte: 3, lt: 9}").closed
    assert one(type="temporal", rules="[base, other]", condition="base and not other").closed
    assert not one(type="temporal", rules="[base, other]", condition="base and other").closed
    ordered = {"type": "temporal_ordered", "rules": "[base, other]"}
    assert one(condition="base and not base and other", **ordered).closed


def test_aliases_name_fields_of_each_rule_by_name_or_id() -> None:
    base = "5ae0b0a6-9a4d-4b0c-8a3e-0d6b6a6f0001"
    rule = one(
        rules=f"[{base}, other]",
        group_by="[who, session.id]",
        aliases="{who: {base: principal.id, other: agent.name}}",
    )
    groups = [leaf.group for leaf in rule.leaves]
    assert groups == [["principal.id", "session.id"], ["agent.name", "session.id"]]


def test_a_group_reaches_across_partitions_unless_an_agent_or_session_is_in_it() -> None:
    assert not one(group_by="[session.id, principal.id]").across
    assert one(group_by="[principal.id]").across
    assert one(group_by="").across
    assert one(group_by="[session.id.x]").across
    rule = rules(text(group_by="[principal.id]"), RAW).correlations[-1]
    assert not rule.across


CHAIN = """---
title: above
name: above
correlation:
  type: temporal_ordered
  rules: [over_time, other]
  group-by: [who]
  timespan: 10m
  aliases: {who: {over_time: by, other: agent.id}}
"""


def test_a_chain_finds_fields_through_the_aliases_of_what_it_rests_on() -> None:
    found = rules(
        text(CHAIN, group_by="[by]", rules="[base, other]",
             aliases="{by: {base: session.id, other: trace.id}}")
    )  # fmt: skip
    [above] = found.correlations
    assert [leaf.group for leaf in above.leaves] == [["session.id"], ["trace.id"], ["agent.id"]]
    inner = above.steps[0].inner
    assert inner is not None
    assert inner.meta.title == "over time"
    assert above.detections == [0, 1]


def test_what_others_rest_on_is_silent_unless_it_is_to_be_generated() -> None:
    chain = CHAIN.replace("{over_time: by", "{over_time: session.id")
    assert [rule.meta.title for rule in rules(text(chain)).rules] == ["above"]
    loud = chain.replace("  timespan", "  generate: true\n  timespan")
    titles = [rule.meta.title for rule in rules(text(loud)).rules]
    assert titles == ["other", "over time", "above"]
    alone = rules(text("tacho: {standalone: true}\n" + chain))
    assert [rule.meta.title for rule in alone.rules] == ["over time", "above"]


def test_a_chain_on_a_group_across_partitions_reaches_across_them_itself() -> None:
    chain = CHAIN.replace("{over_time: by", "{over_time: agent.id")
    [above] = rules(text(chain, group_by="[principal.id]")).correlations
    assert above.across


def test_the_hash_of_a_chain_follows_what_it_rests_on() -> None:
    chain = CHAIN.replace("{over_time: by", "{over_time: session.id")
    [one_], [other] = (
        rules(text(chain, condition=c)).correlations for c in ("{gte: 3}", "{gte: 4}")
    )
    assert one_.meta.version != other.meta.version


def test_a_circle_of_correlations_is_refused() -> None:
    found = problems(text(CHAIN.replace("by", "session.id"), rules="[above]"))
    assert "refers to itself in the end" in {reason for _, reason in found}


def test_a_chain_on_a_broken_rule_says_so() -> None:
    found = problems(text(CHAIN.replace("by,", "session.id,"), condition="{gte: 0}"))
    reasons = [reason for _, reason in found]
    assert any("makes no threshold" in reason for reason in reasons)
    assert any("over_time, which has a problem itself" in reason for reason in reasons)


def test_a_chain_on_rules_of_other_logs_is_left_out_as_they_are() -> None:
    foreign = BASE.replace(
        "logsource: {category: any}\ndetection: {s: {tool.name: a}",
        "logsource: {product: windows}\ndetection: {s: {EventID: 1}",
    )
    content = text(CHAIN.replace("by,", "session.id,")).replace(BASE, foreign)
    found = build(parse(content, "made.yml"))
    assert found.rules == [] or [r.meta.title for r in found.rules] == ["other"]
    assert any("over_time, which is not asked" in one.reason for one in found.skipped)


def test_a_pipeline_renames_the_fields_of_a_range(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_text(
        "name: p\npriority: 10\ntransformations:\n"
        "  - {id: m, type: field_name_mapping, mapping: {Host: session.id, Bytes: tool.name}}\n"
    )
    pipelines, wrong = read_pipelines([tmp_path / "p.yml"])
    assert wrong == []
    assert isinstance(pipelines, Pipelines)
    content = text(
        type="value_count", group_by="[Host]", condition="{gte: 3, lte: 5, field: Bytes}"
    )
    [rule] = build(parse(content, "made.yml"), pipelines=pipelines).correlations
    assert rule.leaves[0].group == ["session.id"]
    assert rule.asks == Values(["tool.name"], [Bound("gte", 3), Bound("lte", 5)])


ORDERED = {"type": "temporal_ordered", "rules": "[base, other]", "condition": ""}
FIRST = {"type": "value_count", "condition": "{field: tool.name, gte: 1}", "timespan": "10d"}


@pytest.mark.parametrize(
    ("said", "fields", "key", "reason"),
    [
        ("window: hopping", {}, "tacho", "hopping"),
        ("window: session", {}, "tacho", "go together"),
        ("gap: 1m", {}, "gap", "go together"),
        ("window: session, gap: soon", {}, "gap", "soon"),
        ("window: session, gap: 6m", {}, "gap", "is not between 0 and the timespan"),
        ("absent: base", {}, "absent", "goes with a temporal_ordered correlation"),
        ("absent: base", ORDERED, "absent", "absent names the second rule, other"),
        ("absent: other", {**ORDERED, "condition": "base and other"}, "absent", "no condition"),
        ("absent: other, window: tumbling", ORDERED, "window", "no window of its own kind"),
        ("first_seen: {learning: 1h}", {}, "first_seen", "goes with a value_count"),
        ("first_seen: {learning: 11d}", FIRST, "first_seen", "knows values for 10d"),
        ("first_seen: {learning: a while}", FIRST, "first_seen", "a while"),
        ("first_seen: {learning: 0s}, absent: base", FIRST, "absent", "either"),
        ("first_seen: {}", FIRST, "tacho", "learning"),
        ("first_seen: {learning: 0}", {**FIRST, "timespan": "91d"}, "timespan", "2160 hours"),
    ],
)
def test_what_the_extension_cannot_mean_names_line_and_reason(
    said: str, fields: dict[str, str], key: str, reason: str
) -> None:
    content = text("tacho:\n  " + said.replace(", ", "\n  ") + "\n", **fields)
    (line, why), *_ = problems(content)
    assert reason in why
    assert content.split("\n")[line - 1].strip().startswith(f"{key}:")


def test_what_sigma_has_no_words_for_is_part_of_what_is_asked() -> None:
    versions = {
        one("tacho: {window: tumbling}\n").meta.version,
        one("tacho: {window: session, gap: 1m}\n").meta.version,
        one("tacho: {window: session, gap: 2m}\n").meta.version,
        one("tacho: {confidence: 10}\n").meta.version,
    }
    assert len(versions) == 4
    assert one().meta.version == one("tacho: {confidence: 10}\n").meta.version


def test_the_extension_is_of_correlations_only() -> None:
    content = BASE.replace("name: base\n", "name: base\ntacho: {window: tumbling}\n")
    found = problems(text().replace(BASE, content))
    assert "window is of correlations only" in {reason for _, reason in found}


def test_absence_and_first_seen_values_are_kinds_of_their_own() -> None:
    absent = one("tacho: {absent: other}\n", **ORDERED)
    assert (absent.asks, absent.meta.kind, absent.closed) == (Absent(), "sequence", True)
    first = one("tacho: {first_seen: {learning: 1d}}\n", **FIRST)
    assert first.asks == FirstSeen(["tool.name"], 86_400_000_000)
    assert (first.meta.kind, first.closed) == ("first_seen", False)
    assert one("tacho: {window: tumbling}\n").closed


def test_steps_of_raw_events_are_named_by_what_they_say() -> None:
    text = """
title: first
name: first
logsource: {product: windows}
detection: {s: {EventID: 1}, condition: s}
---
title: second
name: second
logsource: {product: windows}
detection: {s: {EventID: 2}, condition: s}
---
title: both
correlation: {type: temporal_ordered, rules: [first, second], timespan: 1m}
"""
    (signal,) = signals(rules(text, RAW), {"EventID": 1}, {"EventID": 2})
    assert signal.reason.text == "both: EventID=1 → EventID=2 within 60 s"
