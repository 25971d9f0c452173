"""`tacho` by itself, whatever its verbs do."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from tachograph.pipeline import cli
from tachograph.pipeline.help_sections import Section
from tachograph.pipeline.verbs import app

# What takes a second to import, and a verb imports when it runs.
HEAVY = ("polars", "numpy", "sklearn", "confluent_kafka", "clickhouse_connect", "sigma", "faust")


def test_help_comes_without_what_only_verbs_need() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, tachograph.pipeline.verbs; print(*sys.modules.keys() & set(sys.argv))",
            *HEAVY,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.split() == []


def test_every_verb_stands_in_the_help_once_under_a_heading() -> None:
    said = CliRunner().invoke(app, ["--help"]).output
    listed = [line.split()[0] for line in said.splitlines() if line.startswith("  ")]

    commands = typer.main.get_group(app).commands
    assert {name: listed.count(name) for name in commands} == dict.fromkeys(commands, 1)
    assert [f"{section}:" in said for section in Section] == [True] * len(Section)


@pytest.mark.parametrize(
    "words", [["up", "--door-port"], ["up", "--clickhouse-port"], ["clickhouse", "--port"]]
)
def test_a_number_that_is_no_port_is_a_mistaken_option(words: list[str]) -> None:
    said = CliRunner().invoke(app, [*words, "99999"])
    assert said.exit_code == 2
    assert words[-1] in said.output
    assert "65535" in said.output


def test_without_a_key_or_a_destination_it_says_where_one_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TACHO_HOME", str(tmp_path))
    monkeypatch.delenv("TACHO_FORWARD_CONFIG", raising=False)
    keys = CliRunner().invoke(app, ["keys", "list"])
    ring = tmp_path / "notary_keys.ndjson"
    said = f"No key in {ring}: the notary makes one when it first starts.\n"
    assert (keys.exit_code, keys.stdout, keys.stderr) == (0, "", said)
    destinations = CliRunner().invoke(app, ["forward", "list"])
    assert (destinations.exit_code, destinations.stdout) == (0, "")
    assert f"write {tmp_path}/forward.yaml" in destinations.stderr


def test_the_version_is_that_of_the_package() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert (said.exit_code, said.output) == (0, f"tacho {version('tachograph')}\n")


def test_stages_that_go_by_the_short_way_are_verbs_without_options() -> None:
    commands = typer.main.get_group(app).commands
    assert [commands[name].params for name in cli.STAGES] == [[]] * len(cli.STAGES)


def test_a_reader_who_goes_away_ends_a_scan_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "rule.yml").write_text(
        "title: Any\nlogsource: {category: any}\ndetection: {s: {a: b}, condition: s}\n"
    )
    (tmp_path / "events.ndjson").write_bytes(b'{"a": "b"}\n' * 10_000)
    with subprocess.Popen(
        [sys.executable, "-m", "tachograph.pipeline.cli", "scan", "--format", "raw",
         "--no-builtin", "--rules", "rule.yml", "events.ndjson"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as scan:  # fmt: skip
        assert scan.stdout is not None
        assert scan.stderr is not None
        scan.stdout.close()
        assert (scan.stderr.read(), scan.wait()) == (b"", 1)
