"""What a model says of a window: that it is unlike honest work, and by which features."""

from typing import Final

import msgspec
import numpy as np

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.crossing import SHADOW, Crossing, crossings_of
from tachograph.detectors.behaviour.crossing import UNLIKE as UNLIKE_HONEST
from tachograph.detectors.behaviour.features import FEATURES, NAMES, Finding
from tachograph.detectors.behaviour.levels import amount_of
from tachograph.detectors.behaviour.model import UNIT, Model, Verdict
from tachograph.detectors.behaviour.models import Models
from tachograph.detectors.behaviour.report import Said, Versions, signal_of
from tachograph.detectors.behaviour.vectors import (
    JUDGED_SCALES,
    fit_for_models,
    matters,
    vectors_of,
)
from tachograph.schemas.alert import Signal

UNLIKE: Final = Finding(
    "b1f7c9d4-2e60-5d8b-9c3a-7a54e1f06d12",
    "Behaviour unlike honest work, by a trained model",
    "A02",
    ["atlas.aml.t0124", "owasp-llm.2026.llm03", "owasp-asi.asi10", "nist-ai-rmf.measure-2.4"],
    "Read the features that add most, and the agent's actions of that window. Compare with its "
    "releases and jobs.",
)
# Features that are told in words; all are in the fields.
_TOLD: Final = 3


def unlike_honest(models: Models, judged: Judged) -> list[Crossing]:
    """Windows that a model in force finds unlike honest work."""
    if not models:
        return []
    rows = np.flatnonzero(fit_for_models(judged))
    rows = rows[matters(judged, rows)]
    vectors, scales = vectors_of(judged, rows), judged.closed.scales[rows]
    found: list[Crossing] = []
    for model, shadow, own in models.judging(judged.closed.ends[rows]):
        high = model.scores(scales[own], vectors[own]).max(axis=1, initial=0) >= model.card.bar
        places = rows[own][high]
        way = np.full(len(places), SHADOW if shadow else UNLIKE_HONEST)
        crossings = crossings_of(judged, places, way)
        found += [msgspec.structs.replace(one, model=model) for one in crossings]
    return found


def unlike(
    who: Identity, judged: Judged, place: int, model: Model, revision: int, *, shadow: bool
) -> Signal:
    """The signal of one window. `shadow`: it is only to be counted."""
    scale = int(judged.closed.scales[place])
    vector = vectors_of(judged, np.array([place]))[0]
    verdict = model.verdict(scale, vector, judged.known.centre[place])
    ranked = verdict.ranked()
    by = [name for name, score in verdict.by_kind.items() if score >= model.card.bar]
    said = Said(
        UNLIKE,
        "high" if len(by) == len(verdict.by_kind) else "medium",
        f"{UNLIKE.title}: {_words(judged, place, model, ranked[:_TOLD])} in"
        f" {judged.scale(place).name}; of a thousand honest agent-hours"
        f" {1000 * verdict.p_value:,.2g} come as high, by {' and '.join(by)}",
        _fields(judged, place, model, verdict, ranked),
        {f"adds_{name}": verdict.adds[name] / UNIT for name in ranked}
        | {f"score_{name.replace(' ', '_')}": one / UNIT for name, one in verdict.by_kind.items()}
        | {"p_value": verdict.p_value},
    )
    versions = Versions(model.version, revision, "model", shadow)
    return signal_of(who, judged.row(place), judged.scale(place), said, versions)


def _words(judged: Judged, place: int, model: Model, names: list[str]) -> str:
    told = [
        f"{observed:,} {unit} ({name}; usual {usual:,.3g}, {peers:,.3g} among all agents)"
        for name in names
        for observed, usual, peers, unit in [_against(judged, place, model, name)]
    ]
    return ", ".join(told) or "no feature alone"


def _against(judged: Judged, place: int, model: Model, name: str) -> tuple[int, float, float, str]:
    """What was observed, what is usual for the agent and among all, and the unit."""
    at = NAMES.index(name)
    feature = FEATURES[at]
    scale = JUDGED_SCALES.index(int(judged.closed.scales[place]))
    usual = amount_of(float(judged.known.centre[place, at])) * feature.grain
    peers = amount_of(float(model.card.peers[scale][at])) * feature.grain
    return int(judged.closed.amounts[place, at]), usual, peers, feature.unit


def _fields(
    judged: Judged, place: int, model: Model, verdict: Verdict, ranked: list[str]
) -> dict[str, str]:
    found = {
        "judged_by": "model",
        "model": model.version,
        "score": f"{verdict.score / UNIT:.3f}",
        "bar": f"{model.card.bar / UNIT:.3f}",
        "p_value": f"{verdict.p_value:.3g}",
        "windows_known": str(int(judged.own[place])),
    }
    for name in ranked:
        observed, usual, peers, _ = _against(judged, place, model, name)
        found |= {
            f"{name}.observed": str(observed),
            f"{name}.usual": f"{usual:.6g}",
            f"{name}.peers": f"{peers:.6g}",
            f"{name}.adds": f"{verdict.adds[name] / UNIT:.3f}",
        }
    return found
