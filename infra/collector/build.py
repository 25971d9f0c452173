"""The Collector of main.go, built once into .cache: `make collector`, or `ensure_collector`.

Its modules are named by go.mod and pinned by go.sum; Go fetches what its cache lacks.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONFIG = HERE / "config.yaml"
SOURCES = ("main.go", "go.mod", "go.sum")
CACHE = HERE.parents[1] / ".cache" / "otelcol"
# By hand: a first build fetches and compiles some 200 modules.
BUILD_TIMEOUT_S = 1_800


class CollectorUnavailableError(RuntimeError):
    """It cannot be built on this machine; the message is one line that says what is missing."""


def ensure_collector(timeout_s: float = BUILD_TIMEOUT_S) -> Path:
    """The program, built when these sources were not yet; blocks until it is.

    Safe to call from several processes at once. Raises CollectorUnavailableError.
    """
    program = place()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(program, timeout_s)
    return program


def place() -> Path:
    """Where the program is once these sources were built."""
    return CACHE / f"otelcol-{_digest()}"


def _digest() -> str:
    whole = hashlib.sha256()
    for name in SOURCES:
        whole.update((HERE / name).read_bytes())
    return whole.hexdigest()[:12]


def _build(program: Path, timeout_s: float) -> None:
    require_go()
    half = program.with_suffix(".building")
    command = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(half), "."]
    try:
        answer = subprocess.run(
            command, cwd=HERE, capture_output=True, text=True, check=False, timeout=timeout_s
        )
    except subprocess.TimeoutExpired as error:
        raise CollectorUnavailableError(
            f"Go has not built the Collector within {timeout_s:.0f} s; `make collector` takes its"
            " time"
        ) from error
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines() or ["it does not say why"]
        raise CollectorUnavailableError(f"Go cannot build the Collector: {said[-1]}")
    # A rename is all or nothing: a build that was cut off leaves no half of a program.
    half.rename(program)


def require_go() -> None:
    """Raise CollectorUnavailableError unless Go is here; an older one fetches what go.mod asks."""
    wanted = re.search(r"^go (\S+)$", (HERE / "go.mod").read_text("utf-8"), re.MULTILINE)
    if shutil.which("go") is None:
        raise CollectorUnavailableError(
            f"the Collector is built by Go {wanted[1] if wanted else ''} or newer: no `go` on PATH"
            " (install Go, or take a Collector of your own with the config beside this file)"
        )


def main() -> int:
    """Build, and say how it is run."""
    try:
        program = ensure_collector()
    except CollectorUnavailableError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    sys.stdout.write(f"KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:9092 {program} --config file:{CONFIG}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
