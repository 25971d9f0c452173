"""What each kind of source can feed."""

import io

import msgspec
import pytest

from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.ruleset import load
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.formats.registry import Formats, shipped
from tachograph.pipeline.rules.loading import Sources
from tachograph.pipeline.rules.reach import reached, run_reach

RULES = """
title: By the tool
id: by-tool
logsource: {product: ai_agent}
detection: {it: {tool.name: x}, condition: it}
---
title: By the ticket of a deployment
id: by-deploy
logsource: {product: ai_agent}
detection: {it: {deploy.id: x}, condition: it}
---
title: Whatever else
id: by-absence
logsource: {product: ai_agent}
detection: {it: {tool.name: x}, condition: not it}
"""


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> RuleSet:
    path = tmp_path_factory.mktemp("rules") / "rules.yml"
    path.write_text(RULES)
    return load([path], builtin=False)


def test_a_detection_is_blind_where_no_field_of_it_is_ever_filled(rules: RuleSet) -> None:
    found = {one.source: one for one in reached(rules, Formats())}
    assert set(found) == {"actions", "otlp", "claude-code", "codex", "gemini-cli", *shipped()}
    assert found["actions"].blind == []
    assert found["mcp"].blind == ["By the ticket of a deployment"]
    assert found["sarif"].blind == ["By the ticket of a deployment", "By the tool"]


def test_the_best_source_stands_first_and_numbers_add_up(rules: RuleSet) -> None:
    found = list(reached(rules, Formats()))
    assert found[0].source == "actions"
    assert all(one.can_fire + len(one.blind) == one.rules == 3 for one in found)


def test_a_source_nobody_knows_is_an_error_that_says_where_to_look() -> None:
    with pytest.raises(ConfigError, match="no source of that name"):
        run_reach(Sources(builtin=False), name="nonsense", as_json=False, sink=io.StringIO())


def test_json_is_one_object_for_a_program() -> None:
    sink = io.StringIO()
    run_reach(Sources(builtin=False), name="otlp", as_json=True, sink=sink)
    [one] = msgspec.json.decode(sink.getvalue())["sources"]
    assert (one["source"], one["rules"]) == ("otlp", 0)
