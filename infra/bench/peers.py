"""Correlations beside two peers, on the same events in the same run: EQL's Python engine for steps
in order, Bytewax for counts in tumbling windows. Their packages are no part of the product: they
are put into an environment of their own for the run, where that is possible.

    python -m infra.bench.peers KIND NUMBER

is one measurement of ours, in a process of its own as theirs are.
"""

import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from infra.bench import correlations, peer_engines
from infra.bench.table import Figure

PACKAGES: Final = ("eql==1.0.1", "bytewax==0.21.1")
INSTALL_S: Final = 180.0
MEASURE_S: Final = 600.0
HEIGHT: Final = 10_000
# Of ours the type of rule, and of theirs the engine.
PAIRS: Final = ((correlations.SEQUENCE, "eql"), (correlations.TUMBLING, "bytewax"))
# EQL's engine looks at all sessions for each event: a tenth of them shows it at its best.
FEWER: Final = {"eql": 10}
Progress = Callable[[str], None]


class Cost(msgspec.Struct, frozen=True):
    """What a measurement prints."""

    cpu_s: float
    grown_mb: float
    found: int


def figures(count: int, say: Progress) -> Iterator[Figure]:
    """Ours and theirs in turn; nothing where theirs cannot be had."""
    with tempfile.TemporaryDirectory() as place:
        python = Path(place) / "bin" / "python"
        say(f"peers: installing {' and '.join(PACKAGES)} into an environment of their own")
        try:
            venv.create(place, with_pip=True)
            _run([python, "-m", "pip", "install", "-q", *PACKAGES], INSTALL_S)
        except (OSError, subprocess.SubprocessError) as error:
            say(f"peers: left out, they cannot be installed here ({type(error).__name__})")
            return
        for kind, peer in PAIRS:
            number = count // FEWER.get(peer, 1)
            events = Path(place) / "events.ndjson"
            _write(events, correlations.traffic(number))
            say(f"peers: {kind.name}, {number:,} events")
            own = _cost([sys.executable, "-m", "infra.bench.peers", kind.name, str(number)])
            theirs = _cost([python, peer_engines.__file__, peer, events])
            yield _figure(f"{kind.name}, ours", number, own, "")
            times = theirs.cpu_s / own.cpu_s
            yield _figure(
                f"{kind.name}, {peer}", number, theirs, f"; {times:.1f} times the CPU time"
            )


def _figure(name: str, number: int, cost: Cost, more: str) -> Figure:
    note = f"{number:,} events, {cost.found:,} found; {cost.grown_mb:.0f} MB of memory{more}"
    per_s, core_us = number / cost.cpu_s, cost.cpu_s / number * 1e6
    return Figure(name=name, per_s=per_s, core_us=core_us, bytes_each=0, note=note)


def _cost(command: Sequence[str | Path]) -> Cost:
    return msgspec.json.decode(_run(command, MEASURE_S), type=Cost)


def _run(command: Sequence[str | Path], timeout_s: float) -> bytes:
    done = subprocess.run(command, capture_output=True, check=True, timeout=timeout_s)
    return done.stdout


def _write(path: Path, events: pl.DataFrame) -> None:
    events.select(
        pl.col("event_time").to_physical().alias("time_us"),
        pl.col("session_id").alias("session"),
        pl.col("tool_name").alias("name"),
    ).write_ndjson(path)


def main() -> None:
    """One measurement of ours."""
    name, number = sys.argv[1:]
    events = correlations.traffic(int(number))
    (kind,) = [kind for kind, _ in PAIRS if kind.name == name]
    peer_engines.forget_peak()
    held_mb = peer_engines.peak_mb()
    spent_s, found, _ = correlations.run(kind.rules(), events, HEIGHT, close=True)
    grown_mb = peer_engines.peak_mb() - held_mb
    print(msgspec.json.encode(Cost(spent_s, grown_mb, found)).decode())


if __name__ == "__main__":
    main()
