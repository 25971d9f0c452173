"""A composed fleet: honest agents and people, and attacks with their labels. Declared synthetic."""

import msgspec
import numpy as np
import polars as pl

from infra.fleet.attacks import Attack, attacks
from infra.fleet.events import actions, finished
from infra.fleet.honest import agent, agent_actions, person_actions
from infra.fleet.knobs import Knobs
from infra.fleet.odd import shaped


class Fleet(msgspec.Struct, frozen=True):
    """`frame`: an action batch in the order of time; times of attacks count from `start_s`."""

    frame: pl.DataFrame
    attacks: list[Attack]
    knobs: Knobs


def compose(knobs: Knobs) -> Fleet:
    """The fleet of these knobs: the same knobs, the same fleet."""
    rng = np.random.default_rng(knobs.seed)
    crew = [agent(rng, number) for number in range(knobs.agents)]
    parts = [actions(np.zeros(0))]
    for number, one in enumerate(crew):
        for usual in agent_actions(rng, one, knobs):
            parts += shaped(one, number, usual, knobs)
    for number in range(knobs.persons):
        parts += person_actions(rng, number, knobs)
    made = attacks(rng, crew, knobs) if knobs.attacks_per_archetype else []
    for _, own in made:
        parts += own
    frame = finished(parts, knobs.seed)
    moved = frame.with_columns(
        pl.col("event_time", "observed_time") + pl.duration(seconds=knobs.start_s)
    )
    return Fleet(moved, [attack for attack, _ in made], knobs)
