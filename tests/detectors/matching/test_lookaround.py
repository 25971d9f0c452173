"""Look-around in linear time finds what a backtracking engine finds, and its rough form never
less.
"""

import re
from collections.abc import Iterator

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.language.regexes import UnsupportedRegex, checked
from tachograph.detectors.matching.lookaround import holding, needs_judge, split
from tachograph.detectors.matching.positions import MAX_POSITIONS
from tachograph.detectors.matching.regex_tree import MAX_DEPTH

# An expression for the tests: its text, and the places where a match of it from a place may end.
Made = tuple[str, "Ends"]


class Ends:
    """The oracle: tries everything, and remembers nothing."""

    def __init__(self, kind: str, *parts: object) -> None:
        self.kind, self.parts = kind, parts

    def of(self, text: str, at: int) -> set[int]:
        match self.kind, self.parts:
            case "chars", (str(chars),):
                return {at + 1} if text[at : at + 1] and text[at] in chars else set()
            case "start", ():
                return {at} if at == 0 else set()
            case "end", ():
                return {at} if at == len(text) else set()
            case "word", (bool(wanted),):
                before = at > 0 and text[at - 1].isalnum()
                after = at < len(text) and text[at].isalnum()
                return {at} if (before != after) is wanted else set()
            case "cat", (Ends() as one, Ends() as other):
                return {end for middle in one.of(text, at) for end in other.of(text, middle)}
            case "alt", (Ends() as one, Ends() as other):
                return one.of(text, at) | other.of(text, at)
            case "repeat", (Ends() as inner, int(least), most):
                return set(self._repeated(inner, least, most, text, at))
            case "ahead", (Ends() as inner, bool(wanted)):
                return {at} if bool(inner.of(text, at)) is wanted else set()
            case "behind", (Ends() as inner, bool(wanted)):
                begins = any(at in inner.of(text, begin) for begin in range(at + 1))
                return {at} if begins is wanted else set()
        raise AssertionError(self.kind)

    @staticmethod
    def _repeated(inner: "Ends", least: int, most: object, text: str, at: int) -> Iterator[int]:
        places, seen = {at}, {at} if least == 0 else set()
        for times in range(1, (most if isinstance(most, int) else least + len(text) + 1) + 1):
            places = {end for place in places for end in inner.of(text, place)}
            if times >= least:
                seen |= places
        yield from seen


CHARS = {"a": "a", "b": "b", "[ab]": "ab", "[^a]": "b c\n", ".": "ab c", r"\s": " \n", "c": "c"}


def chars() -> st.SearchStrategy[Made]:
    return st.sampled_from(sorted(CHARS)).map(lambda s: (s, Ends("chars", CHARS[s])))


def places() -> st.SearchStrategy[Made]:
    return st.sampled_from(
        [
            ("^", Ends("start")),
            (r"\z", Ends("end")),
            (r"\b", Ends("word", True)),
            (r"\B", Ends("word", False)),
        ]
    )


def _bigger(inner: st.SearchStrategy[Made], *, behind: bool) -> st.SearchStrategy[Made]:
    def look(one: Made, sign: str) -> Made:
        kind = "behind" if "<" in sign else "ahead"
        return f"(?{sign}{one[0]})", Ends(kind, one[1], "=" in sign)

    def repeat(one: Made, times: tuple[str, int, int | None]) -> Made:
        return f"(?:{one[0]}){times[0]}", Ends("repeat", one[1], *times[1:])

    signs = ["=", "!", "<=", "<!"] if behind else ["=", "!"]
    times = [("*", 0, None), ("+", 1, None), ("?", 0, 1), ("{2}", 2, 2), ("{1,3}?", 1, 3)]
    return st.one_of(
        st.tuples(inner, inner).map(
            lambda two: (f"(?:{two[0][0]}){two[1][0]}", Ends("cat", two[0][1], two[1][1]))
        ),
        st.tuples(inner, inner).map(
            lambda two: (f"(?:{two[0][0]}|{two[1][0]})", Ends("alt", two[0][1], two[1][1]))
        ),
        st.builds(repeat, inner, st.sampled_from(times)),
        st.builds(look, inner, st.sampled_from(signs)),
    )


def expressions(*, behind: bool) -> st.SearchStrategy[Made]:
    return st.recursive(
        st.one_of(chars(), chars(), places()),
        lambda inner: _bigger(inner, behind=behind),
        max_leaves=7,
    )


texts = st.text("abc \n", max_size=7)


def found(pattern: str, text: str) -> bool:
    parts = split(pattern)
    (hit,) = holding(pl.Series([text]), parts.exact, parts.rough)
    rough = bool(pl.Series([text]).str.contains(parts.rough)[0])
    assert rough or not _alone(parts.exact, text), "the rough form lost a match"
    if hit:
        assert all(pl.Series([text]).str.contains(must)[0] for must in parts.musts)
    return bool(hit)


def _alone(exact: str, text: str) -> bool:
    return bool(holding(pl.Series([text]), exact, "(?:)")[0])


@settings(max_examples=300, deadline=None)
@given(expressions(behind=True), st.lists(texts, min_size=1, max_size=4))
def test_it_finds_what_trying_everything_finds(made: Made, some: list[str]) -> None:
    pattern, oracle = made
    for text in some:
        wanted = any(oracle.of(text, at) for at in range(len(text) + 1))
        assert found(pattern, text) is wanted, (pattern, text)


@settings(max_examples=150, deadline=None)
@given(expressions(behind=False), texts.filter(bool))
def test_it_finds_what_pythons_engine_finds(made: Made, text: str) -> None:
    # Of the empty text Python before 3.14 has an opinion of its own about \B.
    pattern, _ = made
    wanted = re.search(pattern.replace(r"\z", r"\Z"), text) is not None
    assert found(pattern, text) is wanted


@pytest.mark.parametrize(
    ("pattern", "flags", "text", "wanted"),
    [
        (r"(?<!get_)(?<!list_)pay", "", "list_pay", False),
        (r"(?<!get_)(?<!list_)pay", "", "do_pay", True),
        (r"(?<!\b(?:say|for example)\s)CALL x", "", "for example CALL x", False),
        (r"(?<!\b(?:say|for example)\s)CALL x", "", "now CALL x", True),
        (r"(?<=fetch[\s\S]{0,9})host", "", "fetch\nit: host", True),
        (r"(?<=fetch[\s\S]{0,9})host", "", "fetch it all now: host", False),
        (r"https?://(?!localhost|127\.)\S+", "", "http://localhost http://x", True),
        (r"https?://(?!localhost|127\.)\S+", "", "http://127.0.0.1", False),
        (r"(?=[\s\S]*\.env)(?=[\s\S]*(?:curl|wget))", "", "wget x; cat .env", True),
        (r"(?=[\s\S]*\.env)(?=[\s\S]*(?:curl|wget))", "", "cat .env", False),
        (r"<!--(?:(?!-->)[\s\S]){0,20}?evil(?:(?!-->)[\s\S])*-->", "", "<!-- evil -->", True),
        (r"<!--(?:(?!-->)[\s\S]){0,20}?evil(?:(?!-->)[\s\S])*-->", "", "<!-- --> evil -->", False),
        (r"KEY(?!s)", "i", "keys key", True),
        (r"KEY(?!S)", "i", "keys", False),
        (r"(?i)k(?=x)", "", "\u212aX", True),
        (r"a.(?=b)", "", "a\nb", False),
        (r"a.(?=b)", "s", "a\nb", True),
        (r"^b(?=$)", "m", "a\nb\nc", True),
        (r"^b(?=$)", "", "a\nb\nc", False),
        (r"(?i:a)(?-i:B)(?=c)", "i", "ABC", True),
        (r"(?i:a)(?-i:B)(?=c)", "i", "AbC", False),
        (r"(?<n>a)(?P<m>b)(?!c)", "", "abd", True),
        (r"[^\]]x(?=[[:digit:]])", "", "ax1", True),
        (r"\p{Lu}(?=\p{Ll})", "", "ÄÖö", True),
        (r"\x41\x{42}(?=\u0043)", "", "ABC", True),
        (r"[]a](?=-)", "", "]-", True),
    ],
)
def test_an_expression_means(pattern: str, flags: str, text: str, wanted: bool) -> None:
    parts = split(pattern, flags)
    assert holding(pl.Series([text]), parts.exact, parts.rough).to_list() == [wanted]


def test_no_text_is_no_answer_and_order_is_kept() -> None:
    parts = split("a(?!b)")
    some = pl.Series(["ab", None, "ac", "", "aba"])
    assert holding(some, parts.exact, parts.rough).to_list() == [False, None, True, False, True]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"(a)(?=x)\1", "back-reference"),
        (r"(?P<n>a)(?=x)\k<n>", "backtracking"),
        (r"(?>a)(?=x)", "group"),
        (r"a++(?=x)", "possessive"),
        (r"(?=x", "not closed"),
        (r"(?=x))", "closed"),
        (r"(?=[a)", "not closed"),
        (r"(?x)(?=x)", "flags"),
        (r"(?=*)", "repeats nothing"),
        (r"(?=\p{Nonsense})", "refuses"),
        (r"(?:(?:[ab]x){0,90}){0,90}(?=x)", "positions"),
        ("(" * (MAX_DEPTH + 2) + "(?=x)" + ")" * (MAX_DEPTH + 2), "deeply"),
        (f"(?=x{{{MAX_POSITIONS}}})", "positions"),
    ],
)
def test_what_cannot_be_judged_in_linear_time_is_refused(pattern: str, reason: str) -> None:
    with pytest.raises(UnsupportedRegex, match=reason):
        split(pattern)


def test_only_what_looks_around_is_taken_apart() -> None:
    assert needs_judge("a(?!b)")
    assert needs_judge(r"(a)\1")
    assert not needs_judge(r"a(?:b)(?i:c)(?P<d>e)\\1\0")
    with pytest.raises(UnsupportedRegex, match="look-around"):
        checked("a(?!b)")


def test_a_hostile_text_costs_no_more_steps_than_its_length() -> None:
    # A backtracking engine takes years for this one; sets of positions take one step a character.
    parts = split(r"^(?:a|a)*(?:a|aa)*(?=b)")
    assert holding(pl.Series(["a" * 20_000 + "c"]), parts.exact, parts.rough).to_list() == [False]
