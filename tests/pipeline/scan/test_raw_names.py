"""Names found among lines: never one too few."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.scan.raw_lines import RawLines
from tachograph.pipeline.scan.raw_names import MAX_BLANKS, Names, tellable

NAMES = [
    "CommandLine",
    "ParentCommandLine",
    "tool.name",
    "abcdef",
    "Abcdef",
    "user_name",
    "a~b c-d",
]
# Enough of them that they are looked for.
MANY = [*NAMES, *(f"never_{number:03}" for number in range(60))]


def spelled(name: str, escaped: list[bool], upper: bool) -> str:
    """The name as JSON, some characters as their numbers."""
    marks = zip(name, [*escaped, *[False] * len(name)], strict=False)
    form = "\\u{:04X}" if upper else "\\u{:04x}"
    return "".join(form.format(ord(char)) if mark else char for char, mark in marks)


spellings = st.builds(
    spelled, st.sampled_from(NAMES), st.lists(st.booleans(), max_size=17), st.booleans()
)
keys = st.one_of(spellings, st.sampled_from(["x", "", "line", "Line", "not_a_name_of_ours"]))
blanks = st.text(" \t\r", max_size=3)
members = st.tuples(
    keys, blanks, st.sampled_from(['"a:b"', "1", "null", '"\\"CommandLine\\":"', '{"abcdef":2}'])
)
lines = st.lists(members, max_size=5).map(
    lambda found: "{" + ",".join(f'"{key}"{blank}:{value}' for key, blank, value in found) + "}"
)


@settings(deadline=None)
@given(st.lists(lines, min_size=1, max_size=4))
def test_every_name_that_is_a_key_is_found_however_it_is_spelled(texts: list[str]) -> None:
    found = Names(NAMES).among(memoryview("\n".join(texts).encode()))
    used = {key for text in texts for key in json.loads(text)}
    assert found is not None
    assert used & set(NAMES) <= set(found)


@settings(deadline=None, max_examples=40)
@given(st.lists(lines, max_size=6), st.lists(lines, max_size=6))
def test_columns_are_the_same_however_many_names_never_come(
    first: list[str], second: list[str]
) -> None:
    few, many = RawLines(None, NAMES), RawLines(None, MANY)
    for number, texts in enumerate((first, second)):
        blocks = ["\n".join(texts).encode()]
        found, expected = many.frame(blocks, number), few.frame(blocks, number)
        assert found.select(sorted(found.columns)).equals(expected.select(sorted(expected.columns)))


def test_a_name_behind_more_blanks_than_anyone_writes_is_not_denied() -> None:
    text = b'{"CommandLine"' + b" " * (MAX_BLANKS + 1) + b":1}"
    assert Names(NAMES).among(memoryview(text)) is None


def test_short_names_and_those_with_other_spellings_are_not_told() -> None:
    assert not any(map(tellable, ["User", "größeres", 'quo"tedname', "path/to/it"]))
    assert all(map(tellable, NAMES))
