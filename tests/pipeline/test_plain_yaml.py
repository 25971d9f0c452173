"""YAML of a person's, read within what it may grow to."""

from pathlib import Path

import pytest
import yaml

from tachograph.pipeline import plain_yaml
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.forward import config
from tachograph.pipeline.normalize.formats.mapping import BadMapping, load
from tachograph.pipeline.settings import Settings


def doubled(levels: int, line: str) -> str:
    """Each level holds the one before it ten times."""
    lines = ["x0: &x0 {k: v}"]
    for level in range(1, levels + 1):
        below = ", ".join([f"*x{level - 1}"] * 10)
        lines.append(f"x{level}: &x{level} {line % below}")
    return "\n".join(lines)


def test_aliases_stand_for_what_their_anchor_holds() -> None:
    text = "a: &a {x: 1, y: [2]}\nb: *a\nc: {<<: *a, x: 3}"
    found = plain_yaml.loaded(text)
    assert found == {"a": {"x": 1, "y": [2]}, "b": {"x": 1, "y": [2]}, "c": {"x": 3, "y": [2]}}


@pytest.mark.parametrize("line", ["[%s]", "{<<: [%s]}"], ids=["lists", "merges"])
def test_aliases_of_aliases_that_would_fill_the_memory_are_refused(line: str) -> None:
    assert plain_yaml.loaded(doubled(3, line))
    with pytest.raises(yaml.YAMLError, match="with its aliases written out"):
        plain_yaml.loaded(doubled(8, line))


def test_a_document_within_itself_is_refused() -> None:
    with pytest.raises(yaml.YAMLError, match="with its aliases written out"):
        plain_yaml.loaded("a: &a [*a]")


def test_an_empty_document_is_none() -> None:
    assert plain_yaml.loaded("# nothing") is None


def test_a_mapping_file_of_such_aliases_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    path.write_text(doubled(8, "[%s]") + "\nname: bomb\ntitle: t\nactions: *x8\n")
    with pytest.raises(BadMapping, match=r"bomb\.yaml: with its aliases written out"):
        load(path)


@pytest.mark.parametrize("text", ["a: 2026-99-99", "a: [", "\ud800"])
def test_what_is_no_yaml_is_said_of_a_mapping_file_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadMapping, match=r"bad\.yaml: "):
        load(path)


def test_destinations_with_such_aliases_are_refused(tmp_path: Path) -> None:
    (tmp_path / "forward.yaml").write_text(doubled(8, "[%s]") + "\ndestinations: *x8\n")
    with pytest.raises(ConfigError, match="with its aliases written out"):
        config.load(Settings.from_env({"TACHO_HOME": str(tmp_path)}), environ={})
