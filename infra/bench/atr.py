"""The public pack of Agent Threat Rules over short prompts: this engine beside the format's own one
for Python, the same rules and the same texts in the same run.

Pack and peer are no part of the product: they are fetched for the run, where that is possible. The
texts are those of the pack's own labelled cases, so many match: real prompts cost less, both.
"""

import random
import shutil
import subprocess
import tarfile
import tempfile
import time
import venv
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from infra.bench.table import Figure
from tachograph.detectors.engine import Engine
from tachograph.detectors.language.ruleset import RuleSet, load
from tachograph.detectors.language.sample_rows import ActionShape

PACK: Final = "agent-threat-rules@4.0.0"
PEER: Final = "pyatr==0.3.1"
FETCH_S: Final = 180.0
MEASURE_S: Final = 600.0
SEED: Final = 20_261_126
HEIGHT: Final = 1_000
SHORT_CHARS: Final = 300
# It takes some thirty milliseconds a text.
PEER_TEXTS: Final = 200
PEER_PROGRAM: Final = Path(__file__).with_name("peer_atr.py")
Progress = Callable[[str], None]


class Cost(msgspec.Struct, frozen=True):
    """What the peer prints."""

    cpu_s: float
    found: int


def figures(count: int, say: Progress) -> Iterator[Figure]:
    """Ours and theirs; nothing where pack or peer cannot be had."""
    with tempfile.TemporaryDirectory() as place:
        try:
            folder, python = _fetched(Path(place), say)
        except (OSError, subprocess.SubprocessError) as error:
            say(f"atr: left out, {PACK} and {PEER} cannot be had ({type(error).__name__})")
            return
        say("atr: loading the pack")
        rules = load([folder], builtin=False)
        texts = _texts(rules)
        say(f"atr: {count:,} of {len(texts):,} short texts, {HEIGHT:,} at a time")
        own = _own(rules, texts, count)
        yield own
        asked = texts[:PEER_TEXTS]
        file = Path(place) / "texts.json"
        file.write_bytes(msgspec.json.encode(asked))
        say(f"atr: {PEER}, {len(asked)} texts")
        cost = msgspec.json.decode(_run([python, PEER_PROGRAM, folder, file], MEASURE_S), type=Cost)
        each_us = cost.cpu_s / len(asked) * 1e6
        note = f"{len(asked)} of them; {each_us / own.core_us:.0f} times the CPU time"
        yield Figure(
            name="atr, pyatr", per_s=1e6 / each_us, core_us=each_us, bytes_each=0, note=note
        )


def _fetched(place: Path, say: Progress) -> tuple[Path, Path]:
    """The folder of rules, and the Python that has the peer. Raises OSError, SubprocessError."""
    say(f"atr: fetching {PACK} and {PEER} for this run")
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm")
    asked = [npm, "pack", PACK, "--silent", "--fetch-retries=0", f"--pack-destination={place}"]
    _run(asked, FETCH_S)
    (archive,) = place.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(place, filter="data")
    venv.create(place / "peer", with_pip=True)
    python = place / "peer" / "bin" / "python"
    _run([python, "-m", "pip", "install", "-q", PEER], FETCH_S)
    return place / "package" / "rules", python


def _run(command: Sequence[str | Path], timeout_s: float) -> bytes:
    return subprocess.run(command, capture_output=True, check=True, timeout=timeout_s).stdout


def _texts(rules: RuleSet) -> list[str]:
    """The short texts of all labelled cases, in an order of our own."""
    found: dict[str, None] = {}
    for rule in rules.rules:
        samples = rule.meta.tacho.samples
        for sample in [*samples.match, *samples.no_match]:
            found |= dict.fromkeys(_said(sample))
    texts = list(found)
    random.Random(SEED).shuffle(texts)
    return texts


def _said(sample: Any) -> Iterator[str]:
    for action in sample if isinstance(sample, list) else [sample]:
        for field in ("content_text", "tool_args", "tool_result", "memory_value"):
            text = action.get(field)
            if isinstance(text, str) and len(text) < SHORT_CHARS:
                yield text


def _own(rules: RuleSet, texts: Sequence[str], count: int) -> Figure:
    engine = Engine(rules)
    # Expressions are made ready when a text first needs them; the peer makes its own while it
    # loads, which is not counted either. So all texts are judged once before.
    ready = -(-max(count, len(texts)) // HEIGHT) * HEIGHT
    first_us, _ = _judged(engine, texts, range(0, ready, HEIGHT))
    core_us, found = _judged(engine, texts, range(ready, ready + count, HEIGHT))
    return Figure(
        name="atr, ours",
        per_s=1e6 / core_us,
        core_us=core_us,
        bytes_each=0,
        rules=len(rules.rules),
        note=f"{count:,} prompts, {HEIGHT:,} at a time; {found / count:.2f} signals each;"
        f" {first_us:.0f} core-µs the first time, while expressions are made ready",
    )


def _judged(engine: Engine, texts: Sequence[str], begins: range) -> tuple[float, int]:
    """Core-µs a prompt, and signals."""
    spent_s, found = 0.0, 0
    for begin in begins:
        frame = _frame(texts, begin)
        begin_s = time.process_time()
        found += len(engine.judge(frame, begin).signals)
        spent_s += time.process_time() - begin_s
    return spent_s / (len(begins) * HEIGHT) * 1e6, found


def _frame(texts: Sequence[str], begin: int) -> pl.DataFrame:
    shape, moment = ActionShape(), datetime(2026, 1, 1, tzinfo=UTC)
    rows = []
    for at in range(begin, begin + HEIGHT):
        said = {"kind": "prompt", "content_text": texts[at % len(texts)]}
        own = {"event_id": f"{at:032x}", "tenant": "bench"}
        rows.append({**shape.row(said, moment), **own, "session_id": f"s{at}"})
    return shape.frame(rows)
