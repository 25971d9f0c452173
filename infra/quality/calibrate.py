"""The calibration that ships: honest work of composed fleets, judged by the detector itself as it
comes, from its first window on.

    python -m infra.quality.calibrate [--seed N] [--fleets N] [--write]

Fleets differ in size, length, rhythm of the day, releases and the hour at which they begin. What is
held of agents that nobody knows yet is learned first; bars follow from the scores of honest work,
and scores from what the bars let the detector learn, so these are taken twice: of some fleets, then
of all where there are more. Other seeds than any that is judged elsewhere.
"""

import argparse

import msgspec
import numpy as np

from infra.fleet.compose import compose
from infra.fleet.knobs import Knobs
from infra.quality.behaviour import BATCH
from tachograph.detectors.behaviour.calibration import SHIPPED, Calibration
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.fitting import Fitting, blank

FIRST_FLEETS = 2


def fleets(seed: int, count: int) -> list[Knobs]:
    """Honest fleets of several kinds."""
    rng = np.random.default_rng(seed)
    return [
        Knobs(
            seed=seed + 1 + place,
            agents=int(rng.integers(20, 120)),
            persons=0,
            days=float(rng.choice([2, 3, 4, 7])),
            attacks_per_archetype=0,
            rhythm=float(rng.choice([0.3, 0.8, 1.0])),
            releases=float(rng.choice([0.0, 0.1, 0.3])),
            start_s=Knobs().start_s + int(rng.integers(0, 7 * 86_400)),
        )
        for place in range(count)
    ]


def heard(kinds: list[Knobs], base: Calibration) -> Fitting:
    """What the detector judges of honest fleets."""
    fitting = Fitting()
    for knobs in kinds:
        frame = compose(knobs).frame
        detector = Behaviour(calibration=base, listener=fitting)
        for start in range(0, frame.height, BATCH):
            detector.judge(frame[start : start + BATCH], start)
        detector.close(0)
        fitting.another_fleet()
    return fitting


def main() -> None:
    """The command."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seed", type=int, default=7000)
    asked.add_argument("--fleets", type=int, default=7)
    asked.add_argument("--write", action="store_true", help="into the package")
    said = asked.parse_args()
    kinds = fleets(said.seed, said.fleets)
    data = f"composed fleets, seed {said.seed}, {said.fleets} of several kinds"
    first = kinds[:FIRST_FLEETS]
    made = heard(first, blank()).calibration(data, blank(), prior=True)
    for some in (first, kinds) if len(kinds) > len(first) else (first,):
        made = heard(some, made).calibration(data, made, prior=False)
        print(f"{made.agent_days:,.0f} agent-days; bars\n{made.bars()}", flush=True)
    if said.write:
        SHIPPED.write_bytes(msgspec.json.encode(made) + b"\n")


if __name__ == "__main__":
    main()
