"""How well sessions are told apart that nothing was learned from: a suite, and a third of the
models with it, are left out of the training, and the injections are in words it has not seen.
"""

import zlib
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt

from infra.quality.examples import Examples, suite_of
from infra.quality.fit import fit, scores, training
from tachograph.detectors.provenance.features import NAMES
from tachograph.detectors.provenance.model import CAPPED_BY, Model

SUITES = ("agentdojo/slack", "agentdojo/travel", "agentdyn/github", "agentdyn/shopping")
MODEL_FOLDS = 3
TRAINED_ON = ("as it is", "trained 1", "trained 2")
Bools = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]


class Scored(msgspec.Struct, frozen=True):
    """The highest score of each session of a set by models that know nothing of it; -1 where there
    was none. `clear`: the same of calls that may be said with high severity.
    """

    any: Scores
    clear: Scores


def model_fold(label: Mapping[str, str]) -> int:
    """Which third of the models a trace's agent is of."""
    return zlib.crc32(label["agent"].encode()) % MODEL_FOLDS


def left_out(data: Mapping[str, Examples]) -> dict[str, Scored]:
    """Scores of every session of the suites, by set, each by a model that saw neither its suite nor
    its agent's model; of other sources by one that saw none of that source.
    """
    found = {
        name: Scored(np.full(len(one.labels), -1.0), np.full(len(one.labels), -1.0))
        for name, one in data.items()
    }
    for suite in SUITES:
        for fold in range(MODEL_FOLDS):
            _fill(data, found, suite, fold)
    _fill(data, found, None, None)
    return found


def _fill(
    data: Mapping[str, Examples], found: Mapping[str, Scored], suite: str | None, fold: int | None
) -> None:
    """Train without them and score them. None: without the sources that have no attacks."""
    parts = [
        (data[name], ~_of(data[name], suite, None) & ~_of(data[name], None, fold))
        for name in TRAINED_ON
    ]
    if suite is None:
        parts = [(one, _of_suites(one)) for one, _ in parts]
    model = fit(*training(parts))
    for name, one in data.items():
        mine = ~_of_suites(one) if suite is None else _of(one, suite, None) & _of(one, None, fold)
        scored, sessions = scores(model, one.rows), np.unique(one.session[mine])
        clear = (one.rows[:, [NAMES.index(name) for name in CAPPED_BY]] == 0).all(axis=1)
        found[name].any[sessions] = highest(one, scored, mine)[sessions]
        found[name].clear[sessions] = highest(one, scored, mine & clear)[sessions]


def _of(one: Examples, suite: str | None, fold: int | None) -> Bools:
    """Rows of a suite, or of a third of the models."""
    if suite is not None:
        by_session = [suite_of(label) == suite for label in one.labels]
    else:
        by_session = [fold is not None and model_fold(label) == fold for label in one.labels]
    found: Bools = np.array(by_session)[one.session]
    return found


def _of_suites(one: Examples) -> Bools:
    found: Bools = np.array([suite_of(label) in SUITES for label in one.labels])[one.session]
    return found


def highest(one: Examples, scored: Scores, rows: Bools) -> Scores:
    """Each session's highest score among these rows; 0 where it has none."""
    found = np.zeros(len(one.labels))
    np.maximum.at(found, one.session[rows], scored[rows])
    return found


def final(data: Mapping[str, Examples]) -> Model:
    """The model that ships: trained on all that may be trained on."""
    everything = [(data[name], np.ones(len(data[name].truth), np.bool_)) for name in TRAINED_ON]
    return fit(*training(everything))
