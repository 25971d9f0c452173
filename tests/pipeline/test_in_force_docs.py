"""docs/in-force.md names commands and options that there are, and its rule is one."""

import shlex

import pytest
from typer.main import get_command

from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import build
from tachograph.pipeline.verbs import app
from tests.transcripts import ROOT, files, missing_links, transcripts

PAGE = ROOT / "docs" / "in-force.md"
COMMANDS = [one.command for one in transcripts(PAGE) if one.command.startswith("tacho ")]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_can_be_given(command: str) -> None:
    """It is read as the program reads it, and not carried out."""
    _, *words = shlex.split(command)
    found = get_command(app)
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    found.make_context(command, words)


def test_the_rule_of_the_page_compiles() -> None:
    [(name, text)] = files(PAGE)
    assert [rule.meta.rule_id for rule in build(parse(text, name)).rules] == ["my-documents-read"]


def test_every_link_leads_to_a_file() -> None:
    assert missing_links(PAGE) == []
