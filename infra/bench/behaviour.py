"""Behaviour alone: actions of fleets of several sizes in memory, each agent a few actions a minute,
ticks between batches; and what a checkpoint of it costs.
"""

import time
from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from infra.bench.table import Figure
from infra.fleet.events import actions, finished
from tachograph.detectors.behaviour.detector import Behaviour

SEED: Final = 20_261_126
AGENTS: Final = (100, 10_000, 100_000)
TOGETHER: Final = 10_000
SPAN_S: Final = 600
START_S: Final = 1_790_000_000


def figures(count: int) -> Iterator[Figure]:
    """So many actions, of each size of fleet."""
    for agents in AGENTS:
        yield _figure(_frame(count, agents), agents)


def _frame(count: int, agents: int) -> pl.DataFrame:
    rng = np.random.default_rng(SEED)
    who = rng.integers(0, agents, count)
    made = actions(
        START_S + np.sort(rng.random(count)) * SPAN_S,
        agent_id=[f"agent-{one}" for one in who],
        agent_kind="autonomous",
        session_id=[f"session-{one}" for one in who],
        tool_name=[f"tool-{one}" for one in rng.integers(0, 8, count)],
        tool_args_hash=[f"args-{one}" for one in rng.integers(0, 500, count)],
        target_domain=[f"host-{one}.example" for one in rng.integers(0, 50, count)],
    )
    return finished([made], SEED)


def _figure(frame: pl.DataFrame, agents: int) -> Figure:
    judge = Behaviour()
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    for start in range(0, frame.height, TOGETHER):
        part = frame[start : start + TOGETHER]
        judge.judge(part, start)
        judge.advance(int(part["event_time"].to_physical()[-1]), start)
    spent_s, took_s = time.process_time() - begin_cpu_s, time.perf_counter() - begin_s
    begin_cpu_s = time.process_time()
    state = judge.dump()
    dumped_s = time.process_time() - begin_cpu_s
    begin_cpu_s = time.process_time()
    Behaviour().load(state)
    loaded_s = time.process_time() - begin_cpu_s
    return Figure(
        name=f"behaviour, {agents:,} agents",
        per_s=frame.height / took_s,
        core_us=spent_s / frame.height * 1e6,
        bytes_each=0,
        note=f"checkpoint {len(state) / agents:,.0f} bytes an agent, "
        f"written in {dumped_s:.1f} s, read in {loaded_s:.1f} s",
    )
