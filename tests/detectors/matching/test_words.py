from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.matching.words import Words

SHORT = st.text("ab\n\u00e9", max_size=5)


@given(st.lists(SHORT.filter(bool), min_size=1, unique=True), st.lists(SHORT))
def test_a_word_is_found_in_each_text_that_holds_it_and_in_none_across_two(
    words: list[str], texts: list[str]
) -> None:
    found = Words(words).found(texts)
    sets = dict(found.sets(range(len(words))))
    for number, word in enumerate(words):
        holding = [place for place, text in enumerate(texts) if word in text]
        assert sets.get(number, 0) == sum(1 << place for place in holding)
        hits = found.hits(number) if number in found.runs else None
        assert sorted(set(hits.texts.tolist() if hits else [])) == holding
        if hits is not None:
            begins = {p for p, text in enumerate(texts) if text.startswith(word)}
            ends = {p for p, text in enumerate(texts) if text.endswith(word)}
            assert set(hits.texts[hits.begins].tolist()) == begins
            assert set(hits.texts[hits.ends].tolist()) == ends


def test_a_word_that_only_runs_from_one_text_into_the_next_is_nowhere() -> None:
    assert Words(["a\nb"]).found(["a", "b"]).runs == {}
