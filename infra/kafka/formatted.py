"""The data folder of a new node, copied from one that was formatted once for these jars.

A JVM that formats a folder costs a third of what the node's own start costs.
"""

import re
import shutil
import tempfile
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable
from pathlib import Path

from infra.kafka.jars import locked

_MARK = "meta.properties"
_CLUSTER = re.compile(r"^cluster\.id=.*$", re.MULTILINE)
_DIRECTORY = re.compile(r"^directory\.id=.*$", re.MULTILINE)


def new_id() -> str:
    """An id of a cluster or a folder that nobody has, as Kafka writes them."""
    return urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def lay_formatted(jars: Path, data: Path, format_folder: Callable[[Path, Path], Path]) -> None:
    """Make `data` the empty data folder of a node that is a cluster of its own.

    `format_folder` formats a folder and returns where its data lie. Safe to call from several
    processes at once; those that come meanwhile wait.
    """
    made = jars.with_name(f"{jars.name}-formatted")
    with locked(made.with_suffix(".lock")):
        if not made.exists():
            with tempfile.TemporaryDirectory(dir=made.parent) as folder:
                format_folder(jars, Path(folder)).rename(made)
    shutil.copytree(made, data, ignore=shutil.ignore_patterns(_MARK), dirs_exist_ok=True)
    text = _CLUSTER.sub(f"cluster.id={new_id()}", (made / _MARK).read_text())
    # Last: a folder that has it is formatted.
    (data / _MARK).write_text(_DIRECTORY.sub(f"directory.id={new_id()}", text))
