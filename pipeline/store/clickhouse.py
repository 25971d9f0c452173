"""The one seam to ClickHouse: clickhouse-connect's HTTP client, with deadlines and errors of ours.

A connection is used by one thread. After an error it is thrown away and a fresh one is opened, so
that a socket that a server or a proxy has forgotten is never tried twice.
"""

import logging
import re
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver import httputil
from clickhouse_connect.driver.exceptions import ClickHouseError, ProgrammingError
from urllib3 import PoolManager
from urllib3.exceptions import HTTPError
from urllib3.util import make_headers

from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.settings import ClickHouseSettings
from tachograph.pipeline.tls import ClientTls

# Who asks for no table waits for no Arrow.
if TYPE_CHECKING:
    import pyarrow as pa

# What the library would write to standard error is in our errors.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())

# Together 30 s, a tenth of what a consumer may be silent: connect, send, then wait for the answer.
CONNECT_TIMEOUT_S = 5
ANSWER_TIMEOUT_S = 20
# The server gives up before we stop listening, so that an abandoned insert does not go on behind
# our back.
SERVER_TIMEOUT_S = 18
# Keys are written into statements in slices that stay far below this.
MAX_STATEMENT_BYTES = 4 << 20

# What no repetition can mend: the data itself is not what the column takes. Everything else is the
# server's state (no network, too many parts, no memory, read only, a table not migrated yet) and is
# tried again.
_NEVER = {
    6: "CANNOT_PARSE_TEXT",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    33: "CANNOT_READ_ALL_DATA",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    53: "TYPE_MISMATCH",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    131: "TOO_LARGE_STRING_SIZE",
    321: "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
    636: "CANNOT_EXTRACT_TABLE_STRUCTURE",
}
# On a sharded cluster a row is stored when a shard has it, not when a server has promised to send
# it there; and what a subquery finds is asked for once and handed to all shards. Elsewhere they say
# nothing.
OF_SHARDS = {"distributed_foreground_insert": 1, "distributed_product_mode": "global"}
_STATEMENT = {
    "max_query_size": MAX_STATEMENT_BYTES,
    "max_execution_time": SERVER_TIMEOUT_S,
    **OF_SHARDS,
}
# Word indexes without experimental settings, and sparse columns that may be NULL.
OLDEST_SERVER = (26, 3)
# A server's text may quote a value, so a log line gets the code alone; only our side's text is
# kept.
_KEPT_CHARS = 300
_VERSION = re.compile(r"\d+(\.\d+)+")
# The client's own word, before it asks: a setting of every write of ours may not be set.
_MAY_READ_ONLY = re.compile(r"^Setting \w+ is readonly")
_OF_SYSTEM = re.compile(r"\[Errno -?\d+\] ([A-Za-z ]+)")


def mapped(error: Exception, what: str) -> RetryLater | Refused:
    """An error of the client as one of ours. The text names the server's code, not the data."""
    if isinstance(error, ProgrammingError) and _MAY_READ_ONLY.search(str(error)):
        return ConfigError(
            f"{what}: who asks may read only: CLICKHOUSE_USER names one that may write. The tables"
            " of an embedded ClickHouse are made by `tacho up` itself"
        )
    code = getattr(error, "code", None)
    name = getattr(error, "name", None) or type(error).__name__
    if code in _NEVER:
        return Refused(f"{what}: ClickHouse refuses the data ({_NEVER[code]}, code {code})")
    detail = f"code {code}" if code else _short(str(error))
    return RetryLater(f"{what}: {name} ({detail})")


def _short(text: str) -> str:
    """What the system says of a socket, where it does; the rest is the library's retelling."""
    said = _OF_SYSTEM.search(text)
    return said.group(1) if said else text[:_KEPT_CHARS]


class Connection:
    """A fresh connection.

    Raises RetryLater when the server cannot be reached, ConfigError for a bad URL or an old server.
    """

    def __init__(
        self,
        settings: ClickHouseSettings,
        *,
        connect_timeout_s: int = CONNECT_TIMEOUT_S,
        answer_timeout_s: int = ANSWER_TIMEOUT_S,
        reads_only: bool = False,
    ) -> None:
        """`reads_only`: as a reader, who may not set limits and is held to those of the server."""
        self._limits = {} if reads_only else _STATEMENT
        host, port, secure, path = address(settings.url)
        self._pool = pool_manager(settings.tls, 1)
        try:
            self._client = clickhouse_connect.get_client(
                host=host,
                port=port,
                secure=secure,
                proxy_path=path,
                username=settings.user,
                password=settings.password,
                pool_mgr=self._pool,
                connect_timeout=connect_timeout_s,
                send_receive_timeout=answer_timeout_s,
                query_retries=0,
                compress=False,
                autogenerate_session_id=False,
            )
        except (ClickHouseError, HTTPError, OSError) as error:
            problem = unreached(error, f"ClickHouse at {host}:{port}", settings, self._pool)
            self._pool.clear()
            raise problem from error

    def insert(
        self,
        table: str,
        columns: list[str],
        body: bytes,
        token: str = "",
        *,
        form: str = "ArrowStream",
    ) -> None:
        """Insert an Arrow stream, or another of ClickHouse's formats, that has just these columns.
        Raises RetryLater or Refused.

        `token` names the content: a server that keeps tokens takes a repetition for what it is.
        """
        deduplication = {"insert_deduplication_token": token} if token else {}
        settings = {
            "async_insert": 0,
            # Copies are merged away later and hidden by the views; doing it here costs half as much
            # again, because every column goes through it.
            "optimize_on_insert": 0,
            "input_format_null_as_default": 1,
            "max_execution_time": SERVER_TIMEOUT_S,
            **OF_SHARDS,
            **deduplication,
        }
        try:
            self._client.raw_insert(f"tacho.{table}", columns, body, settings, form)
        except (ClickHouseError, HTTPError, OSError) as error:
            raise mapped(error, f"insert into {table}") from error

    def command(self, statement: str) -> None:
        """Run a statement that answers nothing. Raises RetryLater or Refused."""
        try:
            self._client.command(statement, settings=_STATEMENT)
        except (ClickHouseError, HTTPError, OSError) as error:
            raise mapped(error, statement.split("(", 1)[0][:80].strip()) from error

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of a query. Raises RetryLater or Refused."""
        try:
            found = self._client.query(query, settings=self._limits)
        except (ClickHouseError, HTTPError, OSError) as error:
            raise mapped(error, "query") from error
        return [tuple(row) for row in found.result_rows]

    def arrow(self, query: str) -> "pa.Table":
        """Rows of a query as an Arrow table. Raises RetryLater or Refused."""
        settings = {**self._limits, "output_format_arrow_string_as_string": 1}
        try:
            return self._client.query_arrow(query, settings=settings)
        except (ClickHouseError, HTTPError, OSError) as error:
            raise mapped(error, "query") from error

    def close(self) -> None:
        """Close the sockets. May be called twice."""
        self._client.close()
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def new_enough(version: str) -> None:
    """Raises ConfigError for a server that cannot have our tables."""
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers < OLDEST_SERVER:
        oldest = ".".join(map(str, OLDEST_SERVER))
        raise ConfigError(
            f"ClickHouse {version} is too old for the tables: {oldest} or newer is needed"
        )


def unreached(
    error: Exception, what: str, settings: ClickHouseSettings, pool: PoolManager
) -> RetryLater | Refused | ConfigError:
    """Why there is no connection. The client cannot speak to a server of long ago, and what it says
    then names no version: so the server is asked for its own.
    """
    if isinstance(error, ClickHouseError):
        try:
            new_enough(_version(settings, pool))
        except ConfigError as old:
            return old
        except (HTTPError, OSError, ValueError):
            pass
    return mapped(error, what)


def _version(settings: ClickHouseSettings, pool: PoolManager) -> str:
    """By a request as plain as can be. Raises HTTPError, OSError, ValueError for no answer."""
    answer = pool.request(
        "GET",
        f"{settings.url.rstrip('/')}/?query=SELECT%20version()",
        headers=make_headers(basic_auth=f"{settings.user}:{settings.password}"),
        timeout=CONNECT_TIMEOUT_S,
        retries=False,
    )
    found = _VERSION.fullmatch(answer.data.decode("ascii").strip())
    if not found:
        raise ValueError("no version")
    return found[0]


def pool_manager(tls: ClientTls, sockets: int) -> PoolManager:
    """Connections of a client; over TLS with its certificate, by the authorities that it trusts."""
    files = (tls.ca_cert, tls.cert, tls.key)
    ca_cert, cert, key = (str(file) if file else None for file in files)
    made: PoolManager = httputil.get_pool_manager(
        maxsize=sockets, num_pools=1, ca_cert=ca_cert, client_cert=cert, client_cert_key=key
    )
    return made


def address(url: str) -> tuple[str, int, bool, str]:
    """Host, port, whether TLS, and path of an URL. Raises ConfigError."""
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"CLICKHOUSE_URL: {url!r} has no usable port") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"CLICKHOUSE_URL: {url!r} is no address like http://127.0.0.1:8123")
    secure = parts.scheme == "https"
    return parts.hostname, port or (8443 if secure else 8123), secure, parts.path.strip("/")
