"""A person says how long ago, or when."""

from datetime import UTC, datetime

import pytest

from tachograph.pipeline.backtest.times import moment
from tachograph.pipeline.errors import ConfigError

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7d", datetime(2026, 11, 15, 18, 0, tzinfo=UTC)),
        ("90m", datetime(2026, 11, 22, 16, 30, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 8, 18, 0, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T12:00+02:00", datetime(2026, 11, 1, 10, 0, tzinfo=UTC)),
    ],
)
def test_a_moment_is_so_long_ago_or_a_time(text: str, found: datetime) -> None:
    assert moment(text, NOW, "--since") == found


@pytest.mark.parametrize("text", ["", "soon", "7", "7y", "999999w", "2026-13-01"])
def test_what_is_no_moment_names_the_option(text: str) -> None:
    with pytest.raises(ConfigError, match="--since"):
        moment(text, NOW, "--since")
