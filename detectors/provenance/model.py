"""The learned combination of the features: boosted trees as plain JSON, each feature bound to its
one direction. Trained by infra/quality; read here, never pickled.
"""

import functools
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

import msgspec

from tachograph.detectors.provenance.features import NAMES
from tachograph.schemas.identity import plain_id

FILE = Path(__file__).parent / "model.json"
FORMAT = 1
LEAF = -1
# Where one of these holds the user himself may have wanted it: said with low severity at most.
CAPPED_BY = ("handed_to", "on_users_thing")
# What each of the features adds that a model is `sure` of.
SURE_LOG_ODDS = 5.0
# So many different words about orders around a sentence: its writer means to give some. Then what
# would be said with medium severity is said with high.
ORDERS = 3
Level = Literal["high", "medium", "low"]


class Tree(msgspec.Struct, frozen=True):
    """Nodes by number, 0 the root. A value at or below the threshold goes left."""

    # Number of the feature; LEAF where `value` holds.
    feature: list[int]
    threshold: list[float]
    left: list[int]
    right: list[int]
    # What the node adds to the score, were it a leaf.
    value: list[float]


class Model(msgspec.Struct, frozen=True):
    """Trees above a baseline; the sum is a log-odds."""

    format: int
    features: list[str]
    baseline: float
    trees: list[Tree]
    # From these probabilities on a call is said with high and medium severity.
    high: float
    medium: float
    # Features that no honest session had that we know, but where somebody was handed over to: each
    # weighs beside the trees.
    sure: list[str] = []

    def score(self, features: Mapping[str, float]) -> float:
        """How likely the call was the wish of who wrote the sentence, 0 to 1."""
        row = [features[name] for name in self.features]
        total = self.baseline
        for tree in self.trees:
            at, numbers, threshold = 0, tree.feature, tree.threshold
            left, right = tree.left, tree.right
            while (feature := numbers[at]) != LEAF:
                at = left[at] if row[feature] <= threshold[at] else right[at]
            total += tree.value[at]
        for name in self.sure:
            total += SURE_LOG_ODDS * (features[name] > 0)
        return 1.0 / (1.0 + math.exp(-total))

    def silent_without(self, names: Collection[str]) -> bool:
        """Whether nothing is ever said of a call for which all of these features are 0."""
        zero = {at for at, name in enumerate(self.features) if name in names}
        most = self.baseline + SURE_LOG_ODDS * len(set(self.sure).difference(names))
        for tree in self.trees:
            most += _most(tree, zero, 0)
        return 1.0 / (1.0 + math.exp(-most)) < min(self.high, self.medium)

    def shares(self, features: Mapping[str, float]) -> dict[str, float]:
        """What each feature adds to the log-odds, along the paths that its trees take."""
        row = [features[name] for name in self.features]
        found = dict.fromkeys(self.features, 0.0)
        for tree in self.trees:
            at = 0
            while (feature := tree.feature[at]) != LEAF:
                low = row[feature] <= tree.threshold[at]
                after = tree.left[at] if low else tree.right[at]
                found[self.features[feature]] += tree.value[after] - tree.value[at]
                at = after
        for name in self.sure:
            found[name] += SURE_LOG_ODDS * (features[name] > 0)
        return found

    def level(self, score: float, features: Mapping[str, float]) -> Level | None:
        """How grave a score is; None: nothing is said."""
        if any(features[name] for name in CAPPED_BY):
            return "low" if score >= self.high else None
        if score >= self.high or (score >= self.medium and features["ordering"] >= ORDERS):
            return "high"
        return "medium" if score >= self.medium else None


def _most(tree: Tree, zero: Collection[int], at: int) -> float:
    """The most that a tree adds below a node when these features are 0."""
    feature = tree.feature[at]
    if feature == LEAF:
        return tree.value[at]
    ways = (tree.left[at], tree.right[at])
    if feature in zero:
        return _most(tree, zero, ways[tree.threshold[at] < 0])
    return max(_most(tree, zero, way) for way in ways)


class BadModel(ValueError):
    """The model file cannot be used."""


def decoded(content: bytes) -> Model:
    """A model out of its JSON. Raises BadModel."""
    try:
        model = msgspec.json.decode(content, type=Model)
    except msgspec.MsgspecError as error:
        raise BadModel(str(error)) from error
    if model.format != FORMAT:
        raise BadModel(f"model of format {model.format}, not {FORMAT}")
    unknown = set(model.features) - set(NAMES)
    if unknown:
        raise BadModel(f"features that nobody computes: {sorted(unknown)}")
    # Named twice it would weigh twice, which `silent_without` does not count with.
    if not set(model.sure) <= set(model.features) or len(set(model.sure)) < len(model.sure):
        raise BadModel("sure of what is no feature of the model, or twice of one")
    if not all(_sound(tree, len(model.features)) for tree in model.trees):
        raise BadModel("a tree whose nodes do not lead down to a leaf")
    return model


def _sound(tree: Tree, features: int) -> bool:
    """Every node leads to later ones of the tree, so that a walk ends."""
    size = len(tree.feature)
    columns = (tree.threshold, tree.left, tree.right, tree.value)
    if not size or any(len(column) != size for column in columns):
        return False
    return all(
        feature == LEAF or (0 <= feature < features and at < left < size and at < right < size)
        for at, (feature, left, right) in enumerate(
            zip(tree.feature, tree.left, tree.right, strict=True)
        )
    )


@functools.cache
def shipped() -> tuple[Model, str]:
    """The model of the package, and its version: the hash of its content."""
    content = FILE.read_bytes()
    return decoded(content), plain_id(content.decode())
