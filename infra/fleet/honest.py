"""Honest agents and people."""

import msgspec
import numpy as np
import polars as pl

from infra.fleet.events import Floats, actions
from infra.fleet.knobs import DAY_S, Knobs
from infra.fleet.timing import MODELS, agent_gaps_s, human_gaps_s, typed_chars

TOOLS = [f"{verb}_{thing}" for verb in ("read", "list", "search", "write", "send", "run")
         for thing in ("file", "table", "mail", "page", "ticket")]  # fmt: skip
# What agents do for a living, and how many of each hundred.
TRADES = {"assistant": 40, "coder": 25, "pipeline": 12, "monitor": 8, "researcher": 15}


class Agent(msgspec.Struct, frozen=True):
    """Habits of one agent."""

    name: str
    trade: str
    model: str
    sessions_per_day: float
    acts_per_session: float
    tools: list[str]
    tool_shares: list[float]
    targets: list[str]
    new_target_share: float
    failure_share: float
    bytes_scale: float
    rows_scale: float
    tokens_scale: float
    parallel: int
    peak_hour: float


def agent(rng: np.random.Generator, number: int) -> Agent:
    """An agent with habits of its own."""
    trades = list(TRADES)
    trade = str(rng.choice(trades, p=np.array([*TRADES.values()]) / sum(TRADES.values())))
    tools = [str(tool) for tool in rng.choice(TOOLS, int(rng.integers(3, 12)), replace=False)]
    targets = int(rng.integers(3, 40))
    return Agent(
        name=f"agent-{number:04d}",
        trade=trade,
        model=str(rng.choice(MODELS)),
        sessions_per_day=float(rng.lognormal(np.log(25), 0.7)),
        acts_per_session=float(rng.lognormal(np.log(14), 0.5)),
        tools=tools,
        tool_shares=[float(share) for share in rng.dirichlet(np.ones(len(tools)))],
        targets=[f"host-{number:04d}-{place}.example" for place in range(targets)],
        new_target_share=0.25 if trade == "researcher" else float(rng.uniform(0, 0.03)),
        failure_share=float(rng.uniform(0.01, 0.1)),
        bytes_scale=float(rng.lognormal(np.log(3_000), 0.8)),
        rows_scale=float(rng.lognormal(np.log(30), 0.8)),
        tokens_scale=float(rng.lognormal(np.log(2_000), 0.5)),
        parallel=int(rng.choice([1, 1, 1, 2, 4, 8])),
        peak_hour=float(rng.normal(13, 3)) if rng.random() < 0.8 else float(rng.uniform(0, 24)),
    )


def session_starts(
    rng: np.random.Generator, per_day: float, peak_hour: float, knobs: Knobs
) -> Floats:
    """Moments of a day's rhythm, by thinning."""
    count = rng.poisson(per_day * knobs.pace * knobs.days * 2)
    moments = rng.random(count) * knobs.days * DAY_S
    hours = (moments % DAY_S) / 3600
    share = 0.5 * (1 + knobs.rhythm * np.cos((hours - peak_hour) / 24 * 2 * np.pi))
    return np.sort(moments[rng.random(count) < share])


def agent_actions(rng: np.random.Generator, one: Agent, knobs: Knobs) -> list[pl.DataFrame]:
    """All an agent does."""
    release_s = rng.random() * knobs.days * DAY_S if rng.random() < knobs.releases else np.inf
    if one.trade == "monitor":
        return [_filled(rng, one, _polls(rng, knobs), f"{one.name}-watch", 0.0)]
    times: list[Floats] = []
    sessions: list[str] = []
    for number, start in enumerate(session_starts(rng, one.sessions_per_day, one.peak_hour, knobs)):
        found = _session_times(rng, one, faster=1.4 if start > release_s else 1.0)
        times.append(start + found)
        sessions += [f"{one.name}-s{number}"] * len(found)
    if not times:
        return []
    return [_filled(rng, one, np.concatenate(times), sessions, one.new_target_share)]


def _polls(rng: np.random.Generator, knobs: Knobs) -> Floats:
    every = float(rng.choice([15, 30, 60, 120]))
    times = np.arange(rng.random() * every, knobs.days * DAY_S, every)
    return times + rng.normal(0, 0.2, len(times))


def _session_times(rng: np.random.Generator, one: Agent, faster: float) -> Floats:
    count = max(int(rng.geometric(1 / one.acts_per_session)), 2)
    if one.trade == "pipeline":
        # Rows of work, worked off at the speed of the machine.
        count *= int(rng.integers(5, 20))
        gaps = rng.gamma(2, 0.4 / faster, count)
    else:
        gaps = agent_gaps_s(rng, one.model, count) / faster
    if one.trade == "coder":
        # Many small steps of the editor between two thoughts.
        gaps = np.where(rng.random(count) < 0.5, rng.gamma(2, 0.05, count), gaps)
    # Calls that are asked for together come together.
    together = rng.random(count) < (1 - 1 / one.parallel) * 0.6
    gaps = np.where(together, rng.random(count) * 0.05, gaps)
    return np.cumsum(gaps)


def _filled(
    rng: np.random.Generator,
    one: Agent,
    times: Floats,
    sessions: str | list[str],
    new_share: float,
) -> pl.DataFrame:
    count = len(times)
    tools = rng.choice(one.tools, count, p=one.tool_shares)
    shares = 1 / np.arange(1, len(one.targets) + 1)
    targets = rng.choice(one.targets, count, p=shares / shares.sum())
    new = rng.random(count) < new_share
    targets[new] = [f"h{n}.example" for n in rng.integers(0, 10**6, int(new.sum()))]
    verbs = np.array([tool.split("_")[0] for tool in tools])
    outcome = np.where(rng.random(count) < one.failure_share, "failed", "succeeded")
    args = rng.integers(0, 40 if one.trade == "monitor" else 400, count)
    return actions(
        times,
        agent_id=one.name,
        agent_kind="autonomous",
        session_id=sessions,
        tool_name=tools,
        tool_args_hash=[f"a{n}" for n in args],
        target_domain=targets,
        outcome=outcome,
        tool_bytes_out=np.where(
            verbs == "send", rng.lognormal(np.log(one.bytes_scale), 1.2, count), 0
        ).astype(np.int64),
        tool_rows_returned=np.where(
            (verbs == "read") | (verbs == "search"),
            rng.lognormal(np.log(one.rows_scale), 1.0, count), 0,
        ).astype(np.int64),
        usage_input_tokens=rng.lognormal(np.log(one.tokens_scale), 0.7, count).astype(np.int64),
    )  # fmt: skip


def person_actions(rng: np.random.Generator, number: int, knobs: Knobs) -> list[pl.DataFrame]:
    """All a person does, by hand."""
    peak = float(rng.normal(13, 2))
    parts = []
    for place, start in enumerate(session_starts(rng, float(rng.uniform(2, 8)), peak, knobs)):
        count = int(rng.geometric(1 / 40)) + 3
        parts.append(
            by_hand(
                rng, start + np.cumsum(human_gaps_s(rng, count)), f"person-{number:03d}",
                f"person-{number:03d}-s{place}",
            )
        )  # fmt: skip
    return parts


def by_hand(rng: np.random.Generator, times: Floats, person: str, session: str) -> pl.DataFrame:
    """Actions of a session that claims a person."""
    count = len(times)
    words = rng.random(count) < 0.3
    lengths = typed_chars(rng, count)
    tools = [str(tool) for tool in rng.choice(TOOLS, count)]
    return actions(
        times,
        kind=np.where(words, "prompt", "tool_call"),
        agent_kind="human",
        principal_id=person,
        principal_type="human",
        session_id=session,
        tool_name=[None if w else tool for w, tool in zip(words, tools, strict=True)],
        target_domain=[f"app{n}.example" for n in rng.integers(0, 12, count)],
        content_text=["x" * n if w else None for n, w in zip(lengths, words, strict=True)],
    )
