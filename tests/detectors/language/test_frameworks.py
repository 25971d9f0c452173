"""Ids of frameworks: what exists, what is invented, what the rules cover."""

import pytest

from tachograph.detectors.language.frameworks import TITLES, coverage, invented, known_tags
from tests.detectors.made import rules, stateless

RULES = rules(
    stateless("  s: {x: y}\n  condition: s", id="one", tags="[atlas.aml.t0051.001, attack.t1]")
    + "---\n"
    + stateless("  s: {x: z}\n  condition: s", id="two", tags="[OWASP-LLM.2026.LLM01]")
).rules


@pytest.mark.parametrize(
    ("tag", "made_up"),
    [
        ("atlas.aml.t0050", False),
        ("ATLAS.AML.T0050", False),
        ("atlas.aml.t9999", True),
        ("owasp-llm.2031.llm01", True),
        ("owasp-asi.asi11", True),
        ("attack.t1059", False),
        ("mine.anything", False),
    ],
)
def test_only_our_frameworks_have_ids_that_can_be_invented(tag: str, made_up: bool) -> None:
    assert invented(tag) is made_up


def test_every_namespace_has_a_title_and_the_other_way_round() -> None:
    found = {tag.removesuffix(f".{name}") for tag, name in map(_split, known_tags())}
    assert found == set(TITLES)


def _split(tag: str) -> tuple[str, str]:
    namespace = max((one for one in TITLES if tag.startswith(f"{one}.")), key=len)
    return tag, tag.removeprefix(f"{namespace}.")


def test_coverage_names_the_rules_of_each_id_and_counts() -> None:
    found = {one.namespace: one for one in coverage(RULES)}
    atlas = found["atlas"]
    assert atlas.rules["aml.t0051.001"] == ["one"]
    assert atlas.rules["aml.t0051"] == ["one"], "a part of a technique counts for the technique"
    assert atlas.rules["aml.t0050"] == []
    assert atlas.covered == 2
    assert found["owasp-llm.2026"].rules["llm01"] == ["two"]
    assert len(atlas.rules) == len(atlas.meanings) == 224
