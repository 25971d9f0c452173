"""The little we must know of SQL: where the rows of an INSERT begin, and how to quote."""

import re
from dataclasses import dataclass

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError
from tachograph.pipeline.standins.clickhouse_limits import MAX_INSERT_HEAD_BYTES

_TOKEN = re.compile(
    rb"""
      (?P<space>\s+ | --[^\n]* | \#[!\ ][^\n]* | /\*.*?\*/ )
    | (?P<quoted>'(?:[^'\\]|\\.|'')*+' | "(?:[^"\\]|\\.|"")*+" | `(?:[^`\\]|\\.|``)*+` )
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SETTING_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}")
_DATA_GAP = re.compile(rb"[ \t\f]*;?[ \t\f]*\r?\n?")


@dataclass(frozen=True)
class Insert:
    """An INSERT with rows: the statement up to FORMAT or VALUES, the format, where rows begin."""

    statement: str
    format: str
    data_start: int


def is_insert(text: bytes) -> bool:
    """Whether the first word, after comments, is INSERT."""
    for match in _TOKEN.finditer(text[:MAX_INSERT_HEAD_BYTES]):
        if match.lastgroup != "space":
            return match.lastgroup == "word" and match.group().upper() == b"INSERT"
    return False


def split_insert(text: bytes) -> Insert | None:
    """Find the rows of an INSERT. None if it has none of its own (INSERT … SELECT).

    Raises ClickHouseError if the statement is longer than MAX_INSERT_HEAD_BYTES or is not UTF-8."""
    depth = 0
    expects_format = -1  # where the word FORMAT began
    head = text[:MAX_INSERT_HEAD_BYTES]
    for match in _TOKEN.finditer(head):
        kind, token = match.lastgroup, match.group()
        if kind == "space":
            continue
        if expects_format >= 0:
            if kind != "word":
                return None
            gap = _DATA_GAP.match(text, match.end())
            start = gap.end() if gap else match.end()
            return Insert(statement_text(head[:expects_format]), token.decode("ascii"), start)
        depth += {b"(": 1, b")": -1}.get(token, 0)
        if kind != "word" or depth:
            continue
        keyword = token.upper()
        if keyword == b"FORMAT":
            expects_format = match.start()
        elif keyword == b"VALUES":
            return Insert(statement_text(head[: match.start()]), "Values", match.end())
        elif keyword in (b"SELECT", b"WITH", b"INFILE", b"WATCH"):
            return None
    if len(text) > MAX_INSERT_HEAD_BYTES:
        raise ClickHouseError(errors.QUERY_IS_TOO_LARGE, "The statement of an INSERT is too long.")
    return None


def statement_text(raw: bytes) -> str:
    """A statement as text. Raises ClickHouseError for what is no text."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ClickHouseError(errors.SYNTAX_ERROR, "The query is not valid UTF-8.") from None
    if "\0" in text:
        raise ClickHouseError(errors.SYNTAX_ERROR, "Syntax error: the query has a NUL byte.")
    return text


def quote_string(value: str) -> str:
    """A ClickHouse string literal."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def quote_identifier(name: str) -> str:
    """A ClickHouse identifier in back-ticks."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def set_statement(settings: dict[str, str]) -> str:
    """One SET for all settings. Raises ClickHouseError for a name that is not a setting's name."""
    for name in settings:
        if not _SETTING_NAME.fullmatch(name):
            raise ClickHouseError(errors.UNKNOWN_SETTING, f"Unknown setting {name!r}.")
    return "SET " + ", ".join(f"{name} = {quote_string(value)}" for name, value in settings.items())
