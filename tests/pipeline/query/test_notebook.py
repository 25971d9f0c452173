"""The notebook runs from its first cell to its last, as somebody would run it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tachograph.pipeline.settings import ClickHouseSettings
from tests.transcripts import ROOT
from tests.waiting import WAIT_S
from tests.warehouse import environment

NOTEBOOK = ROOT / "docs" / "examples" / "investigation.ipynb"


def cells(kind: str) -> list[str]:
    found: dict[str, Any] = json.loads(NOTEBOOK.read_text("utf-8"))
    assert found["nbformat"] == 4
    return ["".join(cell["source"]) for cell in found["cells"] if cell["cell_type"] == kind]


def test_every_cell_of_the_notebook_runs_against_the_embedded_server(
    world: ClickHouseSettings, tmp_path: Path
) -> None:
    script = tmp_path / "cells.py"
    script.write_text("\n\n".join(cells("code")), "utf-8")
    ran = subprocess.run(
        [sys.executable, str(script)],
        env={**os.environ, **environment(world), "PYTHONIOENCODING": "utf-8"},
        capture_output=True, text=True, check=False, timeout=WAIT_S,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2_000:]
    for shown in ("billing-helper", "joined_by", "median_gap_ms", "principal"):
        assert shown in ran.stdout, ran.stdout


def test_the_notebook_is_kept_without_what_was_printed() -> None:
    found = json.loads(NOTEBOOK.read_text("utf-8"))
    assert all(not cell.get("outputs") for cell in found["cells"])
