"""The rules alone: the shipped pack, and 100 mixed rules, over actions in memory; and `tacho scan`
over raw events, with RSigma beside it.

The raw events are made here and differ from one another: a file that repeats its events flatters
whoever remembers them. No folder of rules for logs is shipped: mixed ones are made here too;
`--rules DIR` names others.
"""

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from infra.bench import fills, mixed
from infra.bench.peer_engines import forget_peak, peak_mb
from infra.bench.table import Figure
from infra.bench.traffic import Fleet
from tachograph.detectors.engine import Engine
from tachograph.detectors.language.ruleset import RuleSet, load
from tachograph.detectors.matching.matcher import Matcher
from tachograph.schemas import batch

SEED: Final = 20_261_125
# What one read of a partition brings, and what a full one does.
HEIGHTS: Final = (500, 5_000)
EVENTS: Final = 200_000
MIXED_RULES: Final = 100
# So many are made; to judge more of them, they are judged again.
MADE_ACTIONS: Final = 100_000
# Records judged at a time.
TOGETHER: Final = 16
RSIGMA: Final = "0.23.0"
# Modules are kept compiled, as they are wherever the project is installed.
COMPILED: Final = {"PYTHONDONTWRITEBYTECODE": ""}
BUILT: Final = Path(".cache/rsigma")
Progress = Callable[[str], None]


def actions(rules: RuleSet, count: int, say: Progress) -> Iterator[Figure]:
    """Every rule of the pack asked of so many actions."""
    say(f"matching: {count:,} actions")
    rounds = fills.rounds(Fleet(SEED), min(count, MADE_ACTIONS))
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


def many(count: int) -> Figure:
    """So many actions judged by 100 mixed rules, from decoding a record to its signals."""
    with tempfile.TemporaryDirectory() as place:
        mixed.write(Path(place), mixed.ACTIONS, MIXED_RULES)
        rules = load([Path(place)], builtin=False)
    rounds = fills.rounds(Fleet(SEED), min(count, MADE_ACTIONS))
    records = [record.value for _, posted in rounds for record in posted]
    engine = Engine(rules)
    forget_peak()
    held_mb = peak_mb()
    decoding_s = judging_s = 0.0
    judged = signals = 0
    while judged < count:
        for at in range(0, len(records), TOGETHER):
            begin_s = time.process_time()
            parts = [batch.decode(value) for value in records[at : at + TOGETHER]]
            decoded_s = time.process_time()
            frame = pl.concat(parts, how="diagonal")
            signals += len(engine.judge(frame, judged).signals)
            judged += frame.height
            decoding_s += decoded_s - begin_s
            judging_s += time.process_time() - decoded_s
    grown_mb = peak_mb() - held_mb
    spent_s = decoding_s + judging_s
    note = (
        f"a core, decoding included, which alone is {decoding_s / spent_s:.1%} of it;"
        f" {signals:,} signals; {grown_mb:,.0f} MB of memory"
    )
    return Figure(
        name=f"{judged:,} actions",
        per_s=judged / spent_s,
        core_us=spent_s / judged * 1e6,
        bytes_each=0,
        rules=len(rules.rules),
        note=note,
    )


def scans(folder: Path | None, say: Progress) -> Iterator[Figure]:
    """Raw events of their own against a folder of rules, by `tacho scan` and its peer."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        if folder is None:
            folder = place / "rules"
            folder.mkdir()
            mixed.write(folder, mixed.PROCESSES, MIXED_RULES)
        events = place / "events.ndjson"
        events.write_bytes(b"".join(_raw_lines(EVENTS)))
        tacho = [sys.executable, "-m", "tachograph.pipeline.cli", "scan", "--format", "raw"]
        asked = ["--no-builtin", "--rules", str(folder), str(events)]
        more = {"TACHO_HOME": name, "POLARS_MAX_THREADS": "1"}
        few = place / "few.ndjson"
        few.write_bytes(b"".join(_raw_lines(1)))
        # From now on the rules are kept compiled, as they are after anybody's first scan.
        _measured("first scan", [*tacho, *asked[:-1], str(few)], place / "first", more)
        say(f"scan: {EVENTS:,} raw events")
        ours = _measured("scan raw", [*tacho, *asked], place / "ours", more)
        rsigma = _rsigma(say)
        if rsigma is None:
            yield ours
            return
        say("scan: rsigma")
        peer = [rsigma, "engine", "eval", "--quiet", "-r", str(folder), "-e", f"@{events}"]
        theirs = _measured("rsigma", peer, place / "theirs", {})
        alike = _by_rule(place / "ours") == _by_rule(place / "theirs")
        told = "the same matches of each rule" if alike else "OTHER MATCHES"
        ratio = f"{theirs.core_us / ours.core_us:.2f} of RSigma's rate, {told}; {ours.note}"
        yield msgspec.structs.replace(ours, note=ratio)
        yield theirs


def _rsigma(say: Progress) -> str | None:
    """The peer: where it is installed, else built once; None where neither can be."""
    found = shutil.which("rsigma") or shutil.which("rsigma", path=str(BUILT / "bin"))
    if found is not None:
        return found
    cargo = shutil.which("cargo")
    if cargo is None:
        say("neither rsigma nor cargo is on PATH: nothing to compare scan with")
        return None
    say(f"building rsigma {RSIGMA} once, into {BUILT}: minutes")
    build = [cargo, "install", "--quiet", "--locked", "--root", str(BUILT)]
    try:
        subprocess.run([*build, f"rsigma@{RSIGMA}"], check=True, stderr=subprocess.PIPE)
    except subprocess.CalledProcessError as error:
        why = error.stderr.decode(errors="replace").strip().splitlines()[-1:]
        say(f"rsigma cannot be built, nothing to compare scan with: {' '.join(why)}")
        return None
    return shutil.which("rsigma", path=str(BUILT / "bin"))


def _by_rule(found: Path) -> Counter[str]:
    """How many events each rule matched."""
    with found.open("rb") as lines:
        return Counter(msgspec.json.decode(line)["rule_id"] for line in lines)


def _one_core() -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _measured(name: str, program: Sequence[str], out: Path, more: dict[str, str]) -> Figure:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with out.open("wb") as sink:
        subprocess.run(
            program,
            env={**os.environ, **more, **COMPILED},
            stdout=sink,
            stderr=subprocess.DEVNULL,
            check=True,
            preexec_fn=_one_core,
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figure(
        name=name,
        per_s=EVENTS / spent_s,
        core_us=spent_s / EVENTS * 1e6,
        bytes_each=0,
        note=f"{EVENTS:,} raw events on a core, start-up included",
    )


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
