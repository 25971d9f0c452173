"""What a trained model adds to the baselines, on a fleet it was trained on the past of.

    python -m infra.quality.models [--seed N] [--intensity X ...] [--page]

A composed fleet works for six calm days; `tacho train`'s own code learns from those. Then it is
attacked, and what the baselines and the model say of the days after is held against the labels.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from infra.fleet.compose import Fleet, compose
from infra.fleet.knobs import DAY_S, Knobs
from infra.quality.behaviour import BATCH, Judged, Written, hit_of, judged, table
from infra.quality.rivals import Hit
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.model import KINDS, Model
from tachograph.detectors.behaviour.models import Models
from tachograph.pipeline.train.run import learn
from tachograph.pipeline.train.sources import Given

CALM_DAYS, DAYS = 6, 10
BUDGET = 0.05
PAGE = Written(
    Path(__file__).parents[2] / "docs" / "behaviour.md",
    "<!-- tables of models -->\n",
    "<!-- end of tables of models -->\n",
)


def trained(fleet: Fleet) -> Model:
    """A model of the calm days."""
    until = fleet.knobs.start_s + CALM_DAYS * DAY_S
    calm = fleet.frame.filter(pl.col("event_time").dt.epoch("s") < until)
    given = [Given(calm[at : at + BATCH], [], 0.0) for at in range(0, calm.height, BATCH)]
    return learn(given, BUDGET, {"source": "composed"}, lambda _done, _actions: None).trained.model


def compared(fleet: Fleet, model: Model) -> dict[str, Judged]:
    """What the baselines say after the calm days, what the model says, each kind of it, and all."""
    detector = Behaviour()
    detector.models = Models.always(model)
    for start in range(0, fleet.frame.height, BATCH):
        detector.judge(fleet.frame[start : start + BATCH], start)
    said = detector.close(0).signals
    of_model = [one for one in said if one.reason.fields.get("judged_by") == "model"]
    own = [one for one in said if one.reason.fields.get("judged_by") != "model"]
    kinds = {
        kind: [
            one for one in of_model
            if one.scores[f"score_{kind.replace(' ', '_')}"] * 1000 >= model.card.bar
        ]
        for kind in KINDS
    }  # fmt: skip
    told = {"baselines": own, "model": of_model, **kinds, "both together": said}
    return {name: judged(fleet, _late([hit_of(s, fleet) for s in of])) for name, of in told.items()}


def _late(hits: Sequence[Hit]) -> list[Hit]:
    return [hit for hit in hits if hit.at_s > CALM_DAYS * DAY_S]


def main() -> None:
    """The command."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seed", type=int, default=21)
    asked.add_argument("--intensity", type=float, nargs="+", default=[1.0])
    asked.add_argument("--page", action="store_true", help="write the tables into the page")
    said = asked.parse_args()
    tables = []
    for place, intensity in enumerate(said.intensity):
        knobs = Knobs(
            seed=said.seed + place, intensity=intensity, days=DAYS, calm_days=float(CALM_DAYS)
        )
        fleet = compose(knobs)
        head = f"Seed {knobs.seed}, intensity {intensity:g}: {fleet.frame.height:,} actions"
        found = compared(fleet, trained(fleet))
        tables.append(f"{head}\n\n{table(fleet, found, since_s=CALM_DAYS * DAY_S)}")
        print(tables[-1], flush=True)
    if said.page:
        PAGE.write(tables)


if __name__ == "__main__":
    main()
