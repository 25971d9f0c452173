"""How well misuse is found (detectors/intent) on labelled sessions: the product's own detector over
the traces as they are, with nothing learned from them.

    python -m infra.quality.misuse     # measure, write its part of docs/detection-quality.md
"""

import argparse
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from infra.quality.examples import kind_of
from infra.quality.shares import share
from infra.quality.traces import ROOT, TRACES, frames, traces
from tachograph.detectors.intent.detector import MisuseDetector
from tachograph.detectors.intent.verdicts import VERDICTS
from tachograph.schemas.alert import SEVERITIES, Signal

PAGE = ROOT / "docs" / "detection-quality.md"
BEGIN, END = "<!-- misuse -->\n", "<!-- end of misuse -->\n"
BATCH = 5_000
LEVELS = {"high": ("high", "critical"), "medium or high": ("medium", "high", "critical")}
Labels = Mapping[str, Mapping[str, Any]]


class Group(NamedTuple):
    """Sessions of a row: those that should be found, and those that should not."""

    name: str
    wanted: list[str]
    unwanted: list[str]


def judged(frame: pl.DataFrame) -> list[Signal]:
    """What the detector says of all sessions."""
    detector, found = MisuseDetector(), dict[str, Signal]()
    for number, at in enumerate(range(0, frame.height, BATCH)):
        for signal in detector.judge(frame[at : at + BATCH], number).signals:
            if signal.change == "retracted":
                found.pop(signal.signal_id, None)
            else:
                found[signal.signal_id] = signal
    return list(found.values())


def groups(labels: Labels) -> list[Group]:
    """Sources whose sessions are labelled unsafe or safe, suites whose sessions are benign, and
    injections that were to make an agent hand data out.
    """
    found: dict[str, Group] = defaultdict(lambda: Group("", [], []))
    for name, label in labels.items():
        kind, source = kind_of(label), str(label["source"])
        if "unsafe" in label:
            group = found[source]
            if label["unsafe"] is not None:
                (group.wanted if label["unsafe"] else group.unwanted).append(name)
            continue
        if kind == "benign":
            found[source].unwanted.append(name)
        elif kind == "hard":
            found[f"{source}, the user asks for it himself"].unwanted.append(name)
        elif kind == "attack" and "exfiltration" in str(label.get("goal_category")):
            found[f"{source}, data handed out for an injection"].wanted.append(name)
    return [Group(name, *group[1:]) for name, group in sorted(found.items())]


def table(frame: pl.DataFrame, labels: Labels) -> str:
    """The tables of the page."""
    signals = judged(frame)
    out = "| source | severity | misuse found | other sessions flagged |\n|---|---|---|---|\n"
    for group in groups(labels):
        for level, severities in LEVELS.items():
            hit = {s.session_id for s in signals if s.severity in severities}
            cells = [share([one in hit for one in of]) for of in (group.wanted, group.unwanted)]
            out += f"| {group.name} | {level} | {cells[0]} | {cells[1]} |\n"
    return f"{out}\n{_by_verdict(signals, labels)}"


def _by_verdict(signals: Sequence[Signal], labels: Labels) -> str:
    """Sessions by what was said of them, at its gravest."""
    out = "| verdict | high | medium | low | of all, labelled safe or benign |\n"
    out += "|---|---|---|---|---|\n"
    for verdict in VERDICTS.values():
        own = _gravest(signal for signal in signals if signal.rule_id == verdict.rule_id)
        count = Counter(own.values())
        calm = sum(_calm(labels[session]) for session in own)
        cells = [str(count[level]) for level in ("high", "medium", "low")]
        out += f"| {verdict.title} | {' | '.join(cells)} | {calm} |\n"
    return out


def _gravest(signals: Iterable[Signal]) -> dict[str, str]:
    found: dict[str, str] = {}
    for signal in sorted(signals, key=lambda one: SEVERITIES.index(one.severity)):
        found[signal.session_id or ""] = signal.severity
    return found


def _calm(label: Mapping[str, Any]) -> bool:
    return label.get("unsafe") is False or ("unsafe" not in label and kind_of(label) == "benign")


def measured() -> str:
    """The tables, with the traces sent through the product first."""
    labels = {label["trace_id"]: label for label, _ in traces()}
    with tempfile.TemporaryDirectory() as folder:
        return table(frames(traces(), Path(folder)), labels)


def main() -> int:
    """The exit code."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    if not TRACES.is_dir():
        print(f"No labelled traces in {TRACES}: set TACHO_SHARED", file=sys.stderr)
        return 1
    made = measured()
    print(made)
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}{made}{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
