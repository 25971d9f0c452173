"""The learned combination: read strictly, and bound to what its features mean."""

import msgspec
import pytest

from tachograph.detectors.provenance.features import MEANINGS, NAMES
from tachograph.detectors.provenance.model import ORDERS, BadModel, Model, decoded, shipped
from tests.detectors.provenance.sessions import OBEYED

MODEL, _ = OBEYED
ROWS = [dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.5), dict.fromkeys(NAMES, 1.0)]


def damaged(**changes: object) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(MODEL, **changes))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        damaged(format=0),
        damaged(features=["nobody computes this"]),
        damaged(sure=["nobody computes this"]),
        damaged(sure=["ordered", "ordered"]),
        damaged(
            trees=[{"feature": [0], "threshold": [1], "left": [0], "right": [0], "value": [0]}]
        ),
        damaged(
            trees=[{"feature": [-1], "threshold": [], "left": [0], "right": [0], "value": [0]}]
        ),
        damaged(trees=[{"feature": [], "threshold": [], "left": [], "right": [], "value": []}]),
    ],
)
def test_a_model_that_could_mislead_or_never_end_is_refused(content: bytes) -> None:
    with pytest.raises(BadModel):
        decoded(content)


def test_a_score_is_the_baseline_and_what_each_feature_adds() -> None:
    model, _ = shipped()
    for row in ROWS:
        shares = model.shares(row)
        roots = sum(tree.value[0] for tree in model.trees)
        assert model.score(row) == pytest.approx(
            1 / (1 + 2.718281828459045 ** -(model.baseline + roots + sum(shares.values())))
        )


@pytest.mark.parametrize("name", [name for name, (way, _) in MEANINGS.items() if way])
def test_no_feature_of_the_shipped_model_speaks_against_what_it_means(name: str) -> None:
    model, _ = shipped()
    way = MEANINGS[name][0]
    for row in ROWS:
        scores = [model.score({**row, name: at / 4}) for at in range(21)]
        assert scores == sorted(scores, reverse=way < 0)


def test_the_shipped_model_says_high_only_above_medium() -> None:
    model, _ = shipped()
    assert 0.2 <= model.medium < model.high < 1
    sure, asked = dict.fromkeys(NAMES, 0.0), dict.fromkeys(NAMES, 0.0) | {"handed_to": 1.0}
    scores = (0.0, model.medium, model.high)
    assert [model.level(score, sure) for score in scores] == [None, "medium", "high"]
    assert [model.level(score, asked) for score in scores] == [None, None, "low"]


def test_what_is_in_doubt_is_grave_where_orders_stand_around_the_sentence() -> None:
    model, _ = shipped()
    orders = dict.fromkeys(NAMES, 0.0) | {"ordering": float(ORDERS)}
    few = orders | {"ordering": float(ORDERS - 1)}
    asked = orders | {"handed_to": 1.0}
    assert model.level(model.medium, orders) == "high"
    assert model.level(model.medium, few) == "medium"
    assert model.level(model.medium, asked) is None
    assert model.level(model.medium - 0.01, orders) is None


def test_a_model_is_read_as_it_was_written() -> None:
    assert decoded(msgspec.json.encode(MODEL)) == MODEL
    assert isinstance(MODEL, Model)


def test_what_no_honest_session_has_weighs_by_itself_and_not_against_who_was_handed_to() -> None:
    model = msgspec.structs.replace(MODEL, sure=["ordered"])
    none = dict.fromkeys(NAMES, 0.0)
    told = {**none, "ordered": 1.0}
    assert model.score(told) > model.score(none) == MODEL.score(told)
    assert model.shares(told)["ordered"] > 0 == MODEL.shares(told)["ordered"]
    assert model.level(0.99, {**told, "handed_to": 1.0}) == "low"
    assert not model.silent_without(["says_value"])
    assert model.silent_without(["says_value", "ordered"])
