"""docs/investigation.md names verbs and limits as they are."""

import re

import pytest
from typer.testing import CliRunner

from tachograph.pipeline.store import tables_questions as rules
from tachograph.pipeline.triage import gathering, glimpse, joining, membership
from tachograph.pipeline.verbs import app
from tests.transcripts import ROOT, missing_links

PAGE = ROOT / "docs" / "investigation.md"
TEXT = PAGE.read_text("utf-8")
VERBS = sorted({tuple(found.split()) for found in re.findall(
    r"^tacho ((?:alert close|rules quality|incident|alert|session|agent|query))", TEXT, re.MULTILINE
)})  # fmt: skip


def test_the_page_shows_every_verb_of_an_investigation() -> None:
    assert len(VERBS) == 7


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_that_the_page_shows_is_there(verb: tuple[str, ...]) -> None:
    assert CliRunner().invoke(app, [*verb, "--help"]).exit_code == 0


def test_the_limits_are_those_of_the_code() -> None:
    flat = " ".join(TEXT.split())
    assert f"an incident takes at most {joining.MAX_ALERTS:,} alerts" in flat
    assert joining.GAP_US == 3_600_000_000
    assert "not more than an hour lies between them" in flat
    assert f"in more than {joining.USUAL_HOURS} different hours" in flat
    assert f"(longer than {glimpse.MIN_TEXT_CHARS} characters)" in flat
    assert f"at most {glimpse.MAX_GLIMPSES} contexts of its agents" in flat
    assert f"and {membership.MAX_OF_A_KIND} values of a kind" in flat
    assert f"It holds {gathering.MAX_MEMBERS:,} alerts a partition" in flat
    assert f"from a precision of {rules.KEEP_FROM} it is kept" in flat
    assert f"below {rules.RETIRE_BELOW}, once ten are judged" in flat
    assert (rules.DECIDED_ENOUGH, rules.DECIDED_TO_RETIRE) == (5, 10)


def test_every_link_leads_to_a_file() -> None:
    assert missing_links(PAGE) == []
