"""`tacho query` as a person types it."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from typer.testing import CliRunner, Result

from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.query.command import FORMATS
from tachograph.pipeline.query.hunts import hunts
from tachograph.pipeline.query.place import served
from tachograph.pipeline.query.reader import LIMITS, Reader
from tachograph.pipeline.settings import CLICKHOUSE_FILE, ClickHouseSettings, Settings
from tachograph.pipeline.standins import clickhouse
from tachograph.pipeline.verbs import app
from tests.warehouse import environment

Query = Callable[..., Result]


@pytest.fixture
def query(world: ClickHouseSettings) -> Query:
    def run(*words: str, stdin: str | None = None) -> Result:
        asked = {**environment(world), "COLUMNS": "120"}
        return CliRunner().invoke(app, ["query", *words], env=asked, input=stdin)

    return run


def rows(result: Result) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(result.output)
    return found


def test_the_list_says_of_each_hunt_what_a_program_needs_to_run_it(query: Query) -> None:
    listed = rows(query("--list", "--format", "json"))
    assert [one["name"] for one in listed] == list(hunts())
    for one in listed:
        assert one["description"]
        for parameter in one["parameters"]:  # type: ignore[attr-defined]
            assert set(parameter) == {"name", "type", "default", "description"}
    assert "action-rates" in query("--list").output


def test_one_result_comes_in_every_format(query: Query, tmp_path: Path) -> None:
    hunt = ("agent-tools", "-p", "agent=billing-helper")
    wanted = rows(query(*hunt, "--format", "json"))
    assert {row["tool_name"] for row in wanted} == {"read_file", "read_mail", "http_post"}
    lines = query(*hunt, "--format", "ndjson").output.splitlines()
    assert [json.loads(line) for line in lines] == wanted
    table = list(csv.DictReader(io.StringIO(query(*hunt, "--format", "csv").output)))
    assert [row["tool_name"] for row in table] == [row["tool_name"] for row in wanted]
    file = tmp_path / "out.parquet"
    assert query(*hunt, "--format", "parquet", "-o", str(file)).exit_code == 0
    assert pl.read_parquet(file)["calls"].to_list() == [row["calls"] for row in wanted]
    assert "http_post" in query(*hunt).output


def test_nothing_found_is_an_empty_result_in_every_format(query: Query) -> None:
    hunt = ("agent-tools", "-p", "agent=nobody")
    assert rows(query(*hunt, "--format", "json")) == []
    assert query(*hunt, "--format", "ndjson").output == ""
    assert query(*hunt).output.startswith("no rows (agent_id, ")


def test_plain_sql_is_asked_from_the_command_line_or_standard_input(query: Query) -> None:
    sql = "SELECT uniqExact(session_id) AS n FROM tacho.actions WHERE agent_id = {a:String}"
    asked = query(sql, "-p", "a=release-bot", "--format", "json")
    assert rows(asked) == [{"n": 2}]
    piped = query("-", "-p", "a=release-bot", "--format", "json", stdin=sql)
    assert rows(piped) == [{"n": 2}]


def test_the_text_of_a_hunt_can_be_taken_to_another_client(query: Query) -> None:
    assert query("bursts", "--sql").output == hunts()["bursts"].sql + "\n"


def test_a_table_says_when_there_is_more(query: Query) -> None:
    assert "more than 3 rows" in query("SELECT number FROM numbers(9)", "--limit", "3").output
    assert "more than" not in query("SELECT number FROM numbers(3)", "--limit", "3").output


def test_a_plot_shows_the_curve_and_its_names(query: Query) -> None:
    shown = query("action-rates", "--plot").output
    assert "actions over time" in shown
    assert "■ report-bot" in shown
    shown = query("SELECT number AS x, x * x AS y FROM numbers(9)", "--plot-columns", "x,y").output
    assert "y over x" in shown
    assert "64 │" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "tacho query --list"),
        (("alert-rate",), "alert-rates"),
        (("alerts-open", "-p", "days=3"), "it has hours"),
        (("alerts-open", "--format", "xml"), "table, json, ndjson, csv, parquet"),
        (("--list", "--format", "csv"), "table, json or ndjson"),
        (("alerts-open", "--plot"), "--plot-columns"),
        (("SELECT 1 AS a, 2 AS b", "--plot-columns", "a"), "x,y"),
        (("SELECT 1 AS a, 2 AS b", "--plot-columns", "a,c"), "no column c"),
        (("SELECT 'x' AS a, 2 AS b", "--plot-columns", "a,b"), "neither numbers nor times"),
        (("SELECT 1 FORMAT Vertical",), "leave FORMAT out"),
        (("SELECT 1 AS a", "--format", "csv", "-o", "/nowhere/x"), "-o /nowhere/x"),
    ],
)
def test_what_cannot_be_done_says_what_to_do(
    query: Query, words: tuple[str, ...], said: str
) -> None:
    error = query(*words).exception
    assert isinstance(error, ConfigError)
    assert said in str(error)


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT nothing FROM tacho.actions", "DESCRIBE TABLE"),
        ("SELECT 1 FROM tacho.action", "SHOW TABLES"),
        ("DROP TABLE tacho.actions_data", "readonly"),
        ("INSERT INTO tacho.actions_data (tenant) VALUES ('x')", "readonly"),
        ("SELECT * FROM url('http://127.0.0.1/x', 'CSV', 'a String')", "ClickHouse: "),
        ("SELECT {a:UInt8} AS x", "cannot be parsed as UInt8"),
    ],
)
def test_what_the_server_refuses_is_told_in_its_words(query: Query, sql: str, said: str) -> None:
    error = query(sql, *(["-p", "a=x"] if "{a" in sql else [])).exception
    assert isinstance(error, Refused)
    assert said in str(error)


def test_what_an_agent_wrote_cannot_speak_to_the_terminal(query: Query) -> None:
    sql = "SELECT title FROM tacho.alerts WHERE agent_id = 'billing-helper'"
    assert "\x1b" not in query(sql).output
    assert "<script>" in query(sql).output, "shown as it is, for a terminal knows no markup"
    shown = query("SELECT '[bold]x[/]' AS `[red]a`").output
    assert "[bold]x[/]" in shown
    assert "[red]a" in shown


def test_an_account_that_may_write_is_sent_as_a_reader_within_limits(
    world_writer: ClickHouseSettings,
) -> None:
    with Reader(world_writer) as reader:
        names = ", ".join(f"getSetting('{name}') AS {name}" for name in LIMITS)
        [row] = reader.rows(f"SELECT {names}")
        assert {name: str(value) for name, value in row.items()} == {
            name: str(value) for name, value in LIMITS.items()
        }
        with pytest.raises(Refused, match="readonly"):
            reader.rows("TRUNCATE TABLE tacho.actions_data")


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match="does not answer"):
        Reader(ClickHouseSettings(url="http://127.0.0.1:9"))
    settings = Settings.from_env({"TACHO_HOME": str(tmp_path)})
    closed = Settings.from_env(
        {"TACHO_HOME": str(tmp_path), "CLICKHOUSE_URL": "http://127.0.0.1:9"}
    )
    with pytest.raises(ConfigError, match="holds no data"), served(closed, {}):
        pass
    with served(settings, {"CLICKHOUSE_URL": "x"}) as place:
        assert place == settings.clickhouse


def test_who_finds_the_store_open_asks_the_server_that_has_it(
    tmp_path: Path, world: ClickHouseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clickhouse").mkdir()

    def opened_meanwhile(_: Path) -> None:
        (tmp_path / CLICKHOUSE_FILE).write_text(world.url, "ascii")
        raise ConfigError("open in another process")

    monkeypatch.setattr(clickhouse, "EmbeddedClickHouse", opened_meanwhile)
    settings = Settings.from_env({"TACHO_HOME": str(tmp_path)})
    with served(settings, {}) as place:
        assert place.url == world.url


def test_there_are_the_formats_that_the_help_names() -> None:
    assert list(FORMATS) == ["table", "json", "ndjson", "csv", "parquet"]
