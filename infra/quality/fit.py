"""Boosted trees over the features, each feature bound to its direction, as the package's JSON."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import HistGradientBoostingClassifier

from infra.quality.examples import Examples
from tachograph.detectors.provenance.features import MEANINGS, NAMES
from tachograph.detectors.provenance.model import FORMAT, LEAF, SURE_LOG_ODDS, Model, Tree

TREES, DEPTH, RATE, LEAF_ROWS, RIDGE = 60, 3, 0.06, 40, 5.0
# No honest session that was measured has one of these, but where somebody was handed over to.
SURE = ("detour", "ordered")
# Digits kept of thresholds and values.
_DIGITS = 6


class Levels(NamedTuple):
    """From these scores on a call is said with high, with medium severity."""

    high: float
    medium: float


NEVER = Levels(1.0, 1.0)


def fit(
    rows: npt.NDArray[np.float64],
    truth: npt.NDArray[np.int8],
    levels: Levels = NEVER,
    seed: int = 7,
) -> Model:
    """Train on judged calls."""
    made = HistGradientBoostingClassifier(
        max_iter=TREES,
        max_depth=DEPTH,
        learning_rate=RATE,
        min_samples_leaf=LEAF_ROWS,
        l2_regularization=RIDGE,
        class_weight="balanced",
        monotonic_cst=[MEANINGS[name][0] for name in NAMES],
        early_stopping=False,
        random_state=seed,
    ).fit(rows, truth)
    trees = [_tree(stage[0].nodes) for stage in made._predictors]  # noqa: SLF001 - no public way
    baseline = float(made._baseline_prediction.ravel()[0])  # noqa: SLF001
    return Model(FORMAT, list(NAMES), round(baseline, _DIGITS), trees, *levels, sure=list(SURE))


def _tree(nodes: npt.NDArray[np.void]) -> Tree:
    leaf = nodes["is_leaf"].astype(bool)
    return Tree(
        feature=[
            LEAF if end else int(one) for end, one in zip(leaf, nodes["feature_idx"], strict=True)
        ],
        threshold=[
            0.0 if end else round(float(one), _DIGITS)
            for end, one in zip(leaf, nodes["num_threshold"], strict=True)
        ],
        left=[int(one) for one in nodes["left"]],
        right=[int(one) for one in nodes["right"]],
        value=[round(float(one), _DIGITS) for one in nodes["value"]],
    )


def scores(model: Model, rows: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The model's score of many calls at once."""
    sure = rows[:, [NAMES.index(name) for name in model.sure]] > 0
    total = model.baseline + SURE_LOG_ODDS * sure.sum(axis=1)
    for tree in model.trees:
        feature, threshold = np.array(tree.feature), np.array(tree.threshold)
        left, right, value = np.array(tree.left), np.array(tree.right), np.array(tree.value)
        at = np.zeros(len(rows), np.int64)
        while len(open_ := np.flatnonzero(feature[at] != LEAF)):
            here = at[open_]
            low = rows[open_, feature[here]] <= threshold[here]
            at[open_] = np.where(low, left[here], right[here])
        total += value[at]
    found: npt.NDArray[np.float64] = 1.0 / (1.0 + np.exp(-total))
    return found


def training(
    parts: Sequence[tuple[Examples, npt.NDArray[np.bool_]]],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    """The rows of several sets that are known and chosen."""
    masks = [chosen & (data.truth >= 0) for data, chosen in parts]
    return (
        np.concatenate([data.rows[mask] for (data, _), mask in zip(parts, masks, strict=True)]),
        np.concatenate([data.truth[mask] for (data, _), mask in zip(parts, masks, strict=True)]),
    )
