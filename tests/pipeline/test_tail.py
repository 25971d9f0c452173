import io
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl
import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.tail import Filters, tail
from tachograph.schemas import batch


def lines(settings: Settings, topic: str, filters: Filters, **options: Any) -> list[dict[str, Any]]:
    out = io.BytesIO()
    tail(settings, topic, filters, from_start=True, follow=False, out=out, **options)
    return [json.loads(line) for line in out.getvalue().splitlines()]


@pytest.fixture
def filled(any_broker: Any, settings_for: Callable[..., Settings], topic_name: str) -> Settings:
    settings = settings_for(any_broker.bootstrap_servers)
    writer = Writer(settings)
    frame = pl.DataFrame(
        {
            "event_time": [datetime(2026, 11, 22, 18, n, tzinfo=UTC) for n in range(3)],
            "tool_name": ["http_post", None, "read_file"],
            "late": [False, True, False],
        },
        schema={name: batch.COLUMNS[name] for name in ("event_time", "tool_name", "late")},
    )
    kind = {"tacho-record": b"action_batch"}
    writer.send(topic_name, batch.encode(frame), partition=0, headers=kind)
    writer.send(topic_name, b'{"severity": "high", "n": 1}', partition=0)
    writer.send(topic_name, b"\xff not json\n", partition=0)
    writer.flush()
    return settings


def test_an_action_batch_gives_a_line_an_action_and_other_records_one_each(
    filled: Settings, topic_name: str
) -> None:
    found = lines(filled, topic_name, Filters())
    assert len(found) == 5
    assert found[0]["tool_name"] == "http_post"
    assert "tool_name" not in found[1]
    assert found[3] == {"_record": None, "_partition": 0, "_offset": 1, "severity": "high", "n": 1}
    assert found[4]["_base64"]


def test_filters_compare_fields_as_text(filled: Settings, topic_name: str) -> None:
    assert [r["n"] for r in lines(filled, topic_name, Filters.parse(["severity=high"], None))] == [
        1
    ]
    assert len(lines(filled, topic_name, Filters.parse(["late=true"], "action_batch"))) == 1
    assert lines(filled, topic_name, Filters.parse(["n=2"], None)) == []


class Terminal(io.BytesIO):
    """Looks like one."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("evil", ["\x9b31m", "\u202egnp.exe", "\x7f", "\U000e0041"])
def test_a_terminal_gets_what_it_would_obey_as_escapes_and_a_file_as_it_is(
    any_broker: Any, settings_for: Callable[..., Settings], topic_name: str, evil: str
) -> None:
    settings = settings_for(any_broker.bootstrap_servers)
    writer = Writer(settings)
    writer.send(topic_name, msgspec.json.encode({"tool": evil, "größe": "ü"}), partition=0)
    writer.flush()
    terminal, file = Terminal(), io.BytesIO()
    for out in (terminal, file):
        tail(settings, topic_name, Filters(), from_start=True, follow=False, out=out)
    assert terminal.getvalue().decode().removesuffix("\n").isprintable()
    assert "ü" in terminal.getvalue().decode()
    assert evil in file.getvalue().decode()
    assert json.loads(terminal.getvalue()) == json.loads(file.getvalue())


def test_a_kind_of_record_that_the_topic_does_not_carry_is_named(settings_for: Any) -> None:
    with pytest.raises(ConfigError, match=r"--record alerts: agent\.alerts carries alert"):
        tail(settings_for("127.0.0.1:9"), "agent.alerts", Filters.parse([], "alerts"))


def test_limit_ends_the_tail(filled: Settings, topic_name: str) -> None:
    assert len(lines(filled, topic_name, Filters(), limit=2)) == 2


def test_a_filter_without_a_value_says_how_to_write_one() -> None:
    with pytest.raises(ConfigError, match="field=value"):
        Filters.parse(["severity"], None)


def test_a_raw_record_of_several_lines_gives_a_line_each(filled: Settings, topic_name: str) -> None:
    writer = Writer(filled)
    writer.send(topic_name, b'{"step": 1}\n{"step": 2}', partition=0)
    writer.flush()
    found = lines(filled, topic_name, Filters())
    assert [(row["_offset"], row["step"]) for row in found if "step" in row] == [(3, 1), (3, 2)]
