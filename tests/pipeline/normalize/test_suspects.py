"""Suspects: every text that an expression matches by itself is found in the pass over all."""

import polars as pl
import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.normalize.suspects import Suspects

EXPRESSIONS = (r"ab", r"\bab\b", r"^ab", r"ab$", r"a[^x]*b", r"(?i:AB)|é.")
TEXTS = st.lists(st.none() | st.text("abxé \n", max_size=6), max_size=12)
FINDERS = {regex: Suspects(regex) for regex in EXPRESSIONS}


@given(texts=TEXTS, cut=st.integers(0, 3), regex=st.sampled_from(EXPRESSIONS))
def test_each_text_that_matches_by_itself_is_found(
    texts: list[str | None], cut: int, regex: str
) -> None:
    alone = re2.compile(regex)
    series = pl.Series(texts, dtype=pl.String)[cut:]
    wanted = {at for at, text in enumerate(series) if text is not None and alone.search(text)}
    found = FINDERS[regex].places(series)
    assert wanted <= set(found)
    assert found == sorted(set(found))
    assert FINDERS[regex].any(series) == bool(found)


@given(texts=TEXTS)
def test_no_clean_text_is_found_by_an_expression_that_stays_within_a_line(
    texts: list[str | None],
) -> None:
    series = pl.Series(texts, dtype=pl.String)
    wanted = [at for at, text in enumerate(texts) if text and "ab" in text]
    assert FINDERS["ab"].places(series) == wanted


def test_an_expression_that_re2_cannot_take_is_refused() -> None:
    with pytest.raises(re2.error):
        Suspects(r"(?=a)")
