"""Expressions that refer back to a group find what a backtracking engine finds."""

import re

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.language.regexes import UnsupportedRegex
from tachograph.detectors.matching.lookaround import holding, split
from tachograph.detectors.matching.references import Referring

_ATOMS = ["a", "b", "[ab]", ".", r"\b", "^", "$", " ", "(?:ab)", "(?:a|ba)"]
_TIMES = ["", "", "*", "+", "?", "{2}", "{0,2}", "*?"]


def _runs(*more: str) -> st.SearchStrategy[str]:
    one = st.tuples(st.sampled_from([*_ATOMS, *more]), st.sampled_from(_TIMES)).map(
        lambda two: two[0] + (two[1] if two[0] not in {r"\b", "^", "$"} else "")
    )
    return st.lists(one, min_size=1, max_size=3).map("".join)


def expressions() -> st.SearchStrategy[str]:
    parts = st.tuples(
        st.sampled_from(["", "(?i)"]), _runs(), _runs(), _runs(), _runs(r"\1"), _runs()
    )
    return parts.map(lambda p: rf"{p[0]}(?:{p[1]})?({p[2]}){p[3]}\1{p[4]}(?:{p[5]}|\1)")


@settings(max_examples=200, deadline=None)
@given(expressions(), st.text("abAB ", max_size=9))
def test_it_finds_what_a_backtracking_engine_finds(pattern: str, text: str) -> None:
    parts = split(pattern)
    wanted = re.search(pattern.replace("$", r"\Z"), text) is not None
    assert holding(pl.Series([text]), parts.exact, parts.rough).to_list() == [wanted]


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"(\w+) = secret.*send\(\1\b", "tok = secret; send(tok)", True),
        (r"(\w+) = secret.*send\(\1\b", "tok = secret; send(other)", False),
        (r"(?P<quote>['\"]).*?\1", "'it\"", False),
        (r"(a)(b)\2\1", "xabbax", True),
        (r"(?:(a)|b)\1", "b", False),
        (r"(?i)(é)\1", "éÉ", True),
    ],
)  # fmt: skip
def test_a_reference_asks_for_the_same_text(pattern: str, text: str, found: bool) -> None:
    parts = split(pattern)
    assert holding(pl.Series([text]), parts.exact, parts.rough).to_list() == [found]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"\1(a)", "to no group before it"),
        (r"(a)\2", "to no group before it"),
        (r"(a\1)", "to no group before it"),
        (r"(a)(?=b)\1", "look-around beside"),
    ],
)
def test_what_is_not_supported_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(UnsupportedRegex, match=reason):
        split(pattern)


def test_a_text_that_takes_too_much_counts_as_the_rough_expression_says() -> None:
    text = "ab" * 400
    assert not Referring(r"(a.{1,9}b).*\1c").matches("abab")
    assert Referring(r"(.+).*(.+)\1\2c", max_steps=10_000).matches(text)
