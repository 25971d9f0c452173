"""docs/sigma.md and docs/agent-threat-rules.md say what there is: what their tables name loads, and
nothing is left out.
"""

import re
from pathlib import Path

import pytest
from sigma.modifiers import modifier_mapping

from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.pipelines import read_pipelines
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleErrors, build
from tests.detectors.made import stateless

DOCS = Path(__file__).parents[3] / "docs"
SIGMA = (DOCS / "sigma.md").read_text(encoding="utf-8")
ATR = (DOCS / "agent-threat-rules.md").read_text(encoding="utf-8")
# Names that the library has beside those of the specification, and one that it lacks.
_LONG_NAMES = {"dotall", "ignorecase", "multiline"}
_OTHER_NAME = {"utf16le"}


def rows(page: str, heading: str, table: int = 0) -> list[list[str]]:
    """The rows of a table below a heading."""
    section = page[page.index(f"## {heading}") :].split("\n## ", maxsplit=1)[0]
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    lines = tables[table].splitlines()[2:]
    return [
        [cell.replace("\\|", "|") for cell in re.split(r" \| ", line.strip("| "))] for line in lines
    ]


def named(cell: str) -> set[str]:
    """What stands in code."""
    return set(re.findall(r"`([^`]+)`", cell))


def atr_rule(source: str, field: str) -> str:
    condition = f"{{field: {field}, operator: contains, value: x}}"
    return (
        f"title: t\nid: i\nagent_source: {{type: {source}}}\n"
        f"detection: {{condition: any, conditions: [{condition}]}}\n"
    )


MODIFIERS = rows(SIGMA, "Modifiers")


def test_all_modifiers_are_named_and_no_other() -> None:
    found = {name for modifiers, asks, _ in MODIFIERS for name in named(modifiers)}
    found |= {name for _, asks, _ in MODIFIERS for name in named(asks) if name in "ims"}
    assert found == (set(modifier_mapping) - _LONG_NAMES) | _OTHER_NAME


@pytest.mark.parametrize("item", [row[2].strip("`") for row in MODIFIERS])
def test_every_item_shown_loads(item: str) -> None:
    pipelines, problems = read_pipelines([], {"admins": ["root"]})
    assert problems == []
    text = stateless(f"  s:\n    {item}\n  condition: s")
    assert len(build(parse(text, "made.yml"), fields=RAW, pipelines=pipelines).rules) == 1


def test_the_pipeline_and_the_filter_shown_are_sound(tmp_path: Path) -> None:
    pipeline, shown = re.findall(r"```yaml\n(.*?)```", SIGMA, re.DOTALL)
    file = tmp_path / "ours.yml"
    file.write_text(pipeline)
    pipelines, problems = read_pipelines([file])
    assert problems == []
    text = stateless("  s: {function_name: x}\n  condition: s")
    rule = text.replace("category: any", "product: ai_agent")
    found = build(parse(f"{rule}\n---\n{shown}", "made.yml"), pipelines=pipelines)
    assert found.detections[0].fields == ["tool.name", "agent.id"]


def test_all_sources_of_agent_threat_rules_are_named_and_no_other() -> None:
    found = {name for row in rows(ATR, "What its fields mean") for name in named(row[0])}
    with pytest.raises(RuleErrors, match="is none of") as caught:
        build(parse(atr_rule("satellite", "content"), "made.yml"))
    assert ", ".join(sorted(found)) in str(caught.value)


@pytest.mark.parametrize(
    "field",
    sorted({name for row in rows(ATR, "What its fields mean", 1) for name in named(row[0])}),
)
def test_every_field_of_agent_threat_rules_named_is_a_text_or_a_name(field: str) -> None:
    found = build(parse(atr_rule("llm_io", field), "made.yml"))
    assert all(re.match(r"text\.|tool\.name", name) for name in found.detections[0].fields)
