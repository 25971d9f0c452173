"""Compiled rules are kept, found again, and not believed when they are not what they should be."""

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tachograph.detectors.language import stored
from tachograph.detectors.language.bundle import Bundle, Source
from tachograph.detectors.language.fields import ACTIONS, RAW
from tachograph.detectors.language.rule import (
    Absent,
    AllOf,
    AnyOf,
    Asks,
    Bound,
    Correlation,
    Count,
    Figure,
    FirstSeen,
    Leaf,
    Link,
    Ordered,
    Seen,
    Step,
    Together,
    Values,
)
from tachograph.detectors.language.rule import Not as Unseen
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleSet, build, load
from tachograph.detectors.matching.factors import MAX_KNOWN, branches_of, remember
from tachograph.detectors.reference.reference import shipped
from tachograph.pipeline import rule_cache

ONE_OF_EACH = Path(__file__).parents[1] / "detectors" / "matching" / "rules.yml"
RULE = "title: T{0}\ndetection:\n  s: {{a|contains: word{0}}}\n  condition: s\n"


def _but_last(blob: bytes, *instead: Any) -> bytes:
    return msgspec.msgpack.encode([*msgspec.msgpack.decode(blob)[:-1], *instead])


def test_rules_of_every_kind_come_back_as_they_were() -> None:
    rules = build(parse(ONE_OF_EACH.read_text(), "rules.yml"), fields=RAW)
    assert stored.decode(stored.encode(rules), RAW, rules.reference) == rules


def test_the_shipped_rules_come_back_as_they_were(tmp_path: Path) -> None:
    how: dict[str, Any] = {
        "builtin": True,
        "fields": ACTIONS,
        "reference": shipped(),
        "home": tmp_path,
    }
    rules = rule_cache.load_kept([], **how)
    (file,) = (tmp_path / "cache").iterdir()
    kept = rule_cache.load_kept([], **how)
    assert kept is not rules
    # What cannot be read is said, though the rest of the set is kept.
    (missing,) = rule_cache.load_kept([tmp_path / "none.yml"], **how).refused
    assert "no such file" in missing.reason
    assert file.read_bytes() == stored.encode(kept)
    assert kept.follows_sessions
    # Dates among the samples come back as the text they are written as.
    assert msgspec.to_builtins(kept.rules) == msgspec.to_builtins(rules.rules)
    assert msgspec.structs.replace(kept, rules=rules.rules) == rules


@pytest.mark.parametrize(
    "asks",
    [
        Count([Bound("gte", 3)]),
        Values(["a", "b"], [Bound("gt", 2), Bound("lt", 9)]),
        Figure("percentile", "a", [Bound("gte", 0.5)], 95),
        Together([Bound("eq", 2)]),
        Together(expression=AnyOf((AllOf((Seen(0), Unseen(Seen(1)))), Seen(1)))),
        Ordered(((Link(0), Link(1, (0, 1))), (Link(1), Link(0)))),
        Ordered(bounds=[Bound("gte", 2)]),
        Absent(),
        FirstSeen(["a"], 5),
    ],
    ids=lambda asks: type(asks).__name__,
)
def test_every_question_of_several_events_comes_back(asks: Asks) -> None:
    rules = _asking(asks)
    assert stored.decode(stored.encode(rules), RAW, rules.reference) == rules


@pytest.mark.parametrize(
    "rules",
    [
        lambda: _asking(Ordered(((Link(0), Link(2)),))),
        lambda: _asking(Ordered(((Link(0, (-1,)),),))),
        lambda: _asking(Together(expression=Unseen(AllOf((Seen(0), Seen(7)))))),
        lambda: _asking(Count([Bound("gte", 3)]), detection=1),
        lambda: _asking(Count([Bound("gte", 3)]), detection=-1),
    ],
)
def test_rules_that_refer_to_what_is_not_there_are_refused(rules: Callable[[], RuleSet]) -> None:
    made = rules()
    with pytest.raises(ValueError, match="no compiled rules"):
        stored.decode(stored.encode(made), RAW, made.reference)


def _asking(asks: Asks, *, detection: int = 0) -> RuleSet:
    """One correlation of two steps, the second a correlation itself."""
    one = build(parse(RULE.format(1), "rules.yml"), fields=RAW)
    leaf = Leaf(detection, ["a"], ["b"])
    inner = Correlation(one.rules[0].meta, Absent(), [Step("x", [Leaf(0, [])])], [], 1)
    steps = [Step("x", [leaf]), Step("y", [Leaf(0, ["c"])], inner)]
    rule = Correlation(one.rules[0].meta, asks, steps, ["a"], 60, "session", 7, across=True)
    return msgspec.structs.replace(one, rules=[rule, *one.rules], follows_sessions=True)


@pytest.mark.parametrize(
    "broken",
    [
        lambda blob: b"",
        lambda blob: blob[:-1],
        lambda blob: blob.replace(b"Text", b"exec"),
        lambda blob: blob.replace(b"Stateless", b"Wstateful"),
        _but_last,
        lambda blob: _but_last(blob, {"word1": "word1"}),
    ],
    ids=[
        "empty",
        "cut off",
        "of another kind",
        "a rule of another kind",
        "of a format before",
        "words of another shape",
    ],
)
def test_bytes_that_are_no_rules_are_refused(broken: Callable[[bytes], bytes]) -> None:
    rules = build(parse(RULE.format(1), "rules.yml"), fields=RAW)
    with pytest.raises(ValueError, match="no compiled rules"):
        stored.decode(broken(stored.encode(rules)), RAW, rules.reference)


def test_the_words_of_kept_expressions_are_not_worked_out_again() -> None:
    text = RULE.format(1).replace("contains: word1", "re: 'kept words [0-9]'")
    rules = build(parse(text, "rules.yml"), fields=RAW)
    blob = stored.encode(rules)
    assert msgspec.msgpack.decode(blob)[-1] == {"kept words [0-9]": [[["kept words "]]]}
    other = {"kept words [a-z]": [[["words "]]]}
    stored.decode(_but_last(blob, other), RAW, rules.reference)
    assert branches_of("kept words [a-z]") == ((("words ",),),)


def test_more_words_than_are_remembered_are_not() -> None:
    remember({f"many {number}": () for number in range(MAX_KNOWN + 1)})
    assert branches_of("many 1") == ((("many 1",),),)


def test_what_has_no_bytes_is_compiled_every_time(tmp_path: Path) -> None:
    folder, home = tmp_path / "rules", tmp_path / "home"
    folder.mkdir()
    for number in range(rule_cache.MANY_FILES):
        text = RULE.format(number).replace(f"a|contains: word{number}", f"a|gt: {2**70}")
        (folder / f"{number:04}.yml").write_text(text)
    assert _loaded(folder, home) == _loaded(folder, home)
    assert not (home / "cache").exists()


def _loaded(folder: Path, home: Path) -> RuleSet:
    return rule_cache.load_kept([folder], builtin=False, fields=RAW, reference=shipped(), home=home)


def test_a_large_set_is_kept_and_a_changed_file_is_compiled_again(tmp_path: Path) -> None:
    folder, home = tmp_path / "rules", tmp_path / "home"
    folder.mkdir()
    for number in range(rule_cache.MANY_FILES):
        (folder / f"{number:04}.yml").write_text(RULE.format(number))
    first = _loaded(folder, home)
    (kept,) = (home / "cache").iterdir()
    assert _loaded(folder, home) == first == load([folder], builtin=False, fields=RAW)
    for content in (b"rubbish", _but_last(kept.read_bytes())):
        kept.write_bytes(content)
        assert _loaded(folder, home) == first
        assert kept.read_bytes() == stored.encode(first)
    (folder / "0000.yml").write_text(RULE.format("changed"))
    assert _loaded(folder, home).rules_hash != first.rules_hash


def test_what_was_refused_is_said_again_of_a_kept_set(tmp_path: Path) -> None:
    folder, home = tmp_path / "rules", tmp_path / "home"
    folder.mkdir()
    for number in range(rule_cache.MANY_FILES):
        (folder / f"{number:04}.yml").write_text(RULE.format(number))
    (folder / "broken.yml").write_text(RULE.format("x").replace("a|contains", "a|nosuch"))
    first = _loaded(folder, home)
    assert [Path(problem.file).name for problem in first.refused] == ["broken.yml"]
    assert len(list((home / "cache").iterdir())) == 1
    assert _loaded(folder, home) == first


def test_a_small_set_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text(RULE.format(1))
    _loaded(tmp_path, tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_what_travels_in_the_log_is_compiled_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its content and the reference data above which it stands."""
    monkeypatch.setattr(rule_cache, "MANY_FILES", 2)
    bundle = Bundle([Source(f"{n}.yml", RULE.format(n)) for n in range(2)], builtin=False)
    other = Bundle([*bundle.rules, Source("2.yml", RULE.format(2))], builtin=False)
    for one in (bundle, bundle, other):
        found = rule_cache.compile_kept(one, reference=shipped(), home=tmp_path)
        assert found == one.compile(reference=shipped())
    files = list((tmp_path / "cache").iterdir())
    assert len(files) == 2
    for file in files:
        file.write_bytes(b"broken")
    again = rule_cache.compile_kept(bundle, reference=shipped(), home=tmp_path)
    assert again == bundle.compile(reference=shipped())
    few = Bundle(bundle.rules[:1], builtin=False)
    rule_cache.compile_kept(few, reference=shipped(), home=tmp_path / "few")
    assert not (tmp_path / "few").exists()


def test_a_stage_that_finds_its_rules_kept_does_not_load_what_compiles_them(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from tachograph.pipeline.detect.stage import declared;"
        "declared(Path(sys.argv[1])); print('sigma' in sys.modules)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()[-1]
        for _ in range(2)
    ]  # fmt: skip
    assert said == ["True", "False"]


def test_rules_are_kept_for_the_parser_that_is_installed() -> None:
    assert rule_cache.parser() == f"pysigma-{version('pysigma')}.dist-info"
