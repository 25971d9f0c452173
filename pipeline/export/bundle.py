"""A bundle: a folder, or a zip file, of NDJSON, proofs, keys and a report. docs/evidence.md tells
strangers its format.
"""

import hashlib
import io
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from tachograph.pipeline.errors import ConfigError, Refused
from tachograph.pipeline.export.proofs import TreeProofs
from tachograph.pipeline.export.report import report_of
from tachograph.pipeline.export.select import Chosen
from tachograph.pipeline.notarize.keys import Ring
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.verify.anchors import Trees
from tachograph.pipeline.verify.findings import TreeId
from tachograph.schemas import codec
from tachograph.schemas.records import TreeHead

FORMAT = 1


class Bundle(NamedTuple):
    """The files of a bundle by name, and how many records were left out as too new."""

    files: dict[str, bytes]
    records: int
    newer: int


def bundle_of(
    connection: Connection,
    chosen: Iterable[Chosen],
    trees: Trees,
    ring: Ring,
    *,
    asked: str,
    at: datetime,
) -> Bundle:
    """Prove the records that heads cover. Raises Refused when one cannot be, RetryLater."""
    by_tree: dict[TreeId, list[Chosen]] = defaultdict(list)
    for one in chosen:
        by_tree[one.tree].append(one)
    records: list[dict[str, Any]] = []
    heads: list[TreeHead] = []
    consistency: list[dict[str, Any]] = []
    newer = 0
    for tree, mine in sorted(by_tree.items()):
        if tree not in trees:
            newer += len(mine)
            continue
        proofs = TreeProofs(connection, tree, trees[tree])
        covered = [one for one in mine if proofs.covers(one.offset)]
        newer += len(mine) - len(covered)
        records += [proofs.inclusion(one) for one in covered]
        kept = proofs.first_covering(one.offset for one in covered) if covered else []
        heads += kept
        consistency += [proofs.consistency(head) for head in kept[:-1]]
    if not records:
        raise Refused(
            "nothing to export: no such alert (give its whole id), or no signed head covers it yet"
        )
    files = {
        "records.ndjson": _lines(records),
        "heads.ndjson": b"".join(codec.encode(head) + b"\n" for head in heads),
        "consistency.ndjson": _lines(consistency),
        "keys.ndjson": b"".join(codec.encode(key) + b"\n" for key in ring.keys),
        "report.md": report_of(records, heads, ring, asked=asked, at=at, newer=newer).encode(),
    }
    files["manifest.json"] = _manifest(files, asked, at)
    return Bundle(files, len(records), newer)


def _lines(items: Sequence[dict[str, Any]]) -> bytes:
    return b"".join(msgspec.json.encode(item) + b"\n" for item in items)


def _manifest(files: dict[str, bytes], asked: str, at: datetime) -> bytes:
    told = {
        "format": FORMAT,
        "made_at": at,
        "asked": asked,
        "sha256": {name: hashlib.sha256(body).hexdigest() for name, body in sorted(files.items())},
    }
    return msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n"


def write(bundle: Bundle, out: Path) -> None:
    """Write a folder that is not there yet, or a .zip file. Raises ConfigError."""
    if out.exists():
        raise ConfigError(f"{out} is there already: a bundle is written once")
    try:
        if out.suffix == ".zip":
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_bytes(_zipped(bundle.files))
            return
        draft = out.with_name(f".{out.name}.part")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for name, body in bundle.files.items():
            (draft / name).write_bytes(body)
        draft.rename(out)
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}") from error


def _zipped(files: dict[str, bytes]) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return body.getvalue()
