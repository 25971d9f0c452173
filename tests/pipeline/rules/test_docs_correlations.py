"""docs/correlations.md is true: each rule says of the actions what the page shows."""

import shlex
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from tachograph.detectors.language.rule import Asks, Correlation
from tachograph.detectors.language.ruleset import load
from tachograph.detectors.limits import Limits
from tachograph.pipeline.verbs import app
from tests.transcripts import ROOT, Transcript, files, missing_links, says, transcripts

PAGE = ROOT / "docs" / "correlations.md"
FILES = files(PAGE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All files of the page."""
    made = tmp_path_factory.mktemp("page")
    for name, text in FILES:
        (made / name).write_text(text)
    return made


@pytest.mark.parametrize("transcript", transcripts(PAGE), ids=lambda shown: shown.command)
def test_the_command_says_what_the_page_shows(
    transcript: Transcript, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TACHO_HOME", str(folder / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    program, *words = shlex.split(transcript.command)
    assert program == "tacho"
    done = CliRunner().invoke(app, words)
    assert done.exit_code in {0, 1}, done.output
    says(done.output, transcript.output)


def test_every_file_of_the_page_is_used() -> None:
    said = " ".join(shown.command for shown in transcripts(PAGE))
    assert [name for name, _ in FILES if name not in said] == []


def test_the_page_has_every_kind_of_question(folder: Path) -> None:
    """A kind that is new in the language has to be shown here."""
    names = [folder / name for name, _ in FILES if name.endswith(".yml") and name != "broken.yml"]
    shown = [rule for rule in load(names, builtin=False).rules if isinstance(rule, Correlation)]
    assert {type(rule.asks) for rule in shown} == set(get_args(Asks))
    windows = get_args(get_type_hints(Correlation)["window"])
    assert {rule.window for rule in shown} == set(windows)


def test_the_bounds_are_those_of_the_engine() -> None:
    limits, page = Limits(), PAGE.read_text("utf-8")
    for name in ("events_per_group", "events_per_rule", "groups_per_rule", "signals_per_rule"):
        assert f" | {getattr(limits, name):,} |" in page, name


def test_every_link_leads_to_a_file() -> None:
    assert missing_links(PAGE) == []
