"""Compiled rules are kept, found again, and not believed when they are not what they should be."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tachograph.detectors.language import stored
from tachograph.detectors.language.fields import ACTIONS, RAW
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleSet, build, load
from tachograph.detectors.reference.reference import shipped
from tachograph.pipeline import rule_cache

ONE_OF_EACH = Path(__file__).parents[1] / "detectors" / "matching" / "rules.yml"
RULE = "title: T{0}\ndetection:\n  s: {{a|contains: word{0}}}\n  condition: s\n"


def test_rules_of_every_kind_come_back_as_they_were() -> None:
    rules = build(parse(ONE_OF_EACH.read_text(), "rules.yml"), fields=RAW)
    assert stored.decode(stored.encode(rules), RAW, rules.reference) == rules


def test_rules_on_several_events_are_not_kept() -> None:
    rules = load(fields=ACTIONS)
    with pytest.raises(ValueError, match="several events"):
        stored.encode(rules)


@pytest.mark.parametrize(
    "broken",
    [lambda blob: b"", lambda blob: blob[:-1], lambda blob: blob.replace(b"Text", b"exec")],
    ids=["empty", "cut off", "of another kind"],
)
def test_bytes_that_are_no_rules_are_refused(broken: Callable[[bytes], bytes]) -> None:
    rules = build(parse(RULE.format(1), "rules.yml"), fields=RAW)
    with pytest.raises(ValueError, match="no compiled rules"):
        stored.decode(broken(stored.encode(rules)), RAW, rules.reference)


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
    kept.write_bytes(b"rubbish")
    assert _loaded(folder, home) == first
    (folder / "0000.yml").write_text(RULE.format("changed"))
    assert _loaded(folder, home).rules_hash != first.rules_hash


def test_a_small_set_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "one.yml").write_text(RULE.format(1))
    _loaded(tmp_path, tmp_path / "home")
    assert not (tmp_path / "home").exists()
