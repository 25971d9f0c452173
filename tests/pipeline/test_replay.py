"""What `tacho replay` tells of letters that it puts back and of those it leaves."""

from tachograph.pipeline.replay import Outcome, summary


def test_each_letter_that_is_left_is_named_with_the_reason() -> None:
    outcome = Outcome(
        replayed={"agent.raw": 2},
        without_bytes=3,
        at_destinations={"soar": 4, "siem": 1},
        behind={"agent.signals": 6},
    )
    assert summary(outcome, dry_run=True).splitlines() == [
        "would put back 2 dead letters: agent.raw 2",
        "3 cannot be: only their hash was kept (above a source's limit)",
        "5 alerts that a destination refused are left: siem 1, soar 4; tacho.alerts has them,"
        " and the destination gets their next revision",
        "6 that a stage behind the entrance could not read are left: agent.signals 6",
    ]


def test_nothing_to_put_back_is_said_in_one_line() -> None:
    assert summary(Outcome(), dry_run=False) == "put back 0 dead letters"
