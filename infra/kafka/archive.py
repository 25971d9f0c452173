"""A class-data archive of Java: with it a node starts in little more than half the CPU time.

Made once by a node that is started and stopped for it. Java passes by one that is not its own.
"""

import hashlib
import subprocess
from collections.abc import Callable
from pathlib import Path

from infra.kafka.jars import CACHE, locked


def archive_options(jars: Path, train: Callable[[Path], None]) -> list[str]:
    """Java's options for the archive of these jars and this Java, made when it is not there yet.

    `train` runs a node that writes it to the path it is given as it ends. Safe to call from several
    processes at once; those that come meanwhile wait.
    """
    said = subprocess.run(["java", "-version"], capture_output=True, check=False).stderr
    # Java asks for the jars where they were: an archive that was copied along with them is no use.
    asked = hashlib.sha256(said + bytes(jars)).hexdigest()[:12]
    path = jars.with_name(f"{jars.name}-{asked}.jsa")
    with locked(CACHE / ".archive-lock"):
        if not path.exists():
            fresh = path.with_suffix(".new")
            train(fresh)
            # A Java that cannot make one leaves an empty file: it is not asked again.
            fresh.touch()
            fresh.rename(path)
    return [f"-XX:SharedArchiveFile={path}"] if path.stat().st_size else []
