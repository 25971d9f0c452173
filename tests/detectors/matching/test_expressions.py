"""Expressions kept ready find what Polars finds, one by one and many in one pass."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.matching.expressions import (
    Bundle,
    Expression,
    OtherMeaning,
    anywhere,
    ready,
    respelled,
)
from tests.detectors.matching.expressions_made import expressions, texts


def slowly(pattern: str, some: list[str]) -> list[bool]:
    return pl.Series(some, dtype=pl.String).str.contains(pattern).to_list()


@settings(max_examples=400, deadline=None)
@given(expressions(), st.lists(texts(), min_size=1, max_size=6))
def test_an_expression_finds_what_polars_finds(pattern: str, some: list[str]) -> None:
    try:
        wanted = slowly(pattern, some)
    except pl.exceptions.ComputeError:
        with pytest.raises(ValueError, match="regex"):
            Expression(pattern)
        return
    assert Expression(pattern).matches(some) == wanted


@settings(max_examples=100, deadline=None)
@given(st.lists(expressions(), min_size=1, max_size=5), texts(), st.sampled_from([1 << 24, 4_096]))
def test_a_bundle_finds_at_least_what_is_there(
    patterns: list[str], text: str, budget_bytes: int
) -> None:
    sound = {at: pattern for at, pattern in enumerate(patterns) if _sound(pattern)}
    found = set(Bundle(sound, budget_bytes=budget_bytes).found_in(text))
    assert found >= {at for at, pattern in sound.items() if slowly(pattern, [text])[0]}
    assert found <= set(sound)


def _sound(pattern: str) -> bool:
    try:
        Expression(pattern)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("pattern", "left"),
    [
        ("(?i)[^\\n]{0,25}(a|b)", "(?i)(a|b)"),
        ("a*b?c", "c"),
        (".*?x", "x"),
        (r"\s*\w{0,3}^x", "^x"),
        ("a**b", "a**b"),
        ("a{1,3}b", "a{1,3}b"),
        ("[]a]*b", "[]a]*b"),
        ("(?x)a* b", "(?x)a* b"),
        ("a*|b", "|b"),
    ],
)
def test_what_an_expression_need_not_begin_with_is_not_looked_for(pattern: str, left: str) -> None:
    assert anywhere(pattern) == left
    some = ["", "b", "xaab", "c", "a\nx", "]b"]
    assert Expression(pattern).matches(some) == slowly(pattern, some)


def test_a_bundle_whose_memory_runs_out_leaves_nothing_out() -> None:
    greedy = {at: f"(?i)[a-z]{{0,300}}x{at}[a-z]{{0,300}}y" for at in range(20)}
    bundle = Bundle(greedy, budget_bytes=1 << 16)
    assert 7 in bundle.found_in("a" * 200 + "x7" + "bc" * 100 + "y")


@pytest.mark.parametrize(
    ("pattern", "spelled"),
    [
        (r"(?i)(?-u:\b)a\u{e9}\s", r"(?i)\ba\x{e9}[\t-\r\x{85}\pZ]"),
        (r"[\s\S]{0,9}", "(?s:.){0,9}"),
        (r"[^\d\]]", r"[^\p{Nd}\]]"),
        (r"(?P<n>a)(?<m>b)(?s:.)", r"(?P<n>a)(?<m>b)(?s:.)"),
        (r"\/\-\"", r"\/\-\""),
    ],
)
def test_what_the_other_engine_spells_otherwise_is_respelled(pattern: str, spelled: str) -> None:
    assert respelled(pattern) == spelled


@pytest.mark.parametrize(
    "pattern", [r"\w", r"[\w.]", r"\bx", "(?x) a", r"[a--b]", r"[\S]", r"\x{d800}", "(?u)a", "{{"]
)
def test_what_it_would_take_for_something_else_it_is_not_given(pattern: str) -> None:
    with pytest.raises(OtherMeaning):
        respelled(pattern)


def test_a_ready_expression_is_the_same_one_and_a_broken_one_says_why() -> None:
    assert ready("a+b") is ready("a+b")
    with pytest.raises(ValueError, match="unclosed"):
        ready("(a")
