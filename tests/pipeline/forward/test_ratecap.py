"""The rate cap admits so many a minute and sums up the rest."""

from tachograph.pipeline.clock import SECOND_US, to_us
from tachograph.pipeline.forward.formats import formats
from tachograph.pipeline.forward.ratecap import RULE_ID, RateCap, summaries
from tests.pipeline.forward import alerts

NOW_US = to_us(alerts.START) // (60 * SECOND_US) * 60 * SECOND_US
MINUTE = NOW_US // (60 * SECOND_US)


def test_no_cap_admits_everything() -> None:
    batch = [alerts.alert(n) for n in range(50)]
    assert RateCap(None).split(batch, {}, NOW_US) == (batch, [])


def test_a_cap_counts_what_went_out_in_the_minute() -> None:
    cap = RateCap(3)
    batch = [alerts.alert(n) for n in range(5)]
    admitted, held = cap.split(batch, {}, NOW_US)
    assert (len(admitted), len(held)) == (3, 2)
    # A delivery that failed used nothing up.
    assert len(cap.split(batch, {}, NOW_US)[0]) == 3
    cap.used(3, NOW_US)
    assert len(cap.split(batch, {}, NOW_US + 59 * SECOND_US)[0]) == 0
    assert len(cap.split(batch, {}, NOW_US + 60 * SECOND_US)[0]) == 3


def test_the_end_of_a_known_alert_is_never_held_back() -> None:
    cap = RateCap(1)
    cap.used(1, NOW_US)
    ended = alerts.alert(1, status="retracted")
    assert cap.split([ended], {ended.alert_id: 0}, NOW_US) == ([ended], [])
    assert cap.split([ended], {}, NOW_US)[0] == []


def test_a_summary_says_how_many_of_which_severity_and_rule() -> None:
    _, held = RateCap(1).split(
        [alerts.alert(n, severity="critical" if n == 4 else "low") for n in range(5)], {}, NOW_US
    )
    [summary] = summaries("siem", "acme", held)
    assert summary.title == ("4 alerts were held back from siem in this minute (1 critical, 3 low)")
    assert summary.severity == "critical"
    assert summary.reasons[0].fields == {"secret-then-egress": "4"}
    assert summary.rules[0].rule_id == RULE_ID
    for form in formats().values():
        assert b"4 alerts were held back" in form.render(summary)


def test_one_minute_has_one_summary_with_one_id() -> None:
    cap = RateCap(1)
    batch = [alerts.alert(n) for n in range(3)]
    _, first = cap.split(batch, {}, NOW_US)
    _, second = cap.split(batch, {}, NOW_US + 60 * SECOND_US)
    both = summaries("siem", "acme", [*second, *first])
    assert len({summary.alert_id for summary in both}) == 2
    assert both[0].alert_id == summaries("siem", "acme", first)[0].alert_id
    assert both[0].alert_id != summaries("other", "acme", first)[0].alert_id
