"""Labelled agent traces as the product sees them: sent as OTLP, normalised, redacted, linked."""

import gzip
import itertools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from infra.quality.wordings import rewriter
from tachograph.detectors.links import Links, linked
from tachograph.pipeline.scan.feed import feeder
from tachograph.pipeline.scan.inputs import chunks
from tachograph.schemas.records import SessionLink

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("TACHO_SHARED", ROOT.parent / "shared"))
TRACES = SHARED / "data" / "agent_traces"
Trace = tuple[dict[str, Any], list[dict[str, Any]]]


def traces() -> Iterator[Trace]:
    """Each label with the events of its trace."""
    with gzip.open(TRACES / "labels.ndjson.gz", "rt") as file:
        labels = {label["trace_id"]: label for label in map(json.loads, file)}
    with gzip.open(TRACES / "events.ndjson.gz", "rt") as file:
        rows = map(json.loads, file)
        for trace_id, events in itertools.groupby(rows, key=lambda event: event["trace_id"]):
            yield labels[trace_id], list(events)


def reworded(trace: Trace, wordings: tuple[str, ...], seed: str) -> Trace | None:
    """The trace with its wrapper in other words; None where it had none."""
    label, events = trace
    rewrite, changed, out = rewriter(wordings, seed), False, []
    for event in events:
        before, after = event["result"], event["result"]
        if event["kind"] == "tool_result" and isinstance(before, str):
            after = rewrite(before)
        changed = changed or after != before
        out.append({**event, "result": after})
    return (label, out) if changed else None


def frames(chosen: Iterator[Trace], home: Path) -> pl.DataFrame:
    """The traces' actions as they are judged, with their sessions."""
    with tempfile.TemporaryDirectory() as folder:
        sent, otlp = Path(folder) / "events.ndjson.gz", Path(folder) / "spans.ndjson"
        with gzip.open(sent, "wt", compresslevel=1) as file:
            for _, events in chosen:
                file.writelines(json.dumps(event) + "\n" for event in events)
        script = SHARED / "bin" / "traces_to_otlp.py"
        with otlp.open("wb") as out:
            subprocess.run([sys.executable, str(script), str(sent)], stdout=out, check=True)
        return normalised(otlp, home)


def normalised(otlp: Path, home: Path) -> pl.DataFrame:
    """A file of OTLP spans as actions."""
    feed = feeder("otlp", home, "default", None, None)
    parts: list[pl.DataFrame] = []
    said: list[SessionLink] = []
    for chunk in chunks(otlp):
        fed = feed.feed(chunk)
        parts.append(fed.frame)
        said += fed.links
    whole = pl.concat(parts, how="diagonal")
    asked = [
        name for name in ("agent_id", "agent_name", "principal_id") if name not in whole.columns
    ]
    whole = whole.with_columns(pl.lit(None, pl.String).alias(name) for name in asked)
    return linked(whole, Links().learn(said))
