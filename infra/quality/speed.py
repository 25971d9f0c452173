"""What following a session costs, in processor time: against the length of what tools bring in."""

import json
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from tachograph.detectors.provenance.detector import ProvenanceDetector
from tachograph.schemas.batch import COLUMNS

LENGTHS = (0, 500, 2_000, 8_000, 32_000)
SESSIONS, CALLS = 60, 8
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_SENTENCES = (
    "The quarterly figures for the northern region are in.",
    "Please review the attached notes before the meeting.",
    "Shipping takes three to five days.",
    "Rated 4.5 of 5 by 312 customers.",
    "Send questions to the help desk.",
    "Alice wrote that the build is green again.",
)


def frame_of(length: int, chance: random.Random) -> pl.DataFrame:
    """Sessions of a prompt and some calls, each answered with so many characters of prose."""
    rows: list[dict[str, Any]] = []
    for session in range(SESSIONS):
        for at in range(CALLS + 1):
            row = {
                "event_id": f"{length}-{session}-{at}",
                "event_time": _BEGIN + timedelta(seconds=len(rows)),
                "tenant": "default",
                "partition_key": "p",
                "session_id": f"s{session}",
                "agent_id": "a",
                "kind": "tool_call" if at else "prompt",
            }
            said = " ".join(chance.choices(_SENTENCES, k=length // 45 + 1))[:length]
            if at:
                arguments = json.dumps({"to": f"user{at}@mail.example", "subject": "figures"})
                row |= {"tool_name": "send_email", "tool_args": arguments, "tool_result": said}
            else:
                row["content_text"] = "Summarise the mails about the northern region."
            rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame(rows, schema={name: COLUMNS[name] for name in names})


def cost_us(frame: pl.DataFrame) -> float:
    """Core-µs an action."""
    detector = ProvenanceDetector()
    begin = time.process_time()
    detector.judge(frame, 1)
    return (time.process_time() - begin) / frame.height * 1e6


def table(lengths: Sequence[int] = LENGTHS) -> str:
    """The table of the page."""
    chance = random.Random(1)
    cost_us(frame_of(500, chance))
    out = (
        "| characters an answer | core-µs an action | actions a second and core |\n|---|---|---|\n"
    )
    for length in lengths:
        each = cost_us(frame_of(length, chance))
        out += f"| {length:,} | {each:,.0f} | {1e6 / each:,.0f} |\n"
    return out
