"""ClickHouse's errors as its HTTP interface shows them: code, name, text and HTTP status."""

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager

READONLY = 164
SYNTAX_ERROR = 62
UNKNOWN_FORMAT = 73
UNKNOWN_SETTING = 115
AUTHENTICATION_FAILED = 516
REQUIRED_PASSWORD = 194
ACCESS_DENIED = 497
TOO_MANY_SIMULTANEOUS_QUERIES = 202
QUERY_IS_TOO_LARGE = 229
NOT_IMPLEMENTED = 48
BAD_ARGUMENTS = 36
BAD_REQUEST_PARAMETER = 408
CANNOT_DECOMPRESS = 271
UNKNOWN_COMPRESSION_METHOD = 89
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
INVALID_SESSION_TIMEOUT = 374
QUERY_WAS_CANCELLED = 394
TIMEOUT_EXCEEDED = 159
TOO_MANY_ROWS_OR_BYTES = 396
UNKNOWN_EXCEPTION = 1002

NAMES = {
    READONLY: "READONLY",
    SYNTAX_ERROR: "SYNTAX_ERROR",
    UNKNOWN_FORMAT: "UNKNOWN_FORMAT",
    UNKNOWN_SETTING: "UNKNOWN_SETTING",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
    REQUIRED_PASSWORD: "REQUIRED_PASSWORD",
    ACCESS_DENIED: "ACCESS_DENIED",
    TOO_MANY_SIMULTANEOUS_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
    QUERY_IS_TOO_LARGE: "QUERY_IS_TOO_LARGE",
    NOT_IMPLEMENTED: "NOT_IMPLEMENTED",
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    BAD_REQUEST_PARAMETER: "BAD_REQUEST_PARAMETER",
    CANNOT_DECOMPRESS: "CANNOT_DECOMPRESS",
    UNKNOWN_COMPRESSION_METHOD: "UNKNOWN_COMPRESSION_METHOD",
    SESSION_NOT_FOUND: "SESSION_NOT_FOUND",
    SESSION_IS_LOCKED: "SESSION_IS_LOCKED",
    INVALID_SESSION_TIMEOUT: "INVALID_SESSION_TIMEOUT",
    QUERY_WAS_CANCELLED: "QUERY_WAS_CANCELLED",
    TIMEOUT_EXCEEDED: "TIMEOUT_EXCEEDED",
    TOO_MANY_ROWS_OR_BYTES: "TOO_MANY_ROWS_OR_BYTES",
    UNKNOWN_EXCEPTION: "UNKNOWN_EXCEPTION",
}

# By name: it stands in every text of the engine, and is harder to mistype than a code.
_STATUS_BY_NAME = {
    401: "REQUIRED_PASSWORD",
    403: """UNKNOWN_USER WRONG_PASSWORD AUTHENTICATION_FAILED SET_NON_GRANTED_ROLE
        ACCESS_DENIED""",
    400: """BAD_ARGUMENTS CANNOT_COMPILE_REGEXP CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE
        CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER
        CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING CANNOT_PARSE_IPV4 CANNOT_PARSE_IPV6
        CANNOT_PARSE_UUID CANNOT_PARSE_INPUT_ASSERTION_FAILED DUPLICATE_COLUMN ILLEGAL_COLUMN
        THERE_IS_NO_COLUMN UNKNOWN_ELEMENT_IN_AST UNKNOWN_TYPE_OF_AST_NODE TOO_DEEP_AST
        TOO_BIG_AST UNEXPECTED_AST_STRUCTURE SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH
        VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE BAD_REQUEST_PARAMETER INVALID_SESSION_TIMEOUT
        CANNOT_DECOMPRESS UNKNOWN_COMPRESSION_METHOD""",
    404: """UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE
        UNKNOWN_DATABASE UNKNOWN_SETTING UNKNOWN_DIRECTION_OF_SORTING
        UNKNOWN_AGGREGATE_FUNCTION UNKNOWN_FORMAT UNKNOWN_DATABASE_ENGINE
        UNKNOWN_TYPE_OF_QUERY UNKNOWN_ROLE SESSION_NOT_FOUND""",
    408: "TIMEOUT_EXCEEDED",
    413: "QUERY_IS_TOO_LARGE",
    501: "NOT_IMPLEMENTED",
    503: "SOCKET_TIMEOUT CANNOT_OPEN_FILE CANNOT_SCHEDULE_TASK TOO_MANY_SIMULTANEOUS_QUERIES",
}
_STATUS = {name: status for status, names in _STATUS_BY_NAME.items() for name in names.split()}

_CODE = re.compile(r"Code: (\d+)\. DB::Exception: ")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)")
_VERSION = re.compile(r"\s*\(version [^)]*\)")


class ClickHouseError(Exception):
    """A refusal in ClickHouse's own words. `text` is without code, name and version."""

    def __init__(self, code: int, text: str, name: str = "") -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}")
        self.code = code
        self.text = text
        self.name = name or NAMES.get(code, "UNKNOWN_EXCEPTION")

    @property
    def http_status(self) -> int:
        """The status ClickHouse itself answers with for this error."""
        return _STATUS.get(self.name, 500)

    def body(self, version: str) -> str:
        """The response body: one line, as ClickHouse's clients parse it."""
        build = f"(version {version} (embedded build))"
        return f"Code: {self.code}. DB::Exception: {self.text} ({self.name}) {build}\n"


def from_engine(message: str) -> ClickHouseError:
    """Code, name and text of an exception of the engine, which repeats and decorates them."""
    codes = list(_CODE.finditer(message))
    if not codes:
        return ClickHouseError(UNKNOWN_EXCEPTION, message.strip() or "the engine gave no reason")
    text = _VERSION.sub("", message[codes[-1].end() :]).strip()
    names = _NAME.findall(text)
    name = names[-1] if names else ""
    while name and text.endswith(f"({name})"):
        text = text[: -len(name) - 2].rstrip(". ").rstrip()
    return ClickHouseError(int(codes[0].group(1)), f"{text}.", name)


@contextmanager
def engine_errors() -> Iterator[None]:
    """chDB raises ChdbError or RuntimeError with ClickHouse's text in it."""
    chdb_error: type[Exception] = importlib.import_module("chdb").ChdbError
    try:
        yield
    except (chdb_error, RuntimeError) as error:
        raise from_engine(str(error)) from None
