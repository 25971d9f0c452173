"""What a reader may do. Three fences:

1. the engine's only user has no grant for files, URLs or other servers (`GRANTS`);
2. a reader's connection is `readonly = 1`, set after its limits and after those of its own settings
   that only change how a result looks, so that it can change neither data nor settings;
3. the statement, as the engine itself parsed it, is one read and calls nothing that the first two
   let pass: the scalar function `file` reads any path, `eval` runs text, the AI functions call out.
"""

import re
from dataclasses import dataclass

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError
from tachograph.pipeline.standins.clickhouse_limits import ReaderLimits

# Sources (file, url, s3, remote, mysql, executable …) are granted to nobody, the writer included.
GRANTS = (
    "GRANT SELECT, INSERT, ALTER, CREATE, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, CHECK, SHOW, "
    "dictGet, KILL QUERY, SYSTEM VIEWS, SYSTEM MERGES, SYSTEM FLUSH ON *.*",
    "GRANT TABLE ENGINE ON *",
)
# What a reader may set, by the URL alone. Nothing here names a path, a URL or a schema: with
# `format_schema` or `format_template_row` a format would read a file of this machine.
READER_SETTINGS = re.compile(
    r"output_format_(json|csv|tsv|pretty|markdown|xml|decimal|arrow|parquet|native|orc|write|"
    r"binary|msgpack|bson)_\w+|format_(csv|tsv)_\w+|date_time_(in|out)put_format|join_use_nulls|"
    r"session_timezone|max_block_size|extremes|limit|offset|final|enable_analyzer|"
    r"union_default_mode|cast_string_to_dynamic_use_inference|prefer_column_name_to_alias|"
    r"use_skip_indexes|optimize_read_in_order|use_query_cache|group_by_use_nulls"
)
# One that is not here is refused, as is what a newer engine brings, until someone looked at it.
SAFE_TABLE_FUNCTIONS = frozenset(
    {
        "format", "generaterandom", "generateseries", "generate_series", "merge", "mergetreeindex",
        "mergetreeprojection", "null", "numbers", "numbers_mt", "primes", "values", "view",
        "viewexplain", "viewifpermitted", "zeros", "zeros_mt",
    }
)  # fmt: skip
UNSAFE_FUNCTIONS = frozenset(
    {
        "file", "hascolumnintable", "logtrace", "catboostevaluate", "generateserialid",
        "aiclassify", "aiembed", "aiextract", "aifilter", "aigenerate", "airedact", "aisimilarity",
        "aitranslate", "addresstoline", "addresstolinewithinlines", "addresstosymbol",
    }
)  # fmt: skip
READ_ONLY_TEXT = (
    "Cannot execute query in readonly mode: the embedded server is read-only for readers. "
    "Only the store stage of this run may write to it."
)
# Drivers send them with every statement; they say nothing of a read and are passed over.
OF_INSERTS = frozenset({"async_insert", "wait_for_async_insert", "async_insert_deduplicate"})
_FUNCTION = re.compile(r"^\s*(?:Table)?Function (\S+)", re.MULTILINE)
_SETTINGS = re.compile(r"^\s*Set(?: \(|$)", re.MULTILINE)
_FORMAT = re.compile(r"^ Identifier ([A-Za-z0-9_]+)$", re.MULTILINE)
_SELECT_ROOTS = ("SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "Explain")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


_PATIENCE = "max_execution_time"


@dataclass(frozen=True)
class Parsed:
    """What the engine's own parser says of a statement."""

    query_class: str
    statement_count: int
    ast: str = ""
    sql: str = ""

    @property
    def reads_only(self) -> bool:
        return self.query_class == "READ_ONLY"

    @property
    def selects(self) -> bool:
        return self.reads_only and self.ast.startswith(_SELECT_ROOTS[:-1])

    @property
    def format(self) -> str:
        """The format that the statement itself names, or ''."""
        # The tree shows it like the name of the table that SHOW CREATE or EXISTS asks for.
        for name in reversed(_FORMAT.findall(self.ast)):
            if re.search(rf"\bformat\s+[`\"]?{name}\b", self.sql, re.IGNORECASE):
                return str(name)
        return ""

    @property
    def sets(self) -> bool:
        """Whether it has a SETTINGS clause anywhere. The options of EXPLAIN are none."""
        own = r"\A[^\n]*\n Set\n" if self.ast.startswith("Explain") else r"\A\Z"
        return _SETTINGS.search(re.sub(own, "\n", self.ast)) is not None


def check_single(parsed: Parsed) -> None:
    """One statement a request, as over ClickHouse's own HTTP port. Raises ClickHouseError."""
    if parsed.statement_count > 1:
        raise ClickHouseError(
            errors.SYNTAX_ERROR, "Syntax error: multi-statements are not allowed over HTTP."
        )
    if not parsed.sql.strip(" \t\r\n;"):
        raise ClickHouseError(errors.SYNTAX_ERROR, "Syntax error: empty query.")


def check_reads(parsed: Parsed) -> None:
    """Refuse whatever is not a read, as ClickHouse does in read-only mode."""
    if parsed.query_class not in ("READ_ONLY", "UNKNOWN"):
        raise ClickHouseError(errors.READONLY, READ_ONLY_TEXT)


def check_settings(parsed: Parsed) -> None:
    """Refuse SETTINGS, also of a subquery, where the engine does not. Raises ClickHouseError."""
    if parsed.sets:
        text = "Cannot modify settings in readonly mode."
        raise ClickHouseError(errors.READONLY, text)


def check_functions(parsed: Parsed, forbidden: frozenset[str]) -> None:
    """Refuse a read that calls a forbidden function. Raises ClickHouseError."""
    called = {name.strip("`\"'").lower() for name in _FUNCTION.findall(parsed.ast)}
    if not parsed.ast.startswith(_SELECT_ROOTS) or "ColumnsApplyTransformer" in parsed.ast:
        # The tree does not show what APPLY calls, nor the WHERE of a SHOW: any mention will do.
        called |= {word.lower() for word in _WORD.findall(parsed.sql)} & UNSAFE_FUNCTIONS
    found = sorted(called & forbidden)
    if found:
        raise ClickHouseError(
            errors.ACCESS_DENIED,
            f"Not enough privileges: readers of the embedded server may not call {found[0]!r}, "
            "because it reaches outside the database.",
        )


def forbidden_functions(table_functions: list[str]) -> frozenset[str]:
    """All that a reader may not call, given every table function of the running engine."""
    return UNSAFE_FUNCTIONS | ({name.lower() for name in table_functions} - SAFE_TABLE_FUNCTIONS)


def reader_settings(wished: dict[str, str], limits: ReaderLimits) -> dict[str, str]:
    """The limits, and of the reader's wishes those that are harmless or lower a limit. How long a
    client would wait (the Go client says it with every query) raises none and is no fault.

    Raises ClickHouseError for any other wish, as ClickHouse does in read-only mode."""
    fixed = {name: str(value) for name, value in limits.settings().items()}
    merged = dict(fixed)
    for name, value in wished.items():
        if name in OF_INSERTS:
            continue
        if name in fixed and _lowers(value, fixed[name]):
            merged[name] = value
        elif name == _PATIENCE and value.isascii() and value.isdigit() and int(value):
            continue
        elif name in fixed or not READER_SETTINGS.fullmatch(name):
            text = f"Cannot modify {name[:64]!r} setting in readonly mode."
            raise ClickHouseError(errors.READONLY, text)
        else:
            merged[name] = value
    return merged


def _lowers(value: str, limit: str) -> bool:
    # Zero means "without limit" to the engine.
    return value.isascii() and value.isdigit() and limit.isdigit() and 0 < int(value) <= int(limit)
