"""Models of behaviour: learned, kept within a budget, read from a file that may be hostile, and in
force by time.
"""

import zipfile
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.detectors.behaviour.features import FEATURES, PANE_US
from tachograph.detectors.behaviour.model import KINDS, MAX_BYTES, Model, decode
from tachograph.detectors.behaviour.models import Held, Models
from tachograph.detectors.behaviour.training import Rows, Trained, train
from tachograph.detectors.behaviour.vectors import JUDGED_SCALES, WIDTH

DAY = 8640
FIRST = 20_000 * DAY
PANES = (1, 6, 60, 360)
AGENTS = 20
MANY = len(FEATURES)
NAMES = [f"agent {slot}" for slot in range(AGENTS)]


def honest(days: int = 8, seed: int = 5) -> Rows:
    """Windows of agents whose features rise and fall together, an hour of each in every three."""
    rng = np.random.default_rng(seed)
    parts = []
    for scale in JUDGED_SCALES:
        for slot in range(AGENTS):
            ends = FIRST + np.arange(1080, days * DAY, 1080) + slot * PANES[scale]
            busy = rng.normal(0, 1, len(ends))
            levels = np.clip(4 + busy[:, None] + rng.normal(0, 0.2, (len(ends), WIDTH // 2)), 0, 9)
            strayed = busy[:, None] + rng.normal(0, 0.2, levels.shape)
            parts.append(
                Rows(
                    np.full(len(ends), scale),
                    ends,
                    np.full(len(ends), slot),
                    np.hstack([levels, strayed]).astype(np.float32),
                    np.full(levels.shape, 1024, np.int32),
                    np.ones(len(ends), np.bool_),
                )
            )
    found = Rows(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    return found.at(np.lexsort((found.slots, found.scales, found.ends)))


def learned(budget: float = 0.2, rows: Rows | None = None) -> Trained:
    data = {"source": "made"}
    return train(rows or honest(), NAMES, budget_per_agent_day=budget, data=data, trees=10)


@pytest.fixture(scope="module")
def model() -> Model:
    return learned().model


def test_the_same_windows_make_the_same_model(model: Model) -> None:
    again, rows = learned().model, honest(seed=6)
    assert again.version == model.version
    vectors = rows.vectors.astype(np.float64)
    assert (again.scores(rows.scales, vectors) == model.scores(rows.scales, vectors)).all()


def test_a_model_read_from_its_file_judges_as_before(model: Model) -> None:
    read, rows = decode(model.encode()), honest(seed=7)
    assert read.card == model.card
    vectors = rows.vectors.astype(np.float64)
    assert (read.scores(rows.scales, vectors) == model.scores(rows.scales, vectors)).all()


@pytest.mark.parametrize("budget", [0.05, 0.2, 1.0])
def test_the_bar_keeps_the_budget_on_work_that_nothing_was_learned_from(budget: float) -> None:
    card = learned(budget).model.card
    reached = sum(score >= card.bar for score in card.honest)
    assert reached + 1 <= budget * (card.calibrated.agent_days + 1)
    # And on later work of the same kind, with room for chance.
    assert card.metrics["alarms_per_agent_day"] <= 2.5 * budget
    # A bar that nothing could reach would keep every budget.
    assert reached >= budget * card.calibrated.agent_days - 2


def test_a_budget_that_the_data_cannot_show_is_refused() -> None:
    with pytest.raises(ValueError, match=r"too few to measure 0\.01"):
        learned(0.01)


def test_too_few_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="to learn from"):
        learned(0.2, honest().at(np.arange(200)))


def test_each_kind_sees_what_the_other_misses(model: Model) -> None:
    apart = np.tile(np.r_[np.full(MANY, 4.0), np.zeros(MANY)], (2, 1))
    # One feature far beyond all that was seen; and features that never part, apart.
    apart[0, [0, MANY]] = 12.0, 8.0
    apart[1, :MANY] = np.where(np.arange(MANY) % 2, 6.0, 2.5)
    scores = model.scores(np.full(2, 2), apart)
    usual = model.scores(np.array([2]), np.r_[np.full(MANY, 4.0), np.zeros(MANY)][None])
    assert (scores.max(axis=1) >= model.card.bar).all()
    assert (usual < model.card.bar).all()
    assert scores[1, KINDS.index("covariance")] > scores[1, KINDS.index("isolation forest")]


def test_what_a_feature_adds_is_what_the_score_loses_without_it(model: Model) -> None:
    vector = np.r_[np.full(MANY, 4.0), np.zeros(MANY)]
    vector[[3, MANY + 3]] = 12.0, 8.0
    verdict = model.verdict(2, vector, np.full(MANY, 1024))
    assert verdict.ranked() == [FEATURES[3].name]
    without = vector.copy()
    without[[3, MANY + 3]] = 4.0, 0.0
    left = model.scores(np.array([2]), without[None]).max()
    assert verdict.adds[FEATURES[3].name] == verdict.score - left > 0
    assert verdict.p_value == 1 / (1 + model.card.honest_hours)


def _packed(model: Model, **changes: Any) -> bytes:
    import skops.io

    estimators = [[one.fitted for one in kind] for kind in model._estimators]
    parts = {"card": msgspec.json.encode(model.card).decode(), "estimators": estimators}
    packed: bytes = skops.io.dumps(parts | changes, compression=zipfile.ZIP_DEFLATED)
    return packed


@pytest.mark.parametrize(
    "content", [b"", b"no zip", b"PK\x05\x06" + bytes(18), bytes(MAX_BYTES + 1)]
)
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="model"):
        decode(content)


def test_estimators_of_other_kinds_are_refused(model: Model) -> None:
    from sklearn.linear_model import LinearRegression

    other = LinearRegression().fit([[0.0]], [0.0])
    wrong: list[Any] = [[[other] * 3] * 2, [other], "text", [[], []]]
    for estimators in wrong:
        with pytest.raises(ValueError, match=r"model|forest"):
            decode(_packed(model, estimators=estimators))


@pytest.mark.parametrize(("column", "value"), [(0, 10**6), (0, -7), (0, 0), (2, 10**5), (2, -9)])
def test_a_tree_that_leads_out_of_its_arrays_is_refused(column: int, value: int) -> None:
    model = learned().model
    tree = model._estimators[0][0].fitted.estimators_[0].tree_
    (tree.children_left, tree.children_right, tree.feature)[column][0] = value
    with pytest.raises(ValueError, match="does not hold together"):
        decode(model.encode())


def test_a_model_of_other_features_is_refused(model: Model) -> None:
    card = msgspec.structs.replace(model.card, feature_hash="other")
    with pytest.raises(ValueError, match="train it anew"):
        decode(_packed(model, card=msgspec.json.encode(card).decode()))


@settings(max_examples=60, deadline=None)
@given(
    starts=st.lists(st.integers(-5, 30), max_size=4),
    shadows=st.lists(st.integers(-5, 30), max_size=3),
    ends=st.lists(st.integers(0, 30), min_size=1, max_size=12),
    off=st.integers(0, 3),
)
def test_a_window_is_judged_by_what_is_in_force_at_its_end(
    starts: list[int], shadows: list[int], ends: list[int], off: int
) -> None:
    made: list[Any] = [object() for _ in range(8)]
    lines = []
    for at, times in enumerate((starts, shadows)):
        held = [
            Held(time * PANE_US, None if number == off else made[4 * at + number])
            for number, time in enumerate(sorted(times))
        ]
        lines.append(held)
    judged = {
        (int(end), shadow): model
        for model, shadow, own in Models(*lines).judging(np.array(ends))
        for end in np.array(ends)[own]
    }
    for end in ends:
        for shadow, held in zip((False, True), lines, strict=True):
            before = [one.model for one in held if one.from_us <= end * PANE_US]
            assert judged.get((end, shadow)) is (before[-1] if before else None)
