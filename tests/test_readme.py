"""README is true: its commands say what it shows, its links lead somewhere, its snippet works."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.transcripts import ROOT, Transcript, says, transcripts

README = ROOT / "README.md"
# A run of everything takes a minute: tests/e2e compares it with what README shows.
ELSEWHERE = ("make run",)


def runnable() -> list[Transcript]:
    found = transcripts(README)
    assert found
    return [one for one in found if not one.command.startswith(ELSEWHERE)]


@pytest.mark.parametrize("transcript", runnable(), ids=lambda t: t.command)
def test_a_command_says_what_readme_shows(transcript: Transcript, tmp_path: Path) -> None:
    environment = {**os.environ, "TACHO_HOME": str(tmp_path), "COLUMNS": "100"}
    words = transcript.command.split()
    assert words[0] == "tacho"
    done = subprocess.run(
        [sys.executable, "-m", "tachograph.pipeline.cli", *words[1:]],
        cwd=ROOT, env=environment, check=True, text=True, capture_output=True,
    )  # fmt: skip
    says(done.stdout + done.stderr, transcript.output)


def test_every_link_leads_to_a_file() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README.read_text("utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_python_snippet_runs(mock_broker: Any) -> None:
    [snippet] = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    direct = f'bootstrap_servers="{mock_broker.bootstrap_servers}"'
    code = snippet.replace('endpoint="http://127.0.0.1:4318"', direct)
    assert code != snippet
    names: dict[str, Any] = {}
    exec(compile(code, "README", "exec"), names)  # noqa: S102 - our own page
    stats = names["recorder"].stats()
    assert stats.dropped == 0
    assert stats.sent >= 1
