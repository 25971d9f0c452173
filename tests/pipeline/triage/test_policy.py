"""A policy is data: what it does not say is the default, what it says wrongly is refused."""

from pathlib import Path

import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.triage.policy import DEFAULT_WEIGHTS, Policy, load
from tachograph.pipeline.triage.stage import policy_of


def written(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def test_a_policy_file_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    text = """
    half_life_s = 60
    weights = { high = 5 }
    [[suppressions]]
    rule = "load-*"
    reason = "load test on Sunday"
    starts = 2026-11-22T00:00:00Z
    ends = 2026-11-23T00:00:00Z
    """
    policy = load(written(tmp_path, text))
    assert policy.weights == DEFAULT_WEIGHTS | {"high": 5}
    assert policy.half_life_s == 60
    assert policy.suppressions[0].reason == "load test on Sunday"


@pytest.mark.parametrize(
    "text",
    [
        "half_life_s = 0",
        "weights = { grave = 3 }",
        "weights = { high = -1 }",
        "[[suppressions]]\nrule = 'a'",
        "[[suppressions]]\nreason = ''",
        "[[suppressions]]\nreason = 'x'\nstarts = 2026-11-22T00:00:00",
        "unknown = 1",
        "half_life_s = ",
        "\x00",
    ],
)
def test_a_wrong_policy_is_refused_with_the_name_of_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"policy\.toml"):
        load(written(tmp_path, text))


def test_a_policy_file_that_is_not_there_is_refused_with_the_name_of_the_setting() -> None:
    with pytest.raises(ConfigError, match="TACHO_TRIAGE_POLICY"):
        policy_of("/nowhere/policy.toml")


def test_without_a_file_the_built_in_policy_holds() -> None:
    assert policy_of(None) == Policy()


def test_the_version_follows_from_the_content() -> None:
    assert Policy().version == Policy().version
    assert Policy().version != Policy(half_life_s=1).version
    assert Policy(name="strict").version.startswith("strict/")
