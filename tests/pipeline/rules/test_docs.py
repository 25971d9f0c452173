"""docs/rules.md is true: in one folder, from the first command to the last."""

import os
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tachograph.pipeline.scan.feed import feeder
from tachograph.pipeline.scan.inputs import chunks
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.verbs import app
from tests.pipeline.stored import Store
from tests.transcripts import ROOT, files, missing_links, says, transcripts

PAGE = ROOT / "docs" / "rules.md"
EXAMPLES = ROOT / "docs" / "examples" / "actions.ndjson"
FILES = files(PAGE)


@pytest.fixture
def folder(tmp_path: Path, store: Store) -> Path:
    """The folder that the page works in, and its actions in ClickHouse."""
    shutil.copy(EXAMPLES, tmp_path / "actions.ndjson")
    made_by = feeder("actions", tmp_path / "home", "default", None)
    for chunk in chunks(EXAMPLES):
        store(made_by.feed(chunk).frame)
    return tmp_path


def test_every_command_says_what_the_page_shows(
    folder: Path, clickhouse: ClickHouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TACHO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TACHO_HOME", str(folder / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("CLICKHOUSE_URL", clickhouse.url)
    assert len(FILES) == 3
    for transcript in transcripts(PAGE):
        command, *words = shlex.split(transcript.command)
        assert command == "tacho"
        done = CliRunner().invoke(app, words)
        assert done.exit_code in {0, 1}, done.output
        says(done.output, transcript.output)
        if words[1] == "new":
            for name, text in FILES:
                (folder / name).write_text(text)


def test_every_link_leads_to_a_file() -> None:
    # A page that is written beside this one.
    assert set(missing_links(PAGE)) <= {"sigma.md"}
