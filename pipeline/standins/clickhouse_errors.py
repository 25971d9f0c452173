"""ClickHouse's errors as its HTTP interface shows them: a code, a name, a text and an HTTP status."""

import re

READONLY = 164
SYNTAX_ERROR = 62
UNKNOWN_FORMAT = 73
UNKNOWN_SETTING = 115
AUTHENTICATION_FAILED = 516
REQUIRED_PASSWORD = 194
ACCESS_DENIED = 497
TOO_MANY_SIMULTANEOUS_QUERIES = 202
QUERY_IS_TOO_LARGE = 291
NOT_IMPLEMENTED = 48
BAD_ARGUMENTS = 36
BAD_REQUEST_PARAMETER = 344
CANNOT_DECOMPRESS = 271
UNKNOWN_COMPRESSION_METHOD = 89
SESSION_NOT_FOUND = 372
SESSION_IS_LOCKED = 373
INVALID_SESSION_TIMEOUT = 374
QUERY_WAS_CANCELLED = 394
TIMEOUT_EXCEEDED = 159
UNKNOWN_EXCEPTION = 1002

_NAMES = {
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
    UNKNOWN_EXCEPTION: "UNKNOWN_EXCEPTION",
}

# By name, because the name stands in every text of the engine while the code of a rare error is easily mistyped here.
_STATUS_BY_NAME = {
    401: ("REQUIRED_PASSWORD",),
    403: ("UNKNOWN_USER", "WRONG_PASSWORD", "AUTHENTICATION_FAILED", "SET_NON_GRANTED_ROLE", "ACCESS_DENIED"),
    400: (
        "BAD_ARGUMENTS", "CANNOT_COMPILE_REGEXP", "CANNOT_PARSE_TEXT", "CANNOT_PARSE_ESCAPE_SEQUENCE",
        "CANNOT_PARSE_QUOTED_STRING", "CANNOT_PARSE_DATE", "CANNOT_PARSE_DATETIME", "CANNOT_PARSE_NUMBER",
        "CANNOT_PARSE_DOMAIN_VALUE_FROM_STRING", "CANNOT_PARSE_IPV4", "CANNOT_PARSE_IPV6", "CANNOT_PARSE_UUID",
        "CANNOT_PARSE_INPUT_ASSERTION_FAILED", "DUPLICATE_COLUMN", "ILLEGAL_COLUMN", "THERE_IS_NO_COLUMN",
        "UNKNOWN_ELEMENT_IN_AST", "UNKNOWN_TYPE_OF_AST_NODE", "TOO_DEEP_AST", "TOO_BIG_AST",
        "UNEXPECTED_AST_STRUCTURE", "SYNTAX_ERROR", "INCORRECT_DATA", "TYPE_MISMATCH",
        "VALUE_IS_OUT_OF_RANGE_OF_DATA_TYPE", "BAD_REQUEST_PARAMETER",
    ),
    404: (
        "UNKNOWN_TABLE", "UNKNOWN_FUNCTION", "UNKNOWN_IDENTIFIER", "UNKNOWN_TYPE", "UNKNOWN_STORAGE",
        "UNKNOWN_DATABASE", "UNKNOWN_SETTING", "UNKNOWN_DIRECTION_OF_SORTING", "UNKNOWN_AGGREGATE_FUNCTION",
        "UNKNOWN_FORMAT", "UNKNOWN_DATABASE_ENGINE", "UNKNOWN_TYPE_OF_QUERY", "UNKNOWN_ROLE",
    ),
    408: ("TIMEOUT_EXCEEDED",),
    413: ("QUERY_IS_TOO_LARGE",),
    501: ("NOT_IMPLEMENTED",),
    503: ("SOCKET_TIMEOUT", "CANNOT_OPEN_FILE", "CANNOT_SCHEDULE_TASK", "TOO_MANY_SIMULTANEOUS_QUERIES"),
}  # fmt: skip
_STATUS = {name: status for status, names in _STATUS_BY_NAME.items() for name in names}

_CODE = re.compile(r"Code: (\d+)\. DB::Exception: ")
_NAME = re.compile(r"\(([A-Z][A-Z0-9_]+)\)")
_VERSION = re.compile(r"\s*\(version [^)]*\)")


class ClickHouseError(Exception):
    """A refusal in ClickHouse's own words. `text` is without code, name and version."""

    def __init__(self, code: int, text: str, name: str = "") -> None:
        super().__init__(f"Code: {code}. DB::Exception: {text}")
        self.code = code
        self.text = text
        self.name = name or _NAMES.get(code, "UNKNOWN_EXCEPTION")

    @property
    def http_status(self) -> int:
        """The status ClickHouse itself answers with for this error."""
        return _STATUS.get(self.name, 500)

    def body(self, version: str) -> str:
        """The response body: one line, as ClickHouse's clients parse it."""
        return f"Code: {self.code}. DB::Exception: {self.text} ({self.name}) (version {version} (embedded build))\n"


def from_engine(message: str) -> ClickHouseError:
    """Read code, name and text out of an exception of the embedded engine, which repeats and decorates them."""
    codes = list(_CODE.finditer(message))
    if not codes:
        return ClickHouseError(UNKNOWN_EXCEPTION, message.strip() or "the engine gave no reason")
    text = _VERSION.sub("", message[codes[-1].end() :]).strip()
    names = _NAME.findall(text)
    name = names[-1] if names else ""
    while name and text.endswith(f"({name})"):
        text = text[: -len(name) - 2].rstrip(". ").rstrip()
    return ClickHouseError(int(codes[0].group(1)), f"{text}.", name)
