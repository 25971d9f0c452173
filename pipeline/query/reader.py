"""Asking ClickHouse as a reader: read-only, within limits, results as they come.

An account that is read-only itself is held to the limits that its server sets; for any other the
query is sent as read-only with the limits below.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Self

import clickhouse_connect
import msgspec
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from tachograph.pipeline.errors import ConfigError, Refused, RetryLater, TachoError
from tachograph.pipeline.query.hunts import placeholders
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.store.clickhouse import (
    CONNECT_TIMEOUT_S,
    address,
    mapped,
    pool_manager,
    unreached,
)

LIMITS = {
    "readonly": 1,
    "max_execution_time": 60,
    "max_memory_usage": 2 << 30,
    "max_threads": 4,
    "max_result_rows": 5_000_000,
    "max_result_bytes": 1 << 30,
    "result_overflow_mode": "throw",
}
# A reader waits longer than a stage: the server's own limit ends the query first.
ANSWER_TIMEOUT_S = 90
CHUNK_BYTES = 1 << 16
Values = Mapping[str, str | list[str]]
MAX_LINE_BYTES = 64 << 20
_SAID_CHARS = 600
_NOISE = re.compile(
    r"\(for url [^)]*\)|HTTPDriver|Received ClickHouse exception, code: \d+, server response:"
)

# What went wrong → what to do about it.
_HINTS = {
    47: '`tacho query "DESCRIBE TABLE tacho.actions"` shows the columns of a table',
    60: '`tacho query "SHOW TABLES FROM tacho"` shows the tables; `tacho migrate` makes them',
    81: "there is no data yet: `tacho up` or `tacho migrate` makes the tables",
    158: "ask for less: a shorter time, fewer columns",
    159: "ask for less: a shorter time, or an agent, session or tool",
    164: "this account may only read",
    241: "ask for less: a shorter time, fewer columns, or GROUP BY fewer values",
    307: "ask for less: a shorter time, fewer columns",
    396: "ask for less: a LIMIT, or GROUP BY",
    497: "the account has no right to this: ask who runs the server",
}


class Reader:
    """A reader's connection. Used by one thread. Raises RetryLater, ConfigError."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        host, port, secure, path = address(settings.url)
        self._pool = pool_manager(settings.tls, 2)
        try:
            self._client = clickhouse_connect.get_client(
                host=host, port=port, secure=secure, proxy_path=path,
                username=settings.user, password=settings.password,
                pool_mgr=self._pool, connect_timeout=CONNECT_TIMEOUT_S,
                send_receive_timeout=ANSWER_TIMEOUT_S, query_retries=0, compress=False,
                autogenerate_session_id=False,
            )  # fmt: skip
        except (ClickHouseError, HTTPError, OSError) as error:
            problem = unreached(error, "it", settings, self._pool)
            self._pool.clear()
            raise _unreached(settings.url, problem) from error
        own = self._client.server_settings.get("readonly")
        self._settings = LIMITS if own is None or str(own.value) == "0" else {}

    def stream(self, sql: str, values: Values, form: str) -> Iterator[bytes]:
        """Pieces of a result in one of ClickHouse's formats. Raises Refused with the server's
        words, RetryLater.
        """
        kinds = placeholders(sql)
        sent = {name: _sent(value, kinds[name]) for name, value in values.items()}
        try:
            answer = self._client.raw_stream(
                sql,
                # Without a parameter the text is sent as it is.
                parameters=sent or None,
                settings=dict(self._settings),
                transport_settings={"X-ClickHouse-Format": form},
            )
            with answer as body:
                while piece := body.read(CHUNK_BYTES):
                    yield piece
        except ClickHouseError as error:
            raise told(error) from error
        except (HTTPError, OSError) as error:
            raise RetryLater(f"the answer broke off: {mapped(error, 'ClickHouse')}") from error

    def lines(self, sql: str, values: Values, form: str) -> Iterator[bytes]:
        """The lines of a result, for formats that have a row on each. Raises as `stream` does."""
        rest = b""
        for piece in self.stream(sql, values, form):
            *whole, rest = (rest + piece).split(b"\n")
            yield from whole
            if len(rest) > MAX_LINE_BYTES:
                raise Refused("a row is too large to show: choose fewer columns")
        if rest:
            yield rest

    def rows(self, sql: str, values: Values | None = None) -> list[dict[str, Any]]:
        """A small result, each row by column. Raises as `stream` does."""
        lines = self.lines(sql, values or {}, "JSONEachRow")
        return [decoded(line) for line in lines if line]

    def close(self) -> None:
        """Close the sockets."""
        self._client.close()
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _sent(value: str | list[str], kind: str) -> str | list[Any]:
    """A value as the client takes it: it escapes texts, and what is in lists. Raises ConfigError
    for an array that is not written as JSON.
    """
    if isinstance(value, list) or not kind.startswith("Array"):
        return value
    try:
        return msgspec.json.decode(value, type=list[Any])
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f'an {kind} is written as JSON: ["a", "b"]') from error


def decoded(line: bytes) -> Any:
    """A line of JSON. A value that was cut inside a character is shown as far as it goes."""
    return msgspec.json.decode(line.decode("utf-8", "replace"))


def told(error: ClickHouseError) -> TachoError:
    """What the server said of a reader's query, and what to do. The reader wrote the query and may
    see the data: unlike a stage's log, the words may be shown.
    """
    code = getattr(error, "code", None)
    words = _NOISE.sub("", str(error))
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    hint = f"\n  {_HINTS[code]}" if code in _HINTS else ""
    return Refused(f"ClickHouse: {words[:_SAID_CHARS]}{hint}")


def _unreached(url: str, problem: TachoError) -> TachoError:
    if isinstance(problem, ConfigError):
        return problem
    return RetryLater(
        f"ClickHouse at {url} does not answer ({problem}): start `tacho up`, or `tacho clickhouse`"
        " for what was stored, or set CLICKHOUSE_URL"
    )
