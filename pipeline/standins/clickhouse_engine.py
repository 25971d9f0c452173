"""The chDB engine, opened once by this process, and one connection of it for each statement.

A connection costs a fifth of a millisecond and keeps settings, database and temporary tables to
itself, so a fresh one for each request is all the isolation we need. Methods block: call them from
a worker thread. They raise ClickHouseError.
"""

import importlib
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins import clickhouse_policy as policy
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError, engine_errors
from tachograph.pipeline.standins.clickhouse_guard import MemoryGuard
from tachograph.pipeline.standins.clickhouse_limits import Limits
from tachograph.pipeline.standins.clickhouse_sessions import Sessions
from tachograph.pipeline.standins.clickhouse_sql import (
    Insert,
    quote_identifier,
    quote_string,
    set_statement,
)

_USERS_XML = """<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users><default>
    <password></password><networks><ip>::/0</ip></networks>
    <profile>default</profile><quota>default</quota>
    <grants>{grants}</grants>
  </default></users>
</clickhouse>
"""
_CONFIG_XML = """<clickhouse>
  <users_config>config/users.xml</users_config>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
</clickhouse>
"""
# Formats of which pieces can be sent as they come: no head, no tail.
STREAMABLE_FORMATS = frozenset(
    {
        "Native", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "RowBinary",
        "JSONEachRow", "NDJSON", "JSONLines",
    }
)  # fmt: skip
_INSERT_SLICE_BYTES = 4 << 20


@dataclass(frozen=True)
class Statement:
    """One request for the engine. By its `tag` it is found again and stopped."""

    sql: str
    tag: str
    reader: bool
    get_request: bool = False
    database: str = ""
    default_format: str = "TabSeparated"
    params: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    session_id: str = ""
    session_timeout_s: int = 0


@dataclass
class Summary:
    """What X-ClickHouse-Summary tells."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_ns: int = 0

    def add(self, result: Any) -> None:
        """Count a result of the engine, or one chunk of it."""
        self.read_rows += result.storage_rows_read()
        self.read_bytes += result.storage_bytes_read()
        self.written_rows += result.rows_written()
        self.written_bytes += result.bytes_written()
        self.result_rows += result.rows_read()
        self.result_bytes += result.size()
        self.elapsed_ns += int(result.elapsed() * 1e9)


@dataclass
class Answer:
    """A result: its format and its bytes in pieces. `summary` is complete once those are read.

    Reading a piece may raise ClickHouseError. `close()` frees the connection."""

    format: str
    pieces: Iterator[bytes]
    summary: Summary
    close: Callable[[], None]


class Engine:
    """The open database under `home`, which no other process may have open.

    `home` must be the working directory already: chDB takes no path with `?` or `%` in it, and
    when it is imported reads a `config.xml` of the working directory."""

    def __init__(self, home: Path, limits: Limits) -> None:
        self._limits = limits
        self._closed = False
        self._admin_lock = threading.Lock()
        _write_config(home, limits)
        first_start = not (home / "data" / "metadata" / "default.sql").exists()
        self._chdb: Any = importlib.import_module("chdb")
        with engine_errors():
            self._admin = self._chdb.connect("data?config-file=config/engine.xml")
            self._unmask_default_database(first_start=first_start)
            self.version = self._text("SELECT version()")
            self.timezone = self._text("SELECT timezone()")
            table_functions = self._text("SELECT name FROM system.table_functions").splitlines()
            formats = self._text("SELECT name FROM system.formats WHERE is_output").splitlines()
        self._forbidden = policy.forbidden_functions(table_functions)
        self._formats = {name.lower(): name for name in formats}
        self._sessions = Sessions(self._connect)
        self._guard = MemoryGuard(limits.reader.max_text_growth_bytes, self.cancel)

    def _unmask_default_database(self, *, first_start: bool) -> None:
        """chDB lays the file system over `default`: a table's name may be a path. Undo that."""
        tables = "SELECT count() FROM system.tables WHERE database = 'default'"
        # Empty, it is made anew: chDB cannot attach an empty database that it has detached.
        if first_start or self._text(tables) == "0":
            self._admin.query("DROP DATABASE default")
            self._admin.query("CREATE DATABASE default ENGINE = Atomic")
        else:
            self._admin.query("DETACH DATABASE default")
            self._admin.query("ATTACH DATABASE default")

    def _text(self, sql: str) -> str:
        return str(self._admin.query(sql, "TSVRaw").bytes().decode()).rstrip("\n")

    def _connect(self) -> Any:
        with engine_errors():
            return self._chdb.connect("data")

    def close(self) -> None:
        """Close the engine. Every statement must have ended."""
        with self._admin_lock:
            if not self._closed:
                self._closed = True
                self._sessions.close()
                self._admin.close()

    def output_format(self, name: str) -> str:
        """The engine's spelling of a format's name. Raises ClickHouseError if there is none."""
        known = self._formats.get(name.lower())
        if known is None:
            raise ClickHouseError(errors.UNKNOWN_FORMAT, f"Unknown format {name[:64]}.")
        return known

    def cancel(self, tag: str) -> None:
        """Stop the statement with this tag, if it runs. Does not wait for its end."""
        sql = f"KILL QUERY WHERE Settings['log_comment'] = {quote_string(tag)} ASYNC"
        with self._admin_lock, engine_errors():
            if not self._closed:
                self._admin.query(sql, "Null")

    @contextmanager
    def _connection(self, statement: Statement) -> Iterator[Any]:
        """A connection under the statement's settings; a reader's can no longer change them."""
        with self._lease(statement) as connection:
            with engine_errors():
                self._prepare(connection, statement)
            yield connection

    def _lease(self, statement: Statement) -> AbstractContextManager[Any]:
        # A reader can neither SET anything nor create temporary tables: it needs no session.
        if statement.session_id and not statement.reader:
            return self._sessions.lease(
                statement.session_id, statement.session_timeout_s, tuple(statement.settings)
            )
        return self._fresh()

    @contextmanager
    def _fresh(self) -> Iterator[Any]:
        connection = self._connect()
        try:
            yield connection
        finally:
            connection.close()

    def _prepare(self, connection: Any, statement: Statement) -> None:
        settings = statement.settings
        if statement.reader:
            settings = policy.reader_settings(settings, self._limits.reader)
        settings = {**settings, "log_comment": statement.tag, "allow_python_table_function": "0"}
        connection.query(set_statement(settings))
        if statement.database:
            connection.query(f"USE {quote_identifier(statement.database)}")
        if statement.reader:
            connection.query("SET readonly = 1")

    def execute(self, statement: Statement) -> Answer:
        """Run a statement that has no rows of its own. Its first piece is ready on return."""
        self.output_format(statement.default_format)
        summary = Summary()
        pieces = self._run(statement, summary)
        chosen = next(pieces).decode()  # the first item is the format: the statement was admitted
        return Answer(chosen, pieces, summary, pieces.close)

    def _run(self, statement: Statement, summary: Summary) -> Generator[bytes, None, None]:
        with self._connection(statement) as connection:
            parsed = self._admit(connection, statement)
            chosen = self.output_format(parsed.format or statement.default_format)
            if parsed.selects and chosen in STREAMABLE_FORMATS:
                pieces = _stream(connection, statement, summary)
            else:
                pieces = self._materialize(connection, statement, summary)
            # A stream must be closed before its connection: the engine hangs otherwise.
            with closing(pieces):
                if statement.reader:
                    pieces = _capped(pieces, self._limits.reader.max_result_bytes)
                first = next(pieces, b"")
                yield chosen.encode()
                yield first
                yield from pieces

    def _materialize(
        self, connection: Any, statement: Statement, summary: Summary
    ) -> Generator[bytes, None, None]:
        guard = self._guard.watch(statement.tag) if statement.reader else nullcontext()
        with guard, engine_errors():
            result = connection.query(
                statement.sql, statement.default_format, params=statement.params
            )
        summary.add(result)
        yield result.bytes()

    def _admit(self, connection: Any, statement: Statement) -> policy.Parsed:
        sql = statement.sql
        # The wrapper gives it no name of its own; chDB's `durable` package calls it like this.
        report = connection._conn.classify_query(sql, "")  # noqa: SLF001
        count = int(report["statement_count"])
        parsed = policy.Parsed(report["query_class"].name, count, sql=sql)
        policy.check_single(parsed)
        if statement.reader or statement.get_request:
            policy.check_reads(parsed)
        if not (parsed.reads_only or parsed.query_class == "UNKNOWN"):
            return parsed
        with engine_errors():  # here a statement that is no SQL ends
            tree = connection.query(f"EXPLAIN AST {sql}", "TSVRaw", params=statement.params)
        parsed = replace(parsed, ast=tree.bytes().decode(errors="replace"))
        if statement.reader:
            policy.check_settings(parsed)
            policy.check_functions(parsed, self._forbidden)
        return parsed

    def insert(self, statement: Statement, insert: Insert, data: memoryview) -> Summary:
        """Insert the rows that came with a statement: a block (a batch) whole or not at all."""
        if statement.reader:
            raise ClickHouseError(errors.READONLY, policy.READ_ONLY_TEXT)
        with self._connection(statement) as connection, engine_errors():
            inserter = connection.send_insert(insert.statement, insert.format)
            with inserter:
                for start in range(0, len(data), _INSERT_SLICE_BYTES):
                    inserter.append(data[start : start + _INSERT_SLICE_BYTES])
                result = inserter.finish()
        return Summary(
            written_rows=result.rows_written,
            written_bytes=result.bytes_written,
            result_rows=result.rows_written,
            result_bytes=result.bytes_written,
            elapsed_ns=int(result.elapsed * 1e9),
        )


def _stream(
    connection: Any, statement: Statement, summary: Summary
) -> Generator[bytes, None, None]:
    with engine_errors():
        stream = connection.send_query(
            statement.sql, statement.default_format, params=statement.params
        )
    with stream:
        while True:
            with engine_errors():
                chunk = stream.fetch()
            if chunk is None:
                return
            summary.add(chunk)
            yield chunk.bytes()


def _capped(pieces: Iterator[bytes], limit_bytes: int) -> Generator[bytes, None, None]:
    """The engine counts a column of one value once; a client gets it once a row."""
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit_bytes:
            text = f"Limit for result exceeded, max bytes: {limit_bytes}, current bytes: {total}."
            raise ClickHouseError(errors.TOO_MANY_ROWS_OR_BYTES, text)
        yield piece


def _write_config(home: Path, limits: Limits) -> None:
    """The engine's configuration, written anew at each start: it is ours, not the operator's."""
    folder = home / "config"
    folder.mkdir(mode=0o700, exist_ok=True)
    grants = "".join(f"<query>{grant}</query>" for grant in policy.GRANTS)
    config = _CONFIG_XML.format(memory=limits.max_server_memory_bytes)
    (folder / "users.xml").write_text(_USERS_XML.format(grants=grants), encoding="utf-8")
    (folder / "engine.xml").write_text(config, encoding="utf-8")
