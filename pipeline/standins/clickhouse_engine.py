"""The chDB engine, opened once by this process, and one connection of it for each statement.

A connection costs a fifth of a millisecond and keeps settings, database and temporary tables to itself, so a fresh one for
each request is all the isolation we need. Every method may block; call them from a worker thread.
"""

import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins import clickhouse_policy as policy
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError, from_engine
from tachograph.pipeline.standins.clickhouse_limits import Limits
from tachograph.pipeline.standins.clickhouse_sql import (
    Insert,
    quote_identifier,
    quote_string,
    set_statement,
)

# The engine's single user. Sources (file, url, s3, remote, mysql, executable …) are granted to nobody.
_GRANTS = (
    "GRANT SELECT, INSERT, ALTER, CREATE, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, CHECK, SHOW, dictGet, KILL QUERY, "
    "SYSTEM VIEWS, SYSTEM MERGES, SYSTEM FLUSH, SYSTEM RELOAD DICTIONARY ON *.*",
    "GRANT TABLE ENGINE ON *",
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
  <users_config>{users}</users_config>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
</clickhouse>
"""
STREAMABLE_FORMATS = frozenset(
    {
        "native",
        "tabseparated",
        "tsv",
        "tabseparatedraw",
        "tsvraw",
        "csv",
        "rowbinary",
        "jsoneachrow",
        "ndjson",
    }
)
# A reader's own wishes that change how a result looks, and limits that it may lower.
_READER_SETTINGS = (
    "output_format_", "input_format_", "format_", "date_time_", "join_use_nulls", "session_timezone", "max_block_size",
    "log_comment", "extremes", "limit", "offset", "use_uncompressed_cache", "allow_experimental_analyzer",
    "enable_analyzer", "cast_string_to_dynamic_use_inference", "union_default_mode", "join_algorithm", "final",
    "prefer_column_name_to_alias", "optimize_read_in_order", "use_skip_indexes",
)  # fmt: skip


@dataclass(frozen=True)
class Statement:
    """One request for the engine. `tag` finds it again among the running queries, so that it can be stopped."""

    sql: str
    tag: str
    reader: bool
    get_request: bool = False
    database: str = ""
    default_format: str = "TabSeparated"
    params: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)


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


@dataclass
class Answer:
    """The format of a result and its bytes, in pieces. `summary` is complete once `chunks` is exhausted."""

    format: str
    chunks: Iterator[bytes]
    summary: Summary


@contextmanager
def _engine_errors() -> Iterator[None]:
    """chDB raises ChdbError or RuntimeError with ClickHouse's text in it."""
    chdb_error: type[Exception] = importlib.import_module("chdb").ChdbError
    try:
        yield
    except (chdb_error, RuntimeError) as error:
        raise from_engine(str(error)) from None


class Engine:
    """The open database under `home`. Only one process may open it; the constructor raises ClickHouseError otherwise.

    `home` must be the working directory already: chDB takes no path with `?` or `%` in it and reads a `config.xml` of the
    working directory when it is imported."""

    def __init__(self, home: Path, limits: Limits) -> None:
        self._limits = limits
        self._closed = False
        self._admin_lock = threading.Lock()
        config = _write_config(home, limits)
        first_start = not (home / "data" / "metadata" / "default.sql").exists()
        self._chdb: Any = importlib.import_module("chdb")
        with _engine_errors():
            self._admin = self._chdb.connect(f"data?config-file={config}")
            self._unmask_default_database(first_start)
            self.version = self._scalar("SELECT version()")
            self.timezone = self._scalar("SELECT timezone()")
            table_functions = self._scalar("SELECT name FROM system.table_functions").splitlines()
            formats = self._scalar("SELECT name FROM system.formats WHERE is_output").splitlines()
        self._forbidden = policy.forbidden_functions(table_functions)
        self._formats = {name.lower(): name for name in formats}

    def _unmask_default_database(self, first_start: bool) -> None:
        """chDB lays a file system over `default`, where a table's name can be a path. Take the plain database instead."""
        if first_start:
            self._admin.query("DROP DATABASE default")
            self._admin.query("CREATE DATABASE default ENGINE = Atomic")
        else:
            self._admin.query("DETACH DATABASE default")
            self._admin.query("ATTACH DATABASE default")

    def _scalar(self, sql: str) -> str:
        return str(self._admin.query(sql, "TSVRaw").bytes().decode()).rstrip("\n")

    def close(self) -> None:
        """Close the engine. Every statement must have ended."""
        with self._admin_lock:
            if not self._closed:
                self._closed = True
                self._admin.close()

    def output_format(self, name: str) -> str:
        """The engine's spelling of a format's name. Raises ClickHouseError if there is no such format."""
        known = self._formats.get(name.lower())
        if known is None:
            raise ClickHouseError(errors.UNKNOWN_FORMAT, f"Unknown format {name}.")
        return known

    def cancel(self, tag: str) -> None:
        """Stop the statement with this tag, if it runs. Does not wait for it."""
        sql = f"KILL QUERY WHERE Settings['log_comment'] = {quote_string(tag)} ASYNC"
        with self._admin_lock, _engine_errors():
            if not self._closed:
                self._admin.query(sql, "Null")

    @contextmanager
    def connection(self, statement: Statement) -> Iterator[Any]:
        """A connection that is in the statement's database and under its settings; a reader's can no longer change them."""
        with _engine_errors():
            connection = self._chdb.connect("data")
        try:
            with _engine_errors():
                self._prepare(connection, statement)
            yield connection
        finally:
            connection.close()

    def _prepare(self, connection: Any, statement: Statement) -> None:
        settings = statement.settings
        if statement.reader:
            settings = self._reader_settings(settings)
        connection.query(set_statement({**settings, "log_comment": statement.tag}))
        if statement.database:
            connection.query(f"USE {quote_identifier(statement.database)}")
        if statement.reader:
            connection.query("SET readonly = 1")

    def _reader_settings(self, wished: dict[str, str]) -> dict[str, str]:
        """The limits, and of the reader's wishes those that are harmless or lower a limit."""
        limits = {name: str(value) for name, value in self._limits.reader.settings().items()}
        merged = dict(limits)
        for name, value in wished.items():
            lowers = name in limits and value.isdecimal() and limits[name].isdecimal()
            if lowers and 0 < int(value) <= int(limits[name]):
                merged[name] = value
            elif not lowers and not name.startswith(_READER_SETTINGS):
                text = f"Cannot modify '{name}' setting in readonly mode."
                raise ClickHouseError(errors.READONLY, text)
        return merged

    def execute(self, statement: Statement) -> Answer:
        """Run a statement without data of its own. Raises ClickHouseError before the first chunk, or while chunks are read."""
        default_format = self.output_format(statement.default_format)
        summary = Summary()
        chunks = self._run(statement, default_format, summary)
        chosen = next(
            chunks
        ).decode()  # the first item is the format, once the statement was admitted
        return Answer(chosen, chunks, summary)

    def _run(self, statement: Statement, default_format: str, summary: Summary) -> Iterator[bytes]:
        with self.connection(statement) as connection:
            parsed = self._admit(connection, statement)
            chosen = self.output_format(parsed.format) if parsed.format else default_format
            if not statement.reader and parsed.selects and chosen.lower() in STREAMABLE_FORMATS:
                chunks = _stream(connection, statement, default_format, summary)
            else:
                chunks = _materialize(connection, statement, default_format, summary)
            first = next(chunks, b"")
            yield chosen.encode()
            yield first
            yield from chunks

    def _admit(self, connection: Any, statement: Statement) -> policy.Parsed:
        sql = statement.sql
        # The wrapper has no name for it; chDB's own `durable` package calls it in the same way.
        report = connection._conn.classify_query(sql, "")
        parsed = policy.Parsed(report["query_class"].name, int(report["statement_count"]))
        policy.check_single(parsed, sql)
        if statement.reader or statement.get_request:
            policy.check_reads(parsed)
        if not (parsed.reads_only or parsed.query_class == "UNKNOWN"):
            return parsed
        with _engine_errors():
            tree = connection.query(f"EXPLAIN AST {sql}", "TSVRaw", params=statement.params)
        parsed = policy.Parsed(parsed.query_class, parsed.statement_count, tree.bytes().decode())
        if statement.reader:
            policy.check_functions(parsed, sql, self._forbidden)
            if not parsed.reads_only:
                raise ClickHouseError(
                    errors.SYNTAX_ERROR, "Syntax error: the statement is not understood."
                )
        return parsed

    def insert(self, statement: Statement, insert: Insert, data: memoryview) -> Summary:
        """Insert rows that came with the statement. Raises ClickHouseError; a batch of one block is written whole or not at all."""
        if statement.reader:
            raise ClickHouseError(errors.READONLY, policy.READ_ONLY_TEXT)
        with self.connection(statement) as connection, _engine_errors():
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


_INSERT_SLICE_BYTES = 4 << 20


def _materialize(
    connection: Any, statement: Statement, default_format: str, summary: Summary
) -> Iterator[bytes]:
    with _engine_errors():
        result = connection.query(statement.sql, default_format, params=statement.params)
    summary.read_rows, summary.read_bytes = result.storage_rows_read(), result.storage_bytes_read()
    summary.written_rows, summary.written_bytes = result.rows_written(), result.bytes_written()
    summary.result_rows, summary.result_bytes = result.rows_read(), result.size()
    summary.elapsed_ns = int(result.elapsed() * 1e9)
    yield result.bytes()


def _stream(
    connection: Any, statement: Statement, default_format: str, summary: Summary
) -> Iterator[bytes]:
    with _engine_errors():
        stream = connection.send_query(statement.sql, default_format, params=statement.params)
    with stream:
        while True:
            with _engine_errors():
                chunk = stream.fetch()
            if chunk is None:
                return
            summary.result_rows += chunk.rows_read()
            summary.result_bytes += chunk.size()
            yield chunk.bytes()


def _write_config(home: Path, limits: Limits) -> Path:
    """The engine's configuration, written anew at each start: it is ours, not the operator's."""
    folder = home / "config"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    grants = "".join(f"<query>{grant}</query>" for grant in _GRANTS)
    users, config = folder / "users.xml", folder / "engine.xml"
    users.write_text(_USERS_XML.format(grants=grants))
    config.write_text(
        _CONFIG_XML.format(users="config/users.xml", memory=limits.max_server_memory_bytes)
    )
    return config.relative_to(home)
