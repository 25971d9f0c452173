"""The sets that are trained and tested on: the traces as they are, and with their wrapper reworded.

Made once for one state of the detector's code and kept in the cache beside the checkout, since
sending 8,000 sessions through the product takes minutes.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from infra.quality import pages
from infra.quality.examples import Examples, examples, kind_of
from infra.quality.traces import ROOT, Trace, frames, reworded, traces
from infra.quality.wordings import HELD_OUT, TRAINED

CACHE = ROOT / ".cache" / "quality"
# Name of a set → wordings, and what picks one for a session.
REWORDED = {"trained 1": TRAINED, "trained 2": TRAINED, "held out": HELD_OUT}
# Benign sessions among whose texts stand sentences that ask for something.
BUSY = {"busy": pages.TRAINED, "busy held out": pages.HELD_OUT}
# What the actions of a set depend on, and what is made of them.
_SENT = (
    *("infra/quality/wordings.py", "infra/quality/pages.py", "infra/quality/traces.py"),
    *("pipeline", "schemas"),
)
_MADE = (
    "detectors/provenance",
    "infra/quality/data.py",
    "infra/quality/examples.py",
    "infra/quality/naive.py",
)


def attack_of(trace: Trace) -> str | None:
    """Id of the call that was the attacker's, as the traces tell it. Where they know it by its tool
    alone and that was called with several arguments, it may have been any of them.
    """
    label, events = trace
    calls = [event for event in events if event["kind"] == "tool_call"]
    wanted = next((one for one in calls if one["seq"] == label.get("attack_action_seq")), None)
    if wanted is None:
        return None
    if label.get("attack_action_method") == "function_only":
        alike = [one["arguments"] for one in calls if one["tool_name"] == wanted["tool_name"]]
        if any(one != wanted["arguments"] for one in alike):
            return None
    return str(wanted.get("call_id") or f"call_{wanted['seq']}")


def sets() -> dict[str, Examples]:
    """All sets, by name; `as it is` is the traces themselves."""
    CACHE.mkdir(parents=True, exist_ok=True)
    labels: dict[str, dict[str, Any]] = {}
    attacks: dict[str, str] = {}
    for trace in traces():
        labels[trace[0]["trace_id"]] = trace[0]
        if (attack := attack_of(trace)) is not None:
            attacks[trace[0]["trace_id"]] = attack
    names = {"as it is": (), **REWORDED, **BUSY}
    return {name: _kept(name, wordings, labels, attacks) for name, wordings in names.items()}


def _kept(
    name: str,
    wordings: tuple[str, ...],
    labels: Mapping[str, dict[str, Any]],
    attacks: Mapping[str, str],
) -> Examples:
    place = CACHE / f"{name.replace(' ', '-')}-{_code(*_SENT, *_MADE)}.npz"
    if place.exists():
        with np.load(place, allow_pickle=False) as kept:
            said = json.loads(str(kept["labels"]))
            naive = kept["naive"].tolist()
            return Examples(kept["rows"], kept["truth"], kept["session"], said, naive)
    made = examples(_sent(name, wordings), labels, attacks)
    said = json.dumps(made.labels)
    np.savez_compressed(
        place,
        rows=made.rows,
        truth=made.truth,
        session=made.session,
        labels=np.array(said),
        naive=np.array(made.naive),
    )
    return made


def _sent(name: str, wordings: tuple[str, ...]) -> pl.DataFrame:
    """The set's actions, as the product sees them."""
    place = CACHE / f"{name.replace(' ', '-')}-{_code(*_SENT)}.arrow"
    if not place.exists():
        frames(_chosen(name, wordings), CACHE).write_ipc(place, compression="zstd")
    return pl.read_ipc(place)


def _chosen(name: str, wordings: tuple[str, ...]) -> Iterator[Trace]:
    change = pages.busied if name in BUSY else reworded
    kinds = ("benign", "hard") if name in BUSY else ("attack",)
    for trace in traces():
        if not wordings:
            yield trace
        elif kind_of(trace[0]) in kinds:
            changed = change(trace, wordings, f"{trace[0]['trace_id']} {name}")
            if changed is not None:
                yield changed


def _code(*places: str) -> str:
    """The state of these files and folders."""
    digest = hashlib.blake2b(digest_size=8)
    for place in places:
        path = ROOT / place
        files = [*path.rglob("*.py"), *path.rglob("tongues.json")] if path.is_dir() else [path]
        for file in sorted(files):
            digest.update(file.read_bytes())
    return digest.hexdigest()
