"""What the engine can say of each rule: how often it was asked, what came of it, what cannot."""

from tachograph.detectors.engine import Engine
from tests.detectors.made import frame, rules, stateless

TWO = (
    stateless("  s: {tool.name: shell, tool.args|re: 'rm\\s+-rf'}\n  condition: s")
    + "\n---\n"
    + stateless("  s: {file.path: /etc/passwd}\n  condition: s")
)


def _row(number: int, **fields: object) -> dict[str, object]:
    return {"event_id": f"{number:032x}", "event_time": number, **fields}


def test_a_rule_is_counted_by_what_was_asked_left_over_and_matched() -> None:
    engine = Engine(rules(TWO))
    engine.judge(
        frame([
            _row(1, tool_name="shell", tool_args="rm  -rf /"),
            _row(2, tool_name="shell", tool_args="ls"),
            _row(3, tool_name="browser", tool_args="rm -rf /"),
        ]),
        1,
    )  # fmt: skip
    first, second = engine.stats.values()
    assert (first.evaluations, first.candidates, first.matches) == (3, 2, 1)
    assert first.last_match_us == 1_000_000
    assert first.spent_ns > 0
    assert (second.candidates, second.matches, second.last_match_us) == (0, 0, None)


def test_a_rule_whose_field_no_event_has_carried_is_one_that_cannot_fire_until_one_does() -> None:
    engine = Engine(rules(TWO))
    assert all(own.can_fire for own in engine.stats.values())
    engine.judge(frame([_row(1, tool_name="shell", tool_args="ls")]), 1)
    assert [own.can_fire for own in engine.stats.values()] == [True, False]
    engine.judge(frame([_row(2, file_path="/tmp/x")]), 2)
    assert all(own.can_fire for own in engine.stats.values())
