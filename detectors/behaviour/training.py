"""A model of behaviour made of windows that were judged: learned on the earliest, calibrated on
later ones, evaluated on the latest.
"""

import datetime as dt
import itertools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.features import FEATURES, NAMES, PANE_US
from tachograph.detectors.behaviour.levels import OCTAVE, amount_of
from tachograph.detectors.behaviour.measures import NO_SCORE
from tachograph.detectors.behaviour.model import (
    FORMAT,
    KINDS,
    UNIT,
    WINDOWS,
    Card,
    Covariance,
    Estimator,
    Forest,
    Model,
    Part,
)
from tachograph.detectors.behaviour.vectors import (
    JUDGED_SCALES,
    feature_hash,
    fit_for_models,
    matters,
    vectors_of,
)

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Windows that are kept at most; beyond it every second agent is left out, then every fourth …
MAX_WINDOWS: Final = 4_000_000
TREES: Final = 100
SEED: Final = 1
# Windows of a length that a model is learned from at the least.
LEAST_WINDOWS: Final = 20
# A share of the time is to calibrate on, as much to evaluate on.
SHARE: Final = 0.25
# What no feature varies less than, in doublings and in spreads, squared.
LEAST_VARIANCES: Final = (0.25, 1.0)
# Scores are measured from the middle of honest work, in distances to what one of a thousand is.
_HIGH: Final = 0.999
# Hours and days, in base panes.
_HOUR: Final = 3_600_000_000 // PANE_US
_DAY: Final = 24 * _HOUR
KEPT_HOURS: Final = 20_000
EXAMPLES: Final = 10


class Rows(NamedTuple):
    """Windows: length, the base pane that each ends before, agent, vector, usual levels, and
    whether anything would be said of them at all.
    """

    scales: Ints
    ends: Ints
    slots: Ints
    vectors: npt.NDArray[np.float32]
    centres: npt.NDArray[np.int32]
    matter: Bools

    def at(self, mask: Bools | Ints) -> "Rows":
        """Some of them."""
        return Rows(
            self.scales[mask], self.ends[mask], self.slots[mask], self.vectors[mask],
            self.centres[mask], self.matter[mask],
        )  # fmt: skip


class Recorder:
    """Hears of the windows that one detector judges, and keeps those that models judge."""

    def __init__(
        self, agents: Callable[[], Sequence[Identity | None]], limit: int = MAX_WINDOWS
    ) -> None:
        """`agents`: who they are, by slot."""
        self._agents = agents
        self._limit = limit
        self._parts: list[Rows] = []
        self._count = 0
        # One agent of so many is kept, by a hash of who it is.
        self.one_of = 1

    def __call__(self, judged: Judged) -> None:
        closed = judged.closed
        keep = np.flatnonzero(fit_for_models(judged) & self._chosen(closed.slots))
        if not len(keep):
            return
        self._parts.append(
            Rows(
                closed.scales[keep],
                closed.ends[keep],
                closed.slots[keep],
                vectors_of(judged, keep).astype(np.float32),
                judged.known.centre[keep].astype(np.int32),
                matters(judged, keep),
            )
        )
        self._count += len(self._parts[-1].scales)
        while self._count > self._limit and self.one_of < self._limit:
            self.one_of *= 2
            self._parts = [part.at(self._chosen(part.slots)) for part in self._parts]
            self._count = sum(len(part.scales) for part in self._parts)

    def _chosen(self, slots: Ints) -> Bools:
        if self.one_of == 1:
            return np.ones(len(slots), np.bool_)
        found, at = np.unique(slots, return_inverse=True)
        agents = self._agents()
        hashes = [zlib.crc32(_key(agents[slot]).encode()) for slot in found.tolist()]
        chosen: Bools = (np.array(hashes) % self.one_of == 0)[at]
        return chosen

    def rows(self) -> tuple[Rows, list[str]]:
        """All that was kept, in the order of time, and the agents by the numbers that they have
        there: whatever order things came in, the same. Raises ValueError when there is nothing.
        """
        if not self._parts:
            raise ValueError(
                "no agent is known long enough: a model needs agents with at least 30 minutes, 12"
                " stretches of ten minutes and 6 hours in which they did something"
            )
        whole = Rows(*(np.concatenate(column) for column in zip(*self._parts, strict=True)))
        agents = self._agents()
        ranked = sorted(np.unique(whole.slots).tolist(), key=lambda slot: _key(agents[slot]))
        numbers = np.zeros(len(agents), np.int64)
        numbers[ranked] = np.arange(len(ranked))
        numbered = whole._replace(slots=numbers[whole.slots])
        order = np.lexsort((numbered.slots, numbered.scales, numbered.ends))
        return numbered.at(order), [one.agent for slot in ranked if (one := agents[slot])]


def _key(who: Identity | None) -> str:
    return "\x1f".join(msgspec.structs.astuple(who)) if who else ""


class Would(msgspec.Struct, frozen=True):
    """A window of the latest stretch that the model would say something of."""

    agent: str
    until: str
    window: str
    score: float
    p_value: float
    because: list[str]


class Trained(NamedTuple):
    """A model, and what it would say of the latest stretch, at its highest."""

    model: Model
    examples: list[Would]


def train(
    rows: Rows, names: list[str], *, budget_per_agent_day: float, data: Mapping[str, Any],
    trees: int = TREES,
) -> Trained:  # fmt: skip
    """`names`: of agents, by number. `data`: where it comes from, for the card. Raises ValueError
    when there is too little of it.
    """
    cuts = _cuts(int(rows.ends.min()), int(rows.ends.max()) + 1)
    learned, calibrated, evaluated = (
        rows.at((rows.ends >= since) & (rows.ends < until))
        for since, until in itertools.pairwise(cuts)
    )
    estimators, centres, widths, peers = _fitted(learned, trees)
    import sklearn
    import skops

    card = Card(
        format=FORMAT, feature_hash=feature_hash(), features=list(NAMES), windows=list(WINDOWS),
        kinds=list(KINDS), budget_per_agent_day=budget_per_agent_day, bar=0, honest=[],
        honest_hours=0, centres=centres, scales=widths, peers=peers, data=dict(data),
        learned=_part(learned, cuts[0], cuts[1]), calibrated=_part(calibrated, cuts[1], cuts[2]),
        evaluated=_part(evaluated, cuts[2], cuts[3]), metrics={},
        versions={
            "scikit-learn": sklearn.__version__, "skops": skops.__version__,
            "numpy": np.__version__,
        },
    )  # fmt: skip
    card = _calibrated(Model(card, estimators), calibrated)
    return _evaluated(Model(card, estimators), estimators, evaluated, names)


def _cuts(first: int, last: int) -> list[int]:
    """Where what is learned, calibrated and evaluated begins, and the end. Whole days where there
    are enough, for honest work has its daily round.
    """
    share = int((last - first) * SHARE)
    share = share - share % _DAY or share
    return [first, last - 2 * share, last - share, last]


_Fitted = tuple[list[list[Estimator]], list[list[float]], list[list[float]], list[list[int]]]


def _fitted(rows: Rows, trees: int) -> _Fitted:
    """Estimators of both kinds for each length, what their scores are measured from and in, and
    what is usual among all.
    """
    # It takes longer to load than all of ours, and who only collects windows needs none of it.
    from sklearn.ensemble import IsolationForest

    forests: list[Estimator] = []
    covariances: list[Estimator] = []
    peers: list[list[int]] = []
    centres, widths = np.zeros((2, len(KINDS), len(JUDGED_SCALES)))
    for place, scale in enumerate(JUDGED_SCALES):
        vectors = rows.vectors[rows.scales == scale].astype(np.float64)
        if len(vectors) < LEAST_WINDOWS:
            raise ValueError(
                f"{len(vectors)} windows of {WINDOWS[place]} to learn from, and {LEAST_WINDOWS} are"
                " needed: give more data"
            )
        forest = IsolationForest(n_estimators=trees, random_state=SEED).fit(vectors)
        forests.append(Forest(forest))
        covariances.append(Covariance(_covariance(vectors)))
        for kind, one in enumerate((forests[-1], covariances[-1])):
            middle, high = np.quantile(one.unlike(vectors), [0.5, _HIGH])
            centres[kind, place], widths[kind, place] = middle, max(high - middle, 1e-9)
        levels = np.median(vectors[:, : len(FEATURES)], axis=0)
        peers.append(np.rint(levels * OCTAVE).astype(int).tolist())
    return [forests, covariances], centres.tolist(), widths.tolist(), peers


def _covariance(vectors: Floats) -> Any:
    """Features that hardly varied may do so a little before that is unlike anything."""
    from sklearn.covariance import LedoitWolf

    found = LedoitWolf().fit(vectors)
    least = np.repeat(LEAST_VARIANCES, len(FEATURES))
    found.covariance_ = found.covariance_ + np.diag(least)
    found.precision_ = np.linalg.inv(found.covariance_)
    return found


def _calibrated(model: Model, rows: Rows) -> Card:
    """The card with the bar that keeps the budget on work it was not learned from."""
    hours = _hours(rows, _scores(model, rows).max(axis=1, initial=NO_SCORE))
    days = model.card.calibrated.agent_days
    allowed = int(model.card.budget_per_agent_day * (days + 1)) - 1
    if allowed < 0 or not hours:
        raise ValueError(
            f"the stretch to calibrate on has {days:,.0f} agent-days, too few to measure"
            f" {model.card.budget_per_agent_day:g} false alarms an agent and day: give more data,"
            " or a larger budget"
        )
    bar = hours[min(allowed, len(hours) - 1)] + 1
    return msgspec.structs.replace(
        model.card, bar=bar, honest=hours[:KEPT_HOURS], honest_hours=len(hours)
    )


def _evaluated(
    model: Model, estimators: list[list[Estimator]], rows: Rows, names: list[str]
) -> Trained:
    """With what it would have said of the latest stretch, were all of that honest."""
    scores = _scores(model, rows)
    highest, bar = scores.max(axis=1), model.card.bar
    said = np.flatnonzero(highest >= bar)
    days = model.card.evaluated.agent_days
    metrics = {
        "alarms": len(_agent_hours(rows.at(said))),
        "alarms_per_agent_day": round(len(_agent_hours(rows.at(said))) / days, 4) if days else 0.0,
        "agents_with_alarms": len(np.unique(rows.slots[said])),
        "windows_by_kind": {
            name: int((scores[:, kind] >= bar).sum()) for kind, name in enumerate(KINDS)
        },
        "windows_by_both": int((scores >= bar).all(axis=1).sum()),
    }
    finished = Model(msgspec.structs.replace(model.card, metrics=metrics), estimators)
    first = said[np.argsort(-highest[said], kind="stable")]
    return Trained(finished, _examples(finished, rows, first.tolist(), names))


def _examples(model: Model, rows: Rows, places: list[int], names: list[str]) -> list[Would]:
    found: dict[tuple[int, int], Would] = {}
    for place in places:
        key = int(rows.slots[place]), int(rows.ends[place] - 1) // _HOUR
        if key in found:
            continue
        if len(found) == EXAMPLES:
            break
        found[key] = _would(model, rows, place, names)
    return list(found.values())


def _would(model: Model, rows: Rows, place: int, names: list[str]) -> Would:
    scale, vector = int(rows.scales[place]), rows.vectors[place].astype(np.float64)
    verdict = model.verdict(scale, vector, rows.centres[place].astype(np.int64))
    return Would(
        agent=names[int(rows.slots[place])],
        until=_text(int(rows.ends[place])),
        window=WINDOWS[JUDGED_SCALES.index(scale)],
        score=verdict.score / UNIT,
        p_value=round(verdict.p_value, 6),
        because=[
            f"{name} {_amount(vector[NAMES.index(name)], name)} (usual"
            f" {_amount(rows.centres[place][NAMES.index(name)] / OCTAVE, name)})"
            for name in verdict.ranked()[:3]
        ],
    )


def _amount(doublings: float, name: str) -> str:
    """About the amount, for a person."""
    amount = amount_of(doublings * OCTAVE) * FEATURES[NAMES.index(name)].grain
    return f"{amount:,.0f}" if amount >= 10 else f"{amount:.2g}"


def _scores(model: Model, rows: Rows) -> Ints:
    """By kind; far below all where nothing would be said."""
    found = model.scores(rows.scales, rows.vectors.astype(np.float64))
    return np.where(rows.matter[:, None], found, NO_SCORE)


def _agent_hours(rows: Rows) -> Ints:
    """The different agent-hours of windows, as numbers."""
    return np.unique(rows.slots * (1 << 32) + (rows.ends - 1) // _HOUR)


def _hours(rows: Rows, scores: Ints) -> list[int]:
    """Of each agent's hour the highest score, descending."""
    keys, at = np.unique(rows.slots * (1 << 32) + (rows.ends - 1) // _HOUR, return_inverse=True)
    tops = np.full(len(keys), np.iinfo(np.int64).min)
    np.maximum.at(tops, at, scores)
    return sorted(tops.tolist(), reverse=True)


def _part(rows: Rows, since: int, until: int) -> Part:
    agents = len(np.unique(rows.slots))
    days = round(_agent_days(rows, since, until), 2)
    return Part(_text(since), _text(until), len(rows.ends), agents, days)


def _agent_days(rows: Rows, since: int, until: int) -> float:
    """Days on which agents did something; of a day that the stretch has only in part, that part."""
    pairs = np.unique(rows.slots * (1 << 32) + (rows.ends - 1) // _DAY)
    begins = pairs % (1 << 32) * _DAY
    covered = np.minimum(begins + _DAY, until) - np.maximum(begins, since)
    return float(covered.sum() / _DAY)


def _text(pane: int) -> str:
    moment = dt.datetime.fromtimestamp(pane * PANE_US / 1e6, dt.UTC)
    return moment.isoformat().replace("+00:00", "Z")
