"""Models of behaviour: how unlike honest work a window is, all its features taken together.

Two kinds, for each sees what the other misses: an isolation forest (values apart from all others)
and the covariance of honest work (features that do not go together as they do there). Their scores
are put on one scale, on which 1 is what one honest window in a thousand reaches, and the higher of
the two counts. A file is written and read by skops, never by pickle; only the types named here are
taken, and the nodes of trees are looked at before scikit-learn follows them.

Loading scikit-learn takes seconds, so it is done where there is a model.
"""

import io
import zipfile
from typing import Any, Final, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.features import NAMES, SCALES
from tachograph.detectors.behaviour.vectors import JUDGED_SCALES, WIDTH, as_usual, feature_hash
from tachograph.schemas.identity import plain_id

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

FORMAT: Final = 1
KINDS: Final = ("isolation forest", "covariance")
# Scores are whole numbers: thousandths of the scale.
UNIT: Final = 1000
# Beside these skops itself vouches for NumPy's arrays and scikit-learn's estimators.
TRUSTED: Final = ["sklearn.tree._tree.Tree"]
MAX_BYTES: Final = 32 << 20
MAX_UNPACKED_BYTES: Final = 256 << 20
MAX_NODES: Final = 1 << 20
_LEAF: Final = -1


class Part(msgspec.Struct, frozen=True):
    """A stretch of the data: what was learned, calibrated or evaluated on it."""

    from_: str = msgspec.field(name="from")
    until: str
    windows: int
    agents: int
    agent_days: float


class Card(msgspec.Struct, frozen=True):
    """What is to be known of a model; it travels in the model's file and lies beside it as JSON.

    `honest`: of each agent-hour of the calibration the highest score, descending. `centres`,
    `scales`: what a score of each kind and length is measured from and in. `peers`: the levels that
    are usual among all agents, by length and feature.
    """

    format: int
    feature_hash: str
    features: list[str]
    windows: list[str]
    kinds: list[str]
    budget_per_agent_day: float
    bar: int
    honest: list[int]
    honest_hours: int
    centres: list[list[float]]
    scales: list[list[float]]
    peers: list[list[int]]
    data: dict[str, Any]
    learned: Part
    calibrated: Part
    evaluated: Part
    metrics: dict[str, Any]
    versions: dict[str, str]

    def version(self) -> str:
        """Hash of all that it says; what is learned from the same data has the same."""
        return plain_id(msgspec.json.encode(self, order="deterministic").decode())[:16]


class Estimator(Protocol):
    """One kind, of windows of one length. `fitted`: what scikit-learn made of it."""

    fitted: Any

    def unlike(self, vectors: Floats) -> Floats:
        """How unlike what it has learned; higher is more so."""
        ...


class Forest:
    """Values apart from all others are parted from them by few cuts. scikit-learn's
    IsolationForest.
    """

    def __init__(self, fitted: Any) -> None:
        self.fitted = fitted

    def unlike(self, vectors: Floats) -> Floats:
        """See Estimator."""
        return -np.asarray(self.fitted.score_samples(vectors), np.float64)


class Covariance:
    """Mahalanobis' distance, by a covariance that is drawn towards independence. scikit-learn's
    LedoitWolf.
    """

    def __init__(self, fitted: Any) -> None:
        self.fitted = fitted

    def unlike(self, vectors: Floats) -> Floats:
        """See Estimator."""
        found: Floats = np.sqrt(np.maximum(self.fitted.mahalanobis(vectors), 0.0))
        return found


class Verdict(msgspec.Struct, frozen=True):
    """What a model says of one window: the score, by kind, and what each feature adds to it."""

    score: int
    by_kind: dict[str, int]
    adds: dict[str, int]
    p_value: float

    def ranked(self) -> list[str]:
        """Features that add something worth the name, most first."""
        least = self.score // 10
        names = [name for name, add in self.adds.items() if add >= least]
        return sorted(names, key=lambda name: (-self.adds[name], name))


class Model:
    """A card and its estimators: [kind][place in JUDGED_SCALES]. Not changed once made."""

    def __init__(self, card: Card, estimators: list[list[Estimator]]) -> None:
        self.card = card
        self.version = card.version()
        self._estimators = estimators
        self._hours = np.array(card.honest[::-1], np.int64)

    def scores(self, scales: Ints, vectors: Floats) -> Ints:
        """(windows, KINDS), in thousandths. `scales`: the place of each window's length."""
        found = np.zeros((len(vectors), len(KINDS)), np.int64)
        for place, scale in enumerate(JUDGED_SCALES):
            rows = np.flatnonzero(scales == scale)
            if not len(rows):
                continue
            for kind, estimators in enumerate(self._estimators):
                raw = estimators[place].unlike(vectors[rows])
                centre, width = self.card.centres[kind][place], self.card.scales[kind][place]
                found[rows, kind] = np.floor((raw - centre) / width * UNIT).astype(np.int64)
        return found

    def p_value(self, score: int) -> float:
        """Conformal: the share of honest agent-hours that came as high, this one among them."""
        reached = len(self._hours) - int(np.searchsorted(self._hours, score))
        return (1 + reached) / (1 + self.card.honest_hours)

    def verdict(self, scale: int, vector: Floats, centre: Ints) -> Verdict:
        """`centre`: the levels that are usual for the agent."""
        rows = np.vstack([vector, as_usual(vector, centre)])
        scores = self.scores(np.full(len(rows), scale), rows)
        highest = scores.max(axis=1)
        adds = np.maximum(highest[0] - highest[1:], 0).tolist()
        return Verdict(
            int(highest[0]),
            dict(zip(KINDS, scores[0].tolist(), strict=True)),
            {name: add for name, add in zip(NAMES, adds, strict=True) if add},
            self.p_value(int(highest[0])),
        )

    def encode(self) -> bytes:
        """As a file."""
        card = msgspec.json.encode(self.card).decode()
        import skops.io

        estimators = [[one.fitted for one in kind] for kind in self._estimators]
        packed: bytes = skops.io.dumps(
            {"card": card, "estimators": estimators}, compression=zipfile.ZIP_DEFLATED
        )
        return packed


def decode(content: bytes) -> Model:
    """A model from a file. Raises ValueError when it is none, or of other features."""
    card, fitted = _parts(content)
    if card.format != FORMAT:
        raise ValueError(f"a model of format {card.format}, not {FORMAT}")
    if card.feature_hash != feature_hash():
        raise ValueError("a model of other features than this version measures: train it anew")
    _check(card)
    if not isinstance(fitted, list) or len(fitted) != len(KINDS):
        raise ValueError("a model of other kinds")
    try:
        forests, covariances = ([*kind] for kind in fitted)
        if [len(forests), len(covariances)] != [len(JUDGED_SCALES)] * len(KINDS):
            raise ValueError("a model of other windows")
        model = Model(
            card, [[_forest(one) for one in forests], [_covariance(one) for one in covariances]]
        )
        # What is inconsistent shows here and not in a stage.
        model.scores(np.array(JUDGED_SCALES), np.zeros((len(JUDGED_SCALES), WIDTH)))
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError("a model that does not hold together") from error
    return model


def _parts(content: bytes) -> tuple[Card, Any]:
    import skops.io
    from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException

    if len(content) > MAX_BYTES:
        raise ValueError(f"a model of {len(content):,} bytes, more than {MAX_BYTES:,}")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(one.file_size for one in packed.infolist()) > MAX_UNPACKED_BYTES:
                raise ValueError("a model that unpacks to too much")
        parts = skops.io.loads(content, trusted=TRUSTED)
        return msgspec.json.decode(parts["card"], type=Card), parts["estimators"]
    except (UntrustedTypesFoundException, UnsupportedTypeException) as error:
        raise ValueError("a model with types that none of ours has") from error
    except (
        zipfile.BadZipFile, msgspec.MsgspecError, KeyError, TypeError, AttributeError, IndexError,
        EOFError, OSError, ImportError, RecursionError,
    ) as error:  # fmt: skip
        raise ValueError(f"no model of behaviour: {type(error).__name__}") from error


def _check(card: Card) -> None:
    shape = (len(KINDS), len(JUDGED_SCALES))
    widths = np.array(card.scales, np.float64)
    if np.shape(card.centres) != shape or widths.shape != shape or not (widths > 0).all():
        raise ValueError("a card of another shape")
    if np.shape(card.peers) != (len(JUDGED_SCALES), len(NAMES)):
        raise ValueError("a card of another shape")


def _forest(found: Any) -> Forest:
    from sklearn.ensemble import IsolationForest

    if type(found) is not IsolationForest or found.n_features_in_ != WIDTH:
        raise ValueError("no isolation forest of these features")
    for tree, columns in zip(found.estimators_, found.estimators_features_, strict=True):
        _sound(tree.tree_, np.asarray(columns))
    return Forest(found)


def _sound(tree: Any, columns: npt.NDArray[Any]) -> None:
    """Raises ValueError when scikit-learn would leave the tree's arrays by following it: children
    lie behind their parent, so that every way ends.
    """
    left, right, asked = (
        np.asarray(one) for one in (tree.children_left, tree.children_right, tree.feature)
    )
    count = len(left)
    inner = np.flatnonzero(left != _LEAF)
    ahead = (left[inner] > inner) & (right[inner] > inner)
    within = (left[inner] < count) & (right[inner] < count)
    known = (asked[inner] >= 0) & (asked[inner] < len(columns))
    sizes = {count, len(right), len(asked), tree.node_count}
    if not 0 < count <= MAX_NODES or len(sizes) > 1 or not (ahead & within & known).all():
        raise ValueError("a tree that does not hold together")
    if not ((columns >= 0) & (columns < WIDTH)).all():
        raise ValueError("a tree of other columns")


def _covariance(found: Any) -> Covariance:
    from sklearn.covariance import LedoitWolf

    if type(found) is not LedoitWolf:
        raise ValueError("no covariance")
    shapes = (np.shape(found.location_), np.shape(found.precision_))
    if shapes != ((WIDTH,), (WIDTH, WIDTH)):
        raise ValueError("a covariance of other features")
    if not (np.isfinite(found.location_).all() and np.isfinite(found.precision_).all()):
        raise ValueError("a covariance that is not of numbers")
    return Covariance(found)


WINDOWS: Final = [SCALES[place].name for place in JUDGED_SCALES]
