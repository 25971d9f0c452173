"""Where a question goes: the server that is named, the one that `tacho up` of this home has
started, or, when none runs, one that serves what this home holds for as long as the question takes.
"""

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.settings import CLICKHOUSE_FILE, ClickHouseSettings, Settings


@contextlib.contextmanager
def served(
    settings: Settings, environ: Mapping[str, str] | None = None
) -> Iterator[ClickHouseSettings]:
    """A ClickHouse to ask. Raises ConfigError where there is none and nothing to serve."""
    env = os.environ if environ is None else environ
    if "CLICKHOUSE_URL" in env:
        yield settings.clickhouse
        return
    noted = settings.home / CLICKHOUSE_FILE
    path = settings.home / "clickhouse"
    url = noted.read_text("ascii").strip() if noted.is_file() else settings.clickhouse.url
    if (noted.is_file() or not path.is_dir()) and _listens(url):
        yield msgspec.structs.replace(settings.clickhouse, url=url)
        return
    if not path.is_dir():
        raise ConfigError(
            f"no ClickHouse answers at {url}, and {settings.home} holds no data: start `tacho up`,"
            " or set CLICKHOUSE_URL or TACHO_HOME"
        )
    from tachograph.pipeline.migrate import Layout, apply
    from tachograph.pipeline.standins.clickhouse import EmbeddedClickHouse
    from tachograph.pipeline.store.clickhouse import Connection

    with contextlib.ExitStack() as stack:
        try:
            engine = stack.enter_context(EmbeddedClickHouse(path))
        except ConfigError:
            # Another opened it a moment before, and answers by now.
            if not noted.is_file() or not _listens(url := noted.read_text("ascii").strip()):
                raise
            yield msgspec.structs.replace(settings.clickhouse, url=url)
            return
        writer = ClickHouseSettings(
            url=engine.url, user=engine.writer_user, password=engine.writer_password
        )
        # What an older version stored has none of the newer views.
        with Connection(writer) as connection:
            apply(connection, Layout.from_env(env))
        yield ClickHouseSettings(url=engine.url)


def own_store(settings: Settings, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a question goes to the store of this home, served by somebody already or not."""
    env = os.environ if environ is None else environ
    noted = settings.home / CLICKHOUSE_FILE
    return "CLICKHOUSE_URL" not in env and (
        noted.is_file() or (settings.home / "clickhouse").is_dir()
    )


def _listens(url: str) -> bool:
    parts = urlsplit(url)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 8123), 2.0):
            return True
    except OSError:
        return False
