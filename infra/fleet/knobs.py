"""What may be turned at the fleet. Nothing of this is known to the detectors."""

import msgspec

DAY_S = 86_400
ARCHETYPES = (
    "runaway_loop",
    "mass_enumeration",
    "paced_exfiltration",
    "credential_replay",
    "swarm_fan_out",
    "low_and_slow",
)


class Knobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`intensity` multiplies the speed (or, where speed is not the point, the amounts) of attacks;
    1 is what each archetype says of itself.
    """

    seed: int = 1
    agents: int = 60
    persons: int = 20
    days: float = 3.0
    # Attacks begin after this, so that there is something to be out of line with.
    calm_days: float = 1.0
    attacks_per_archetype: int = 6
    intensity: float = 1.0
    archetypes: tuple[str, ...] = ARCHETYPES
    # How far the day's rhythm goes: 0 is none, 1 means nobody works at night.
    rhythm: float = 0.8
    # Agents with a release in the middle, that are from then on a little different.
    releases: float = 0.1
    # Times as many sessions a day.
    pace: float = 1.0
    # Times as many bytes, rows and tokens.
    amounts: int = 1
    # Of the agents, how many begin only later, and how many have a long run each night.
    late: float = 0.0
    nightly: float = 0.0
    weekends_off: bool = False
    # Moments at which every agent is set up anew: many steps at once, and a host none had met.
    rollouts: int = 0
    start_s: int = 1_790_000_000 - 1_790_000_000 % DAY_S
