"""Templates: JSON of the operator's own shape, which no value can leave."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.forward.config import load
from tachograph.pipeline.forward.formats import template
from tachograph.pipeline.settings import Settings
from tests.pipeline.forward import alerts

PAGE = Path("docs/siem.md").resolve()


def filled(shape: Any, **changes: Any) -> Any:
    return json.loads(template.render(alerts.alert(1, **changes), template=shape))


def test_texts_are_filled_and_a_lone_name_keeps_its_type() -> None:
    shape = {"a": "[${severity}] ${title}!", "n": "${risk_points}", "l": ["${risk_categories}", 7]}
    assert filled(shape, title="t", risk_categories=["governance"]) == {
        "a": "[high] t!", "n": 12, "l": [["governance"], 7],
    }  # fmt: skip


def test_a_field_that_the_alert_has_not_is_an_empty_text() -> None:
    assert filled({"a": "${agent_name}", "b": "x${owner_team}y"}) == {"a": "", "b": "xy"}


@given(text=st.text(st.characters(), max_size=60))
def test_no_value_leaves_its_text_or_is_read_as_a_template(text: str) -> None:
    clean = text.encode("utf-8", "replace").decode()
    got = filled({"a": "<${title}>", "b": "${title}"}, title=text + "${tenant}")
    assert got == {"a": f"<{clean}${{tenant}}>", "b": clean + "${tenant}"}


def test_a_name_that_is_none_is_told_and_so_is_a_nesting_without_end() -> None:
    assert template.problems({"a": ["${titel} ${secret}", "${title}"]}) == [
        "${secret} is no field",
        "${titel} is no field",
    ]
    deep: Any = "x"
    for _ in range(20):
        deep = [deep]
    assert template.problems(deep) == ["nested deeper than 16"]
    assert template.problems(template.DEFAULT) == []


def test_every_name_is_filled_for_the_example() -> None:
    example = alerts.examples()["secret_sent_outside"]
    shape = {name: f"${{{name}}}" for name in template.names()}
    got = json.loads(template.render(example, template=shape))
    assert set(got) == template.names()
    assert got["rule_title"] == "Secret read, then sent outside"
    assert got["state"]["agent_id"] == "billing-helper"


CONFIG = """
destinations:
  - name: teams
    type: webhook
    url: https://hooks.example/x
    unsigned: true
    format: template
    template_file: {file}
"""


def test_the_template_shown_is_valid_and_a_wrong_one_stops_the_start(tmp_path: Path) -> None:
    [shown] = re.findall(r"```json\n(\{.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    file = tmp_path / "teams.json"
    (tmp_path / "forward.yaml").write_text(CONFIG.format(file=file))
    settings = Settings.from_env({"TACHO_HOME": str(tmp_path)})
    file.write_text(shown)
    [found] = load(settings, environ={})
    body = found.format.render(alerts.alert(1), **found.type.render_options(found.options))
    card = json.loads(body)["attachments"][0]["content"]
    assert card["body"][0]["text"] == f"[high] {alerts.alert(1).title}"
    assert card["body"][1]["facts"][1] == {"title": "Rule", "value": "secret-then-egress"}
    file.write_text('{"a": "${nothing}"}')
    with pytest.raises(ConfigError, match=r"\$\{nothing\} is no field"):
        load(settings, environ={})
    file.write_text("{")
    with pytest.raises(ConfigError, match="is no JSON"):
        load(settings, environ={})
    (tmp_path / "forward.yaml").write_text(CONFIG.format(file=file).replace("template\n", "ocsf\n"))
    with pytest.raises(ConfigError, match="go together"):
        load(settings, environ={})
