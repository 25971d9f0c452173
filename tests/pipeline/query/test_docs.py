"""docs/hunting.md is true: its commands say over the world what the page shows."""

import pytest
from typer.testing import CliRunner

from tachograph.pipeline.query.hunts import hunts
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.verbs import app
from tests.transcripts import ROOT, Transcript, missing_links, says, transcripts
from tests.warehouse import environment

PAGE = ROOT / "docs" / "hunting.md"


@pytest.mark.parametrize("transcript", transcripts(PAGE), ids=lambda t: t.command)
def test_a_command_says_what_the_page_shows(
    world: ClickHouseSettings, transcript: Transcript
) -> None:
    tacho, *words = transcript.command.replace('"', "").split()
    assert tacho == "tacho"
    asked = {**environment(world), "COLUMNS": "100"}
    says(CliRunner().invoke(app, words, env=asked).output, transcript.output)


def test_the_page_names_every_hunt() -> None:
    text = PAGE.read_text("utf-8")
    assert [name for name in hunts() if f"`{name}`" not in text] == []


def test_every_link_leads_to_a_file() -> None:
    assert missing_links(PAGE) == []
