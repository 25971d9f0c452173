"""Attacks by archetype, each on an agent or in the name of a person, with its beginning and end."""

from collections.abc import Callable

import msgspec
import numpy as np
import polars as pl

from infra.fleet.events import actions
from infra.fleet.honest import Agent, by_hand
from infra.fleet.knobs import DAY_S, Knobs

# A flood is cut here: what is seen of it by then is enough.
MOST_ACTIONS = 60_000


class Attack(msgspec.Struct, frozen=True):
    """What was done, by whom and when; times in seconds since the fleet's start."""

    archetype: str
    entities: list[str]
    start_s: float
    end_s: float


Made = tuple[Attack, list[pl.DataFrame]]


def runaway_loop(rng: np.random.Generator, one: Agent, start: float, speed: float) -> Made:
    """The same call every 2 s, for half an hour."""
    times = start + np.cumsum(rng.gamma(4, 0.5 / speed, int(900 * speed)))
    part = actions(
        times, agent_id=one.name, agent_kind="autonomous", session_id=f"{one.name}-loop{start:.0f}",
        tool_name=one.tools[0], tool_args_hash="the-same", target_domain=one.targets[0],
        usage_input_tokens=int(one.tokens_scale), tool_bytes_out=0, tool_rows_returned=0,
    )  # fmt: skip
    return Attack("runaway_loop", [one.name], start, float(times[-1])), [part]


def mass_enumeration(rng: np.random.Generator, one: Agent, start: float, speed: float) -> Made:
    """A thousand requests a second against ever new targets, for twenty seconds."""
    count = min(int(20_000 * speed), MOST_ACTIONS)
    times = start + np.sort(rng.random(count)) * count / (1_000 * speed)
    part = actions(
        times, agent_id=one.name, agent_kind="autonomous", session_id=f"{one.name}-enum{start:.0f}",
        kind="http", tool_name=one.tools[0], tool_args_hash=[f"e{n}" for n in range(count)],
        target_domain=[f"x{n % 5000}.example" for n in range(count)],
        outcome=np.where(rng.random(count) < 0.4, "failed", "succeeded"),
    )  # fmt: skip
    return Attack("mass_enumeration", [one.name], start, float(times[-1])), [part]


def paced_exfiltration(rng: np.random.Generator, one: Agent, start: float, speed: float) -> Made:
    """A parcel of about 200 kB every half minute to one place, for half an hour."""
    times = start + np.cumsum(rng.uniform(20, 40, 60))
    part = actions(
        times, agent_id=one.name, agent_kind="autonomous", session_id=f"{one.name}-exf{start:.0f}",
        kind="http", tool_name="send_file", tool_args_hash=[f"x{n}" for n in range(60)],
        target_domain=f"drop{start:.0f}.example",
        tool_bytes_out=rng.lognormal(np.log(200_000 * speed), 0.3, 60).astype(np.int64),
    )  # fmt: skip
    return Attack("paced_exfiltration", [one.name], start, float(times[-1])), [part]


def low_and_slow(rng: np.random.Generator, one: Agent, start: float, speed: float) -> Made:
    """A new target every three minutes, with 40 kB each, for five hours."""
    count = int(100 * speed)
    times = start + np.sort(rng.random(count)) * 5 * 3600
    part = actions(
        times, agent_id=one.name, agent_kind="autonomous", session_id=f"{one.name}-slow{start:.0f}",
        kind="http", tool_name=one.tools[-1], tool_args_hash=[f"l{n}" for n in range(count)],
        target_domain=[f"slow{start:.0f}-{n}.example" for n in range(count)],
        tool_bytes_out=rng.lognormal(np.log(40_000), 0.3, count).astype(np.int64),
    )  # fmt: skip
    return Attack("low_and_slow", [one.name], start, float(times[-1])), [part]


def credential_replay(rng: np.random.Generator, person: str, start: float, speed: float) -> Made:
    """A script in a person's name: an action a second, for five minutes."""
    times = start + np.cumsum(rng.uniform(0.9, 1.1, int(300 * speed)) / speed)
    part = by_hand(rng, times, person, f"{person}-replay{start:.0f}")
    part = part.with_columns(
        pl.lit("tool_call").alias("kind"),
        pl.col("tool_name").fill_null("read_table"),
        pl.lit(None, pl.String).alias("content_text"),
    )
    return Attack("credential_replay", [person], start, float(times[-1])), [part]


def swarm_fan_out(rng: np.random.Generator, crew: list[Agent], start: float, speed: float) -> Made:
    """Each of a crew asks thirty common new targets within three minutes."""
    parts = []
    for one in crew:
        count = int(30 * speed)
        times = start + np.sort(rng.random(count)) * 180
        parts.append(
            actions(
                times, agent_id=one.name, agent_kind="autonomous", kind="http",
                session_id=f"{one.name}-swarm{start:.0f}", tool_name=one.tools[0],
                tool_args_hash=[f"w{n}" for n in range(count)],
                target_domain=[f"prey{start:.0f}-{n % 60}.example" for n in range(count)],
            )
        )  # fmt: skip
    return Attack("swarm_fan_out", [one.name for one in crew], start, start + 180), parts


_ON_AGENTS: dict[str, Callable[[np.random.Generator, Agent, float, float], Made]] = {
    "runaway_loop": runaway_loop,
    "mass_enumeration": mass_enumeration,
    "paced_exfiltration": paced_exfiltration,
    "low_and_slow": low_and_slow,
}
CREW = 10


def attacks(rng: np.random.Generator, crew: list[Agent], knobs: Knobs) -> list[Made]:
    """Attacks of all archetypes, at random moments after the calm days."""
    made = []
    latest = knobs.days * DAY_S - 6 * 3600
    for archetype in knobs.archetypes:
        for _ in range(knobs.attacks_per_archetype):
            start = float(rng.uniform(knobs.calm_days * DAY_S, latest))
            if archetype == "credential_replay":
                person = f"person-{int(rng.integers(0, max(knobs.persons, 1))):03d}"
                made.append(credential_replay(rng, person, start, knobs.intensity))
            elif archetype == "swarm_fan_out":
                some = [crew[n] for n in rng.choice(len(crew), min(CREW, len(crew)), replace=False)]
                made.append(swarm_fan_out(rng, some, start, knobs.intensity))
            else:
                one = crew[int(rng.integers(0, len(crew)))]
                made.append(_ON_AGENTS[archetype](rng, one, start, knobs.intensity))
    return made
