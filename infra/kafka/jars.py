"""Jars of a server that tests run: named by pom.xml, pinned by jars.sha256, fetched once by Maven.

Those of the Kafka broker, unless another folder with these two files is named.
"""

import fcntl
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKSUMS = HERE / "jars.sha256"
CACHE = HERE.parents[1] / ".cache" / "kafka"
MIN_JAVA = 17
FETCH_TIMEOUT_S = 600


class BrokerUnavailableError(RuntimeError):
    """No broker can run on this machine; the message is one line that says what is missing."""


class BrokerFailedError(RuntimeError):
    """Everything is there, and still the broker did not start; the message says why."""


def ensure_jars(here: Path = HERE) -> Path:
    """Return the folder of verified jars, fetching it when it is not there yet (Kafka: 43 MB).

    Safe to call from several processes at once. Raises BrokerUnavailableError, BrokerFailedError.
    """
    require_java()
    folder = folder_of(here)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / ".lock"):
        if not folder.is_dir():
            _fetch(folder, here)
    return folder


def folder_of(here: Path) -> Path:
    """Where the jars are, or will be: another folder for every other choice of them."""
    return CACHE.parent / here.name / f"jars-{_digest(here / 'jars.sha256')[:12]}"


def require_java() -> None:
    """Raise BrokerUnavailableError unless `java` is Java 17 or newer."""
    if shutil.which("java") is None:
        raise BrokerUnavailableError(
            "a real Kafka broker needs Java 17 or newer: no `java` on PATH"
        )
    answer = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r'version "(\d+)', answer.stderr)
    if found is None or int(found[1]) < MIN_JAVA:
        version = found[0] if found else "an unknown version"
        raise BrokerUnavailableError(
            f"a real Kafka broker needs Java 17 or newer: `java` is {version}"
        )


def _fetch(folder: Path, here: Path) -> None:
    if shutil.which("mvn") is None:
        raise BrokerUnavailableError(
            f"a real {here.name} needs Maven to fetch it once: no `mvn` on PATH"
        )
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="fetching-") as temporary:
        target = Path(temporary) / "jars"
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={target}"]
        command = ["mvn", "--quiet", "--batch-mode", "--no-transfer-progress"]
        command += ["--file", str(here / "pom.xml")]
        try:
            answer = subprocess.run(
                [*command, *goal],
                capture_output=True,
                text=True,
                check=False,
                timeout=FETCH_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise BrokerUnavailableError(
                f"Maven did not answer within {FETCH_TIMEOUT_S} s"
            ) from error
        if answer.returncode != 0:
            problem = re.search(r"ERROR\S* (.+)", answer.stdout)
            said = problem[1] if problem else answer.stderr.strip()
            raise BrokerUnavailableError(f"Maven could not fetch {here.name}: {said}")
        verify(target, here)
        # A rename is all or nothing: a fetch that was cut off leaves no half-filled folder.
        target.rename(folder)


def verify(folder: Path, here: Path = HERE) -> None:
    """Raise BrokerFailedError unless `folder` holds exactly the jars of jars.sha256."""
    rows = (line.split() for line in (here / "jars.sha256").read_text().splitlines())
    wanted = {name: digest for digest, name in rows}
    found = {path.name: _digest(path) for path in folder.glob("*.jar")}
    odd = sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )
    if odd:
        raise BrokerFailedError(f"jars differ from infra/{here.name}/jars.sha256: {', '.join(odd)}")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let one process at a time into the block."""
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
