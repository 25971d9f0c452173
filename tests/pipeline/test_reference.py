"""The reference data that a process judges with."""

from pathlib import Path

import polars as pl
import pytest

from tachograph.detectors.reference.reference import Reference, shipped
from tachograph.pipeline.detect.stage import declared
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.redact import Secrets
from tachograph.pipeline.reference import reference_in_force
from tachograph.pipeline.secrets import derive, operator_key
from tachograph.schemas.identity import Key

KEY = "AKIA" + "QWERTYUIOPASDFGH"


@pytest.fixture(autouse=True)
def _no_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TACHO_REFERENCE", raising=False)


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_nothing_named_is_what_is_shipped(tmp_path: Path) -> None:
    assert reference_in_force(tmp_path) is shipped()


def test_the_environment_names_paths_and_an_option_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = written(tmp_path / "one.yaml", "agents: [{id: a}]")
    two = written(tmp_path / "two.yaml", "agents: [{id: b}]")
    monkeypatch.setenv("TACHO_REFERENCE", f"{one}:{two}")
    assert [agent.id for agent in reference_in_force(tmp_path).content.agents] == ["a", "b"]
    assert [agent.id for agent in reference_in_force(tmp_path, [two]).content.agents] == ["b"]
    known = Reference.decode(declared(tmp_path).reference)
    assert known.version == reference_in_force(tmp_path).version


def test_all_problems_are_told_and_nothing_is_judged(tmp_path: Path) -> None:
    path = written(tmp_path / "x.yaml", "agents: [{ident: a}]\ntols: []\n")
    with pytest.raises(ConfigError, match=r"2 problem\(s\)(?s:.*)ident(?s:.*)tols"):
        reference_in_force(tmp_path, [path])


def test_a_canary_that_looks_like_a_key_is_kept_as_actions_show_it(tmp_path: Path) -> None:
    path = written(tmp_path / "x.yaml", f"canaries: [{{name: bait, values: [{KEY}]}}]")
    [canary] = reference_in_force(tmp_path, [path]).content.canaries
    redactor = Secrets(Key(derive(operator_key(tmp_path), "redaction")))
    token = redactor.redact(pl.Series([KEY]))[0][0]
    assert token != KEY
    assert token in canary.values
    assert KEY not in canary.values
