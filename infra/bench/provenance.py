"""Provenance alone: sessions in memory, each of a wish and calls, some of them with an answer of
prose; against the length of the answers. No text comes twice.
"""

import json
import random
import time
import tracemalloc
from collections.abc import Iterator
from typing import Final

import numpy as np
import polars as pl

from infra.bench.table import Figure
from infra.fleet.events import actions, finished
from tachograph.detectors.provenance.detector import ProvenanceDetector

SEED: Final = 20_261_127
# Characters an answer; 0: none.
LENGTHS: Final = (0, 500, 2_000, 8_000)
CALLS: Final = 50
# Of so many calls one brings an answer.
ANSWERED: Final = 10
TOGETHER: Final = 2_000
# Sessions whose memory is measured, which is slow.
WEIGHED: Final = tuple(f"session-{number}" for number in range(10))
PER_S: Final = 500
START_S: Final = 1_790_000_000
_SAID: Final = (
    "quarterly figures region notes meeting shipping parcel customer invoice vendor contract"
    " schedule street office please send review open update the a of and for report by next week"
)
_WORDS: Final = tuple(_SAID.split())
_TOOLS: Final = ("send_email", "update_record", "get_order", "lookup_ticket", "delete_draft")


def figures(count: int) -> Iterator[Figure]:
    """So many actions, at each length of answers."""
    for length in LENGTHS:
        yield _figure(_frame(count, length), length)


def _frame(count: int, length: int) -> pl.DataFrame:
    chance = random.Random(SEED + length)
    each = CALLS + 1
    sessions = max(1, count // each)
    rows = sessions * each
    # Sessions run side by side, as they do in a partition.
    begins = [row // sessions == 0 for row in range(rows)]
    answered = [
        bool(length) and not begin and row // sessions % ANSWERED == 0
        for row, begin in enumerate(begins)
    ]
    made = actions(
        START_S + np.arange(rows) / PER_S,
        session_id=[f"session-{row % sessions}" for row in range(rows)],
        agent_id=[f"agent-{row % sessions}" for row in range(rows)],
        kind=["prompt" if begin else "tool_call" for begin in begins],
        content_text=[_prose(chance, 80) if begin else None for begin in begins],
        tool_name=[None if begin else chance.choice(_TOOLS) for begin in begins],
        tool_args=[None if begin else _arguments(chance) for begin in begins],
        tool_result=[_prose(chance, length) if brings else None for brings in answered],
    )
    return finished([made], SEED)


def _prose(chance: random.Random, length: int) -> str:
    """Sentences of about twelve words and a number."""
    said: list[str] = []
    chars = 0
    while chars < length:
        words = " ".join(chance.choices(_WORDS, k=12))
        said.append(f"{words.capitalize()} {chance.randrange(10**6)}.")
        chars += len(said[-1]) + 1
    return " ".join(said)[:length]


def _arguments(chance: random.Random) -> str:
    names = chance.sample(_WORDS, 3)
    return json.dumps({name: f"{name} {chance.randrange(10**6)}" for name in names})


def _figure(frame: pl.DataFrame, length: int) -> Figure:
    begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
    judge = _judged(frame)
    spent_s, took_s = time.process_time() - begin_cpu_s, time.perf_counter() - begin_s
    sessions = frame["session_id"].n_unique()
    weighed = frame.filter(pl.col("session_id").is_in(WEIGHED))
    answered = f"one call in {ANSWERED}" if length else "no call"
    stored = len(judge.dump()) / sessions
    return Figure(
        name=f"provenance, answers of {length:,} characters",
        per_s=frame.height / took_s,
        core_us=spent_s / frame.height * 1e6,
        bytes_each=0,
        note=f"{answered} answered; a session of {CALLS} calls takes"
        f" {_held(weighed) / len(WEIGHED):,.0f} bytes, {stored:,.0f} in a checkpoint",
    )


def _judged(frame: pl.DataFrame) -> ProvenanceDetector:
    judge = ProvenanceDetector()
    for start in range(0, frame.height, TOGETHER):
        judge.judge(frame[start : start + TOGETHER], start)
    return judge


def _held(frame: pl.DataFrame) -> int:
    """Bytes of Python objects that following these sessions takes."""
    tracemalloc.start()
    try:
        judge = _judged(frame)
        held, _ = tracemalloc.get_traced_memory()
        del judge
        return held - tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
