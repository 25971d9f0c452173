"""The matcher against the slow way, rule by rule and event by event."""

import os
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sigma.rule import SigmaRule

from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rulefile import files_of, parse, read
from tachograph.detectors.language.ruleset import RuleSet, build
from tachograph.detectors.language.sigma import POLICY
from tachograph.detectors.matching.matcher import Matcher
from tachograph.pipeline.scan.raw_lines import RawLines
from tests.detectors.matching import brute
from tests.detectors.matching.events import made

SHARED = Path(os.environ.get("TACHO_SHARED", Path(__file__).parents[4] / "shared")) / "data"
RULES = Path(__file__).parent / "rules.yml"
# Events of its own, and of others, that each rule is asked of; few rules are asked of all of these.
OWN, OTHERS = 4, 60
FEW = 100


def compared(texts: Sequence[Any], events: Sequence[dict[str, Any]], seed: int) -> int:
    """How many (rule, event) pairs match, after all that were asked agree."""
    rules = build(texts, fields=RAW)
    parsed = [_parsed(document.data) for document in texts]
    rng = random.Random(seed)
    whole = [*events]
    own = []
    for rule in parsed:
        own.append(range(len(whole), len(whole) + OWN))
        whole += made(rule, rng, OWN)
    found = _found(rules, whole)
    matching = 0
    for rule, mine, got in zip(parsed, own, found, strict=True):
        asked = {*mine, *rng.sample(range(len(whole)), min(OTHERS, len(whole)))}
        if len(parsed) <= FEW:
            asked |= set(range(len(events)))
        trees = brute.trees(rule)
        wanted = {place for place in asked if brute.matches(trees, whole[place])}
        wrong = sorted(wanted ^ (got & asked))
        assert not wrong, (rule.title, wrong[0] in wanted, whole[wrong[0]])
        matching += len(wanted)
    return matching


def _parsed(data: dict[str, Any]) -> SigmaRule:
    asked = {"title": data["title"], "logsource": {"category": "any"}}
    return SigmaRule.from_dict({**asked, "detection": data["detection"]}, policy=POLICY)


def _found(rules: RuleSet, events: Sequence[dict[str, Any]]) -> list[set[int]]:
    frame = RawLines(None).frame([b"\n".join(map(msgspec.json.encode, events))], 0)
    assert frame.height == len(events)
    matched = Matcher([one.condition for one in rules.detections], RAW).match(frame)
    nothing = np.empty(0, np.int64)
    return [set(matched.get(at, nothing).tolist()) for at in range(len(rules.detections))]


@pytest.mark.parametrize("seed", range(6))
def test_rules_of_every_kind_match_what_the_specification_says(seed: int) -> None:
    documents = parse(RULES.read_text(), str(RULES))
    assert compared(documents, [], seed) > len(documents)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["sigma_conformance", "sigma_rules"])
def test_public_rules_match_what_the_specification_says(folder: str) -> None:
    if not (SHARED / folder).is_dir():
        pytest.skip("the public rules are not here")
    documents = [doc for path in files_of(SHARED / folder / "rules") for doc in read(path)]
    lines = (SHARED / "sigma_conformance" / "events.ndjson").read_bytes().splitlines()
    events = [msgspec.json.decode(line) for line in lines]
    assert compared(documents, events, seed=1) > len(documents)
