"""What the detector sees of labelled traces, call by call, with what each call was."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from infra.quality.naive import naively_flagged
from tachograph.detectors.provenance.features import NAMES
from tachograph.detectors.provenance.parts import Step, split, steps_of
from tachograph.detectors.provenance.session import Judged, Session

LEFT_OUT = frozenset({"redacted", "success_unseen"})
BENIGN = frozenset({"benign", "planted_unseen", "safe", "safe_record"})
UNUSED = -1


class Examples(msgspec.Struct):
    """Judged calls as rows; `truth`: 1 the attacker's, 0 nobody else's, -1 not known."""

    rows: npt.NDArray[np.float64]
    truth: npt.NDArray[np.int8]
    session: npt.NDArray[np.int64]
    # By session.
    labels: list[dict[str, Any]]
    naive: list[bool]
    judged: list[Judged] = []

    @property
    def suites(self) -> npt.NDArray[np.str_]:
        """Of each row."""
        return np.array([suite_of(self.labels[at]) for at in self.session])

    @property
    def kinds(self) -> list[str | None]:
        """Of each session."""
        return [kind_of(label) for label in self.labels]


def suite_of(label: Mapping[str, Any]) -> str:
    """Source and suite of a trace."""
    return f"{label['source']}/{label['suite']}"


def kind_of(label: Mapping[str, Any]) -> str | None:
    """What a session counts as; None: not at all."""
    if label["label_class"] in LEFT_OUT:
        return None
    if label.get("agent_complied"):
        return "attack"
    if label["label_class"] in BENIGN:
        return "benign"
    return "hard" if label["label_class"] == "benign_hard" else "attempt"


def examples(
    frame: pl.DataFrame,
    labels: Mapping[str, dict[str, Any]],
    attacks: Mapping[str, str],
    *,
    keep: bool = False,
) -> Examples:
    """`attacks`: trace → id of the call that was the attacker's."""
    by_session: dict[str, list[Step]] = defaultdict(list)
    for step in [step for part in split(frame) for step in steps_of(part.frame).steps]:
        by_session[step.facts.session_id or ""].append(step)
    rows: list[list[float]] = []
    truth: list[int] = []
    session: list[int] = []
    known: list[dict[str, Any]] = []
    naive: list[bool] = []
    kept: list[Judged] = []
    for name, steps in by_session.items():
        label = labels.get(name)
        if label is None:
            continue
        steps.sort(key=lambda step: step.order)
        found = Session().read(steps)
        truths = truths_of(label, found, attacks.get(name))
        rows += [[one.match.features[feature] for feature in NAMES] for one in found]
        truth += truths
        session += [len(known)] * len(found)
        known.append(label)
        naive.append(naively_flagged(steps))
        kept += found if keep else []
    return Examples(
        np.array(rows).reshape(-1, len(NAMES)),
        np.array(truth, np.int8),
        np.array(session, np.int64),
        known,
        naive,
        kept,
    )


def truths_of(label: Mapping[str, Any], found: Sequence[Judged], attack: str | None) -> list[int]:
    """What each judged call of a session was."""
    kind = kind_of(label)
    if kind in ("benign", "hard"):
        return [0] * len(found)
    if kind != "attack" or attack is None:
        return [UNUSED] * len(found)
    ids = [one.call.call_id for one in found]
    if attack not in ids:
        return [UNUSED] * len(found)
    at = ids.index(attack)
    # What follows an obeyed order may be a part of it.
    return [0] * at + [1] + [UNUSED] * (len(found) - at - 1)
