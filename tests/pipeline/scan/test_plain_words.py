"""The short way into a scan asks what Typer would."""

import msgspec
import pytest
import typer.main
from typer.testing import CliRunner

from tachograph.pipeline import verbs
from tachograph.pipeline.scan import command, plain_words

PLAIN = [
    ["a.ndjson"],
    ["-"],
    ["a.ndjson", "b.ndjson", "--format", "raw"],
    ["--format", "raw", "--no-builtin", "--rules", "rules", "--rules", "more.yml", "a.ndjson"],
    ["a.ndjson", "--rules", "one.yml", "two.yml"],
    ["a.ndjson", "--builtin", "--no-builtin", "--builtin"],
    ["a.ndjson", "--tuning", "t.yml", "--pipeline", "p.yml", "--pipeline", "endpoint"],
    ["a.ndjson", "--reference", "r", "--mapping", "m.yml", "--time-field", "when"],
    ["a.ndjson", "--model", "m.skops", "-o", "found", "--format-out", "table"],
    ["a.ndjson", "--out", "found", "--fail-on", "high"],
]
FOR_TYPER = [
    [],
    ["--help"],
    ["a.ndjson", "--rules"],
    ["a.ndjson", "--rules", "--no-builtin"],
    ["a.ndjson", "--format=raw"],
    ["a.ndjson", "--nosuch", "1"],
    ["a.ndjson", "-ofound"],
    ["a.ndjson", "--format", "raw", "--format", "otlp"],
    ["a.ndjson", "--format", ""],
    ["--", "a.ndjson"],
]


@pytest.mark.parametrize("words", PLAIN)
def test_plain_words_mean_what_they_mean_to_typer(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[command.Options] = []

    def noted(options: command.Options) -> int:
        asked.append(options)
        return 0

    monkeypatch.setattr(command, "run_scan", noted)
    assert CliRunner().invoke(verbs.app, ["scan", *words]).exit_code == 0
    found = plain_words.options_of(words, {})
    assert found is not None
    assert [msgspec.convert(found, command.Options).sorted_out()] == asked


@pytest.mark.parametrize("words", FOR_TYPER)
def test_what_is_not_plain_is_left_to_typer(words: list[str]) -> None:
    assert plain_words.options_of(words, {}) is None


def test_an_option_that_the_environment_sets_is_left_to_typer() -> None:
    asked = typer.main.get_group(verbs.app).commands["scan"].params
    assert {param.envvar for param in asked if param.envvar} == set(plain_words.VARIABLES)
    for name in plain_words.VARIABLES:
        assert plain_words.options_of(["a.ndjson"], {name: "x"}) is None


def test_every_option_of_a_scan_is_known() -> None:
    asked = typer.main.get_group(verbs.app).commands["scan"].params
    words = {
        word
        for param in asked
        if param.param_type_name == "option"
        for word in (*param.opts, *param.secondary_opts)
    }
    known = {*plain_words.PATHS, *plain_words.LISTS, *plain_words.TEXTS, *plain_words.SWITCHES}
    assert words - {"--help"} == known
