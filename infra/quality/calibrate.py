"""The calibration that ships: honest work of a composed fleet, judged by the detector itself.

    python -m infra.quality.calibrate [--seed N] [--agents N] [--days N] [--prior] [--write]

`--prior` learns anew what is held of agents that nobody knows yet; the scores of honest work follow
from it, so they are taken in a second run. Another seed than any that is judged elsewhere.
"""

import argparse

import msgspec

from infra.fleet.compose import Fleet, compose
from infra.fleet.knobs import Knobs
from infra.quality.behaviour import BATCH
from tachograph.detectors.behaviour.calibration import SHIPPED, Calibration, shipped
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.fitting import Fitting


def heard(fleet: Fleet, base: Calibration) -> Fitting:
    """What the detector judges of an honest fleet."""
    fitting = Fitting()
    detector = Behaviour(calibration=base, listener=fitting)
    for start in range(0, fleet.frame.height, BATCH):
        detector.judge(fleet.frame[start : start + BATCH], start)
    detector.close(0)
    return fitting


def main() -> None:
    """The command."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seed", type=int, default=7001)
    asked.add_argument("--agents", type=int, default=120)
    asked.add_argument("--days", type=float, default=6.0)
    asked.add_argument("--prior", action="store_true", help="the prior anew too")
    asked.add_argument("--write", action="store_true", help="into the package")
    said = asked.parse_args()
    knobs = Knobs(
        seed=said.seed, agents=said.agents, persons=0, days=said.days, attacks_per_archetype=0
    )
    fleet, base = compose(knobs), shipped()
    data = f"composed fleet, seed {said.seed}, {said.agents} agents, {said.days:g} days"
    if said.prior:
        base = heard(fleet, base).calibration(data, base, prior=True)
    made = heard(fleet, base).calibration(data, base, prior=False)
    print(f"{made.agent_days:,.0f} agent-days; bars {shipped().bars()} before, {made.bars()} now")
    if said.write:
        SHIPPED.write_bytes(msgspec.json.encode(made) + b"\n")


if __name__ == "__main__":
    main()
