"""Settings that point a stage at a test's broker and folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tachograph.pipeline.settings import ClickHouseSettings, KafkaSettings, Settings


@pytest.fixture
def settings_for(tmp_path: Path) -> Callable[..., Settings]:
    """Make settings for a broker; the home folder is the test's own."""

    def make(
        bootstrap: str, clickhouse_url: str = "http://127.0.0.1:9", **clickhouse: Any
    ) -> Settings:
        return Settings(
            kafka=KafkaSettings(bootstrap=bootstrap),
            clickhouse=ClickHouseSettings(url=clickhouse_url, **clickhouse),
            home=tmp_path / "home",
        )

    return make
