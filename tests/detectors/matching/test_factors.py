"""What an expression is said to contain, every text that it matches does contain."""

import polars as pl
import pytest
from hypothesis import assume, given, settings

from tachograph.detectors.language.conditions import Pattern
from tachograph.detectors.matching.factors import NON_ASCII, branches_of
from tachograph.detectors.matching.guards import guard
from tests.detectors.matching.expressions_made import expressions, texts


def stands(word: str, text: str) -> bool:
    return not text.isascii() if word == NON_ASCII else word in text.lower()


@settings(max_examples=800, deadline=None)
@given(expressions(), texts())
def test_a_guard_lets_every_match_pass(pattern: str, text: str) -> None:
    try:
        found = bool(pl.Series([text]).str.contains(pattern)[0])
    except pl.exceptions.ComputeError:
        assume(False)
    branches = guard(Pattern(pattern))
    if found and branches:
        assert any(
            all(any(stands(word, text) for word in group) for group in branch)
            for branch in branches
        ), (pattern, text, branches)


@pytest.mark.parametrize(
    ("pattern", "branches"),
    [
        ("(?i)Ignore all", [[["ignore all"]]]),
        (r"(?i)ignore\s+(?:all\s+)?previous\s+rules?", [[["previous"], ["ignore"], ["rule"]]]),
        (r"(?:curl|wget)\s+\S+\.evil", [[[".evil"], ["curl", "wget"]]]),
        (r"you\s+are\s+now|new\s+rules", [[["are"], ["now"], ["you"]], [["rules"], ["new"]]]),
        ("[Ii]gnore", [[["ignore"]]]),
        ("colou?r", [[["color", "colour"]]]),
        ("(?:foo){2}", [[["foofoo"]]]),
        ("(?:foo)+", [[["foo"]]]),
        ("(?:foo)*", []),
        ("foo|ba", []),
        ("发送|付款", [[["付款", "发送"]]]),
        (r"[\x{1F300}-\x{1FAFF}]{3,}", [[[NON_ASCII]]]),
        (r"[\U000E0001-\U000E007F]{8,}|[\uFE00-\uFE0F]{6,}", [[[NON_ASCII]]]),
        (r"[\U00000041-\U0000007F]{8,}", []),
        (r"[\U00110000-\U00110001]", []),
        (r"(?i)[\x{2100}-\x{214F}]+", []),
        ("привет", [[[NON_ASCII]]]),
        ("`", [[["`"]]]),
        ("[^a]b", []),
    ],
)  # fmt: skip
def test_what_follows_from_an_expression(pattern: str, branches: list[list[list[str]]]) -> None:
    found = [sorted(list(group) for group in branch) for branch in branches_of(pattern)]
    assert sorted(found) == sorted(sorted(branch) for branch in branches)


def test_within_json_a_word_may_be_escaped() -> None:
    (branch,) = guard(Pattern(r'(?i)curl "x'), in_json=True)
    assert branch == [["curl ", "\\u00"]]


def test_many_branches_become_one() -> None:
    words = [f"w{at}x\\s+y{at}z" for at in range(40)]
    (branch,) = branches_of("|".join(words))
    (group,) = branch
    assert len(group) == 40
