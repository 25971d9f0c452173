"""What makes a fleet unlike others: who begins late, rests at weekends, is set up anew all at once,
or works at night. Drawn apart from all else, so that a fleet without it stays as it is.
"""

import numpy as np
import polars as pl

from infra.fleet.events import actions
from infra.fleet.honest import Agent
from infra.fleet.knobs import DAY_S, Knobs

_AMOUNTS = ("tool_bytes_out", "tool_rows_returned", "usage_input_tokens")
_SATURDAY = 5
# 1970 began on a Thursday.
_FIRST_WEEKDAY = 3
# What a roll-out makes an agent do: so many steps, a fifth of a second each on the mean.
_SETUP_ACTS = 80
_NIGHTLY_ACTS = 400


def shaped(one: Agent, number: int, own: pl.DataFrame, knobs: Knobs) -> list[pl.DataFrame]:
    """What an agent does, as this fleet has it; times in seconds since the fleet's start."""
    rng = np.random.default_rng([knobs.seed, number])
    begin_s = rng.random() * knobs.days * DAY_S if rng.random() < knobs.late else 0.0
    nightly = rng.random() < knobs.nightly
    seconds = own["event_time"].dt.epoch("us") / 1e6
    kept = seconds >= begin_s
    if knobs.weekends_off:
        days = (knobs.start_s + seconds) // DAY_S + _FIRST_WEEKDAY
        kept &= days % 7 < _SATURDAY
    parts = [own.filter(kept).with_columns(pl.col(_AMOUNTS) * knobs.amounts)]
    parts += [
        _set_up(rng, one, place, start_s)
        for place, start_s in enumerate(_rollouts(knobs))
        if start_s >= begin_s
    ]
    if nightly:
        hour_s = float(rng.uniform(0, 5)) * 3600
        starts = np.arange(hour_s, knobs.days * DAY_S, DAY_S)
        parts += [_batch(rng, one, start_s) for start_s in starts[starts >= begin_s].tolist()]
    return parts


def _rollouts(knobs: Knobs) -> list[float]:
    """Moments of the whole fleet."""
    rng = np.random.default_rng([knobs.seed])
    return np.sort(rng.uniform(0, knobs.days * DAY_S, knobs.rollouts)).tolist()  # type: ignore[no-any-return]


def _set_up(rng: np.random.Generator, one: Agent, place: int, start_s: float) -> pl.DataFrame:
    """Many steps at once, some of them with a host that nobody had met."""
    times = start_s + rng.random() * 900 + np.cumsum(rng.gamma(2, 0.1, _SETUP_ACTS))
    targets = np.where(rng.random(_SETUP_ACTS) < 0.2, f"release-{place}.example", one.targets[0])
    return actions(
        times, agent_id=one.name, agent_kind="autonomous", session_id=f"{one.name}-setup{place}",
        tool_name=rng.choice(one.tools, _SETUP_ACTS), target_domain=targets,
        tool_args_hash=[f"u{n}" for n in rng.integers(0, 60, _SETUP_ACTS)],
        outcome=np.where(rng.random(_SETUP_ACTS) < one.failure_share, "failed", "succeeded"),
        usage_input_tokens=int(one.tokens_scale),
    )  # fmt: skip


def _batch(rng: np.random.Generator, one: Agent, start_s: float) -> pl.DataFrame:
    """A long run over many rows."""
    count = int(rng.lognormal(np.log(_NIGHTLY_ACTS), 0.3))
    return actions(
        start_s + np.cumsum(rng.gamma(2, 0.3, count)), agent_id=one.name, agent_kind="autonomous",
        session_id=f"{one.name}-night{start_s:.0f}", tool_name=one.tools[0],
        tool_args_hash=[f"n{n}" for n in range(count)], target_domain=one.targets[0],
        outcome=np.where(rng.random(count) < one.failure_share, "failed", "succeeded"),
        tool_rows_returned=rng.lognormal(np.log(one.rows_scale), 1.0, count).astype(np.int64),
        usage_input_tokens=int(one.tokens_scale),
    )  # fmt: skip
