"""`tacho schema` prints what is committed and names what there is."""

import json

import typer
from typer.testing import CliRunner

from tachograph.pipeline.schema_command import schema
from tachograph.schemas import contracts

APP = typer.Typer()
APP.command()(schema)


def test_the_list_has_every_record_on_every_topic() -> None:
    answer = CliRunner().invoke(APP, ["--list"])
    assert answer.exit_code == 0
    rows = {tuple(line.split()[:2]) for line in answer.output.splitlines()[1:]}
    expected = {(r.record, t.topic) for t in contracts.topics().values() for r in t.records}
    assert rows == expected
    assert CliRunner().invoke(APP, []).output == answer.output


def test_a_schema_is_printed_as_it_is_committed() -> None:
    answer = CliRunner().invoke(APP, ["alert"])
    assert answer.exit_code == 0
    assert json.loads(answer.output)["title"] == "alert"
    assert answer.output.encode() == contracts.json_schema("alert")


def test_an_unknown_record_is_an_error_that_names_the_known_ones() -> None:
    answer = CliRunner().invoke(APP, ["weather"])
    assert answer.exit_code == 2
    assert "signal_group" in answer.output


def test_a_format_of_someone_elses_has_no_schema_here() -> None:
    assert CliRunner().invoke(APP, ["otlp_spans"]).exit_code == 2
