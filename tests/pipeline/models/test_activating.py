"""Models are put in force in the log, live or in the shadow, and every process reads the same."""

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tachograph.detectors.behaviour.features import PANE_US
from tachograph.detectors.behaviour.model import Model
from tachograph.detectors.language.bundle import bundle_of
from tachograph.detectors.reference.reference import shipped
from tachograph.pipeline.clock import to_us
from tachograph.pipeline.config_log import CONFIG_TOPIC, publish
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.in_force import Content, InForce
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.models.activating import Asked, run_activate, run_list
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.standins.broker import MockBroker
from tachograph.schemas.records import Activation
from tests.pipeline.test_silences import RULE

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
SOON = NOW + timedelta(seconds=15)


@pytest.fixture
def settings(settings_for: Callable[..., Settings]) -> Iterator[Settings]:
    """Settings for a broker of this test alone: the topic has a fixed name."""
    with MockBroker() as broker:
        yield settings_for(broker.bootstrap_servers)


def clock() -> int:
    return to_us(NOW)


def activated(settings: Settings, path: Path | None, **asked: Any) -> str:
    sink = io.StringIO()
    run_activate(Asked(path=path, **asked), settings, sink=sink, clock=clock)
    return sink.getvalue()


def listed(settings: Settings, at: datetime) -> list[dict[str, Any]]:
    sink = io.StringIO()
    run_list(settings, as_json=True, sink=sink, clock=lambda: to_us(at))
    found: list[dict[str, Any]] = msgspec.json.decode(sink.getvalue())
    return found


def in_force(settings: Settings, folder: Path) -> InForce:
    rule = folder / "rule.yml"
    rule.write_text(RULE)
    content = Content.of(bundle_of([rule], builtin=False), shipped())
    return InForce(settings, Writer(settings), content, clock)


def judging(in_force: InForce, moment: datetime) -> dict[bool, str]:
    """By which model, live and in the shadow, a window that ends then is judged."""
    ends = np.array([to_us(moment) // PANE_US])
    return {
        shadow: model.version
        for model, shadow, own in in_force.models.models.judging(ends)
        if own.any()
    }


def test_a_model_holds_from_its_time_on_until_it_is_taken_out(
    settings: Settings, path: Path, model: Model, tmp_path: Path
) -> None:
    said = activated(settings, path, note="first")
    assert said.startswith(f"model {model.version} (")
    assert said.endswith("in force from 2026-11-24T12:00:15Z on.\n")
    activated(settings, path, shadow=True, at="2026-11-24T13:00:00+00:00")
    process = in_force(settings, tmp_path)
    try:
        assert judging(process, NOW) == {}
        assert judging(process, SOON + timedelta(seconds=10)) == {False: model.version}
        both = {False: model.version, True: model.version}
        assert judging(process, NOW + timedelta(hours=2)) == both
        before = process.models.models
        activated(settings, None, at="2026-11-24T14:00:00+00:00")
        while process.models.models is before:
            process.news()
        assert judging(process, NOW + timedelta(hours=3)) == {True: model.version}
        assert judging(process, NOW + timedelta(hours=1, minutes=30)) == both
    finally:
        process.close()
    rows = listed(settings, NOW + timedelta(hours=2, minutes=30))
    assert [(row["way"], row["in_force"], row["model"]) for row in rows] == [
        ("live", False, model.version), ("live", True, "-"), ("shadow", True, model.version),
    ]  # fmt: skip
    assert rows[0]["note"] == "first"


def test_what_cannot_be_read_is_never_said(settings: Settings, tmp_path: Path) -> None:
    broken = tmp_path / "broken.skops"
    broken.write_bytes(b"no model")
    with pytest.raises(ConfigError, match="no model of behaviour"):
        activated(settings, broken)
    with pytest.raises(ConfigError, match="cannot be read"):
        activated(settings, tmp_path / "absent")
    with pytest.raises(ConfigError, match="at least 10 s ahead"):
        activated(settings, None, at="2026-11-24T12:00:01+00:00")
    Writer(settings).partitions(CONFIG_TOPIC)
    assert listed(settings, NOW) == []


def test_a_content_that_is_no_model_is_told_and_what_held_before_stays(
    settings: Settings, path: Path, model: Model, tmp_path: Path
) -> None:
    activated(settings, path)
    writer = Writer(settings)
    activation = Activation(
        subject="model", name="behaviour", tenant="*", content_hash="f" * 32,
        effective_from=NOW + timedelta(hours=1),
    )  # fmt: skip
    writer.partitions(CONFIG_TOPIC)
    publish(writer, activation, b"something else")
    writer.flush()
    process = in_force(settings, tmp_path)
    try:
        assert judging(process, NOW + timedelta(hours=2)) == {False: model.version}
        assert list(process.models.refused) == ["f" * 32]
    finally:
        process.close()
