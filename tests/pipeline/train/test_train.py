"""`tacho train` on files and on what is stored: one engine, one model."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tachograph.detectors.behaviour.model import decode
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.train.budget import per_agent_day
from tachograph.pipeline.train.command import Asked, run_train
from tachograph.schemas.identity import plain_id
from tests.detectors.made import frame
from tests.pipeline.stored import Store

NOW = datetime(2026, 11, 20, tzinfo=UTC)
HOURS = 24


def work(hours: int = HOURS, agents: int = 4) -> list[dict[str, Any]]:
    """Calls of agents that do something in every ten minutes of every hour."""
    rng = np.random.default_rng(3)
    found = []
    for agent in range(agents):
        for at_s in np.arange(agent, hours * 3600, 240):
            for call in range(int(rng.integers(1, 4))):
                moment = NOW - timedelta(hours=hours) + timedelta(seconds=float(at_s) + call)
                found.append(
                    {
                        "producer_id": plain_id(str(agent), str(at_s), str(call)),
                        "event_time": moment.isoformat(),
                        "kind": "tool_call",
                        "agent_id": f"agent-{agent}",
                        "session_id": f"s-{agent}",
                        "tool_name": f"tool_{rng.integers(0, 3)}",
                        "target_domain": f"host-{rng.integers(0, 4)}.example",
                    }
                )
    return found


def written(path: Path, actions: list[dict[str, Any]]) -> Path:
    path.write_bytes(b"\n".join(msgspec.json.encode(one) for one in actions))
    return path


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TACHO_HOME", str(tmp_path / "home"))
    return tmp_path


def trained(files: list[Path], out: Path, budget: str = "1/agent/day") -> str:
    sink = io.StringIO()
    run_train(Asked(files=files, budget=budget, out=out), as_json=False, now=NOW, sink=sink)
    return sink.getvalue()


def test_a_file_with_repeats_and_shuffled_parts_of_it_make_the_same_model(tmp_path: Path) -> None:
    actions = work()
    whole = written(tmp_path / "whole.ndjson", [*actions, *actions[-500:]])
    said = trained([whole], tmp_path / "a.skops")
    order = np.random.default_rng(1).permutation(len(actions))
    mixed = [actions[at] for at in order]
    parts = [
        written(tmp_path / "one.ndjson", mixed[:1500]),
        written(tmp_path / "two.ndjson", mixed[1500:]),
    ]
    trained(parts, tmp_path / "b.skops")
    first, second = (decode((tmp_path / name).read_bytes()) for name in ("a.skops", "b.skops"))
    assert (first.card.honest, first.card.bar) == (second.card.honest, second.card.bar)
    assert first.card.data["actions"] == len(actions) == second.card.data["actions"]
    assert f"model {first.version}" in said
    card = msgspec.json.decode((tmp_path / "a.json").read_bytes())
    assert (card["version"], card["budget_per_agent_day"]) == (first.version, 1.0)
    assert card["data"]["files"] == ["whole.ndjson"]


def test_too_little_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    some = written(tmp_path / "some.ndjson", work()[:40])
    with pytest.raises(ConfigError, match="known long enough"):
        trained([some], tmp_path / "none.skops")
    raw = written(tmp_path / "raw.ndjson", [{"a": 1}])
    with pytest.raises(ConfigError, match="holds no actions"):
        trained([raw], tmp_path / "none.skops")
    with pytest.raises(ConfigError, match="is no file"):
        trained([tmp_path / "absent"], tmp_path / "none.skops")
    assert not list(tmp_path.glob("none.*"))


def test_a_budget_is_read_as_people_write_it() -> None:
    assert per_agent_day("1/agent/day") == 1.0
    assert per_agent_day(" .5 / agent / hour") == 12.0
    assert per_agent_day("7/agent/week") == pytest.approx(1.0)
    for wrong in ("1", "0/agent/day", "1/day", "-1/agent/day", "1/agent/year"):
        with pytest.raises(ConfigError, match="--budget"):
            per_agent_day(wrong)


def test_what_clickhouse_has_makes_the_model_that_the_file_makes(
    clickhouse: ClickHouseSettings, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actions = work()
    trained([written(tmp_path / "file.ndjson", actions)], tmp_path / "file.skops")
    rows = [
        {
            **{name: value for name, value in one.items() if name != "producer_id"},
            "event_id": one["producer_id"],
            "event_time": datetime.fromisoformat(one["event_time"]).timestamp(),
            "partition_key": one["agent_id"],
        }
        for one in actions
    ]
    store(frame(rows))
    for name in ("url", "user", "password"):
        monkeypatch.setenv(f"CLICKHOUSE_{name.upper()}", getattr(clickhouse, name))
    asked = Asked(since="2d", budget="1/agent/day", out=tmp_path / "stored.skops")
    run_train(asked, as_json=True, now=NOW, sink=io.StringIO())
    file, stored = (
        decode((tmp_path / f"{name}.skops").read_bytes()) for name in ("file", "stored")
    )
    assert stored.card.data["source"] == "ClickHouse"
    assert stored.card.data["actions"] == len(actions)
    assert (stored.card.honest, stored.card.bar) == (file.card.honest, file.card.bar)
