"""The rules alone: the shipped pack over actions in memory, and `tacho scan` over raw events, with
RSigma beside it where it is installed.

The raw events are made here and differ from one another: a file that repeats its events flatters
whoever remembers them. No folder of rules for logs is shipped; `--rules DIR` names one.
"""

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from infra.bench import fills
from infra.bench.table import Figure
from infra.bench.traffic import Fleet
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.matching.matcher import Matcher
from tachograph.schemas import batch

SEED: Final = 20_261_125
# What one read of a partition brings, and what a full one does.
HEIGHTS: Final = (500, 5_000)
EVENTS: Final = 40_000
Progress = Callable[[str], None]


def actions(rules: RuleSet, count: int, say: Progress) -> Iterator[Figure]:
    """Every rule of the pack asked of so many actions."""
    say(f"matching: {count:,} actions")
    rounds = fills.rounds(Fleet(SEED), min(count, 100_000))
    records = [record.value for _, posted in rounds for record in posted]
    frames = pl.concat([batch.decode(value) for value in records], how="diagonal")
    for height in HEIGHTS:
        parts = [frames[at : at + height] for at in range(0, frames.height, height)]
        matcher = Matcher([one.condition for one in rules.detections], rules.fields)
        matcher.match(parts[0])
        begin_s, judged = time.process_time(), 0
        while judged < count:
            for part in parts:
                matcher.match(part)
                judged += part.height
        spent_s = time.process_time() - begin_s
        yield Figure(
            name=f"matching {height}",
            per_s=judged / spent_s,
            core_us=spent_s / judged * 1e6,
            bytes_each=0,
            rules=len(rules.rules),
            note=f"a core; {len(rules.detections)} conditions, {height:,} actions at a time",
        )


def scans(folder: Path, say: Progress) -> Iterator[Figure]:
    """Raw events of their own against a folder of rules, by `tacho scan` and its peer."""
    with tempfile.TemporaryDirectory() as place:
        events = Path(place) / "events.ndjson"
        events.write_bytes(b"".join(_raw_lines(EVENTS)))
        home = {"TACHO_HOME": place, "POLARS_MAX_THREADS": "1"}
        tacho = [sys.executable, "-m", "tachograph.pipeline.cli", "scan", "--format", "raw"]
        asked = ["--no-builtin", "--rules", str(folder), "-o", f"{place}/found", str(events)]
        say("scan: tacho")
        yield _measured("scan raw", [*tacho, *asked], events, home)
        rsigma = shutil.which("rsigma")
        if rsigma is not None:
            say("scan: rsigma")
            peer = [rsigma, "engine", "eval", "-r", str(folder), "-e", f"@{events}"]
            yield _measured("rsigma", peer, events, {})


def _measured(name: str, program: Sequence[str], events: Path, more: dict[str, str]) -> Figure:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin_s = time.monotonic()
    subprocess.run(
        program, env={**os.environ, **more}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        check=True,
    )  # fmt: skip
    wall_s = time.monotonic() - begin_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = events.stat().st_size / EVENTS
    note = f"{EVENTS:,} raw events, start-up included; {wall_s:.1f} s"
    return Figure(
        name=name, per_s=EVENTS / spent_s, core_us=spent_s / EVENTS * 1e6, bytes_each=size,
        note=note,
    )  # fmt: skip


def _raw_lines(count: int) -> Iterator[bytes]:
    """Process starts, as a host logs them, none like another."""
    rng = random.Random(SEED)
    programs = ["cmd.exe", "powershell.exe", "net.exe", "reg.exe", "svchost.exe", "python.exe"]
    words = ["-enc", "/c", "whoami", "add", "query", "HKLM\\Software", "http://10.0.0.9/a", "run"]
    for number in range(count):
        program, parent = rng.sample(programs, 2)
        line = " ".join(rng.sample(words, 4))
        yield msgspec.json.encode({
            "EventID": 1,
            "UtcTime": f"2026-11-22 18:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:03}",
            "Image": f"C:\\Windows\\System32\\{program}",
            "OriginalFileName": program.title(),
            "CommandLine": f"{program} {line} {rng.getrandbits(64):x}",
            "ParentImage": f"C:\\Windows\\{parent}",
            "ParentCommandLine": f"{parent} {rng.getrandbits(48):x}",
            "User": f"HOST{rng.randrange(500)}\\user{rng.randrange(5_000)}",
            "Hashes": f"SHA256={rng.getrandbits(256):064X}",
            "ProcessId": rng.randrange(65_536),
            "IntegrityLevel": rng.choice(["Low", "Medium", "High"]),
            "CurrentDirectory": f"C:\\Users\\u{rng.randrange(5_000)}\\",
        }) + b"\n"  # fmt: skip
