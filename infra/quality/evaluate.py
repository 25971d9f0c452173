"""How well sessions are told apart that nothing was learned from: a suite, and a third of the
models with it, are left out of the training, and the injections are in words it has not seen.
"""

import zlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from infra.quality.examples import Examples, kind_of, suite_of
from infra.quality.fit import Levels, fit, scores, training
from infra.quality.shares import interval
from tachograph.detectors.provenance.features import NAMES
from tachograph.detectors.provenance.model import CAPPED_BY, ORDERS, Model

SUITES = ("agentdojo/slack", "agentdojo/travel", "agentdyn/github", "agentdyn/shopping")
MODEL_FOLDS = 3
AS_IT_IS, HELD_OUT = "as it is", "held out"
BUSY, BUSY_HELD_OUT = "busy", "busy held out"
TRAINED_ON = (AS_IT_IS, "trained 1", "trained 2")
# Of the benign sessions of a source.
MOST_FLAGGED = 0.02
_LEAST_APART = 0.05
# Above the lowest score that would do: other sentences than these stand in texts.
_MARGIN = 0.05
Bools = npt.NDArray[np.bool_]
Scores = npt.NDArray[np.float64]


def left_out(data: Mapping[str, Examples]) -> dict[str, Scores]:
    """The score of every judged call, by set: of the suites by a model that saw neither the call's
    suite nor its agent's model, of other sources by one that saw the suites only.
    """
    found = {name: np.zeros(len(one.truth)) for name, one in data.items()}
    for suite in SUITES:
        for fold in range(MODEL_FOLDS):
            inside = {name: _in_suite(one, suite) for name, one in data.items()}
            of_fold = {name: _in_fold(one, fold) for name, one in data.items()}
            model = _without({name: inside[name] | of_fold[name] for name in data}, data)
            for name, one in data.items():
                mine = inside[name] & of_fold[name]
                found[name][mine] = scores(model, one.rows[mine])
    others = {name: ~_in_suites(one) for name, one in data.items()}
    model = _without(others, data)
    for name, one in data.items():
        found[name][others[name]] = scores(model, one.rows[others[name]])
    return found


def _without(out: Mapping[str, Bools], data: Mapping[str, Examples]) -> Model:
    """A model trained on all calls but these."""
    return fit(*training([(data[name], ~out[name]) for name in TRAINED_ON]))


def final(data: Mapping[str, Examples], levels: Levels) -> Model:
    """The model that ships: trained on all that may be trained on."""
    everything = [(data[name], np.ones(len(data[name].truth), np.bool_)) for name in TRAINED_ON]
    return fit(*training(everything), levels)


def clear(one: Examples) -> Bools:
    """Calls that may be said with high severity."""
    capped = one.rows[:, [NAMES.index(name) for name in CAPPED_BY]]
    found: Bools = (capped == 0).all(axis=1)
    return found


def graded(one: Examples, score: Scores, levels: Levels) -> Scores:
    """Scores with those of calls that orders precede raised to where they are said."""
    ordered = (one.rows[:, NAMES.index("ordering")] >= ORDERS) & (score >= levels.medium)
    return np.where(ordered, np.maximum(score, levels.high), score)


def highest(one: Examples, score: Scores, rows: Bools) -> Scores:
    """Each session's highest score among these calls; 0 where it has none."""
    found = np.zeros(len(one.labels))
    np.maximum.at(found, one.session[rows], score[rows])
    return found


def chosen(data: Mapping[str, Examples], found: Mapping[str, Scores]) -> Levels:
    """The scores that flag few enough benign sessions that nothing was learned from. High: a margin
    above the lowest that flags of every source no more than MOST_FLAGGED, also among texts that ask
    for something, and of every suite with confidence (the upper end of the interval). Medium: of
    every suite with confidence.
    """
    groups, busy = (_benign(data[name], found[name]) for name in (AS_IT_IS, BUSY))
    steps = [round(at / 100, 2) for at in range(20, 100)]
    sure = [at for at in steps if all(_surely_few(groups[suite], at) for suite in SUITES)]
    each = [*groups.values(), *busy.values()]
    high = [at for at in sure if all(_few(of_source, at) for of_source in each)]
    least = round(high[0] + _MARGIN, 2)
    return Levels(least, min(sure[0], round(least - _LEAST_APART, 2)))


def _benign(one: Examples, found: Scores) -> dict[str, list[float]]:
    """The highest scores of benign sessions, by suite, of other sources by source."""
    score = highest(one, found, clear(one))
    groups: dict[str, list[float]] = {}
    for label, best in zip(one.labels, score, strict=True):
        if kind_of(label) == "benign":
            suite = suite_of(label)
            groups.setdefault(suite if suite in SUITES else label["source"], []).append(best)
    return groups


def _few(of_group: list[float], least: float) -> bool:
    """Whether few are flagged; of a source of less than 50 sessions one may be."""
    return sum(one >= least for one in of_group) <= max(1, MOST_FLAGGED * len(of_group))


def _surely_few(of_group: list[float], least: float) -> bool:
    return interval(sum(one >= least for one in of_group), len(of_group))[1] <= MOST_FLAGGED


def _in_suite(one: Examples, suite: str) -> Bools:
    return _rows(one, [suite_of(label) == suite for label in one.labels])


def _in_suites(one: Examples) -> Bools:
    return _rows(one, [suite_of(label) in SUITES for label in one.labels])


def _in_fold(one: Examples, fold: int) -> Bools:
    folds = [zlib.crc32(label["agent"].encode()) % MODEL_FOLDS for label in one.labels]
    return _rows(one, [at == fold for at in folds])


def _rows(one: Examples, sessions: list[bool]) -> Bools:
    found: Bools = np.array(sessions, np.bool_)[one.session]
    return found
