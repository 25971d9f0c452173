"""What a reader may run. The last of three fences, and the only one made by us:

1. the engine's user has no grant for files, URLs or other servers;
2. a reader's connection is `readonly = 1`, set after its limits, so that it can change neither data nor settings;
3. the statement, as the engine parsed it, is one read and calls nothing on the lists below, which the first two let pass
   (the scalar function `file` reads any path, `eval` runs text, the AI functions call out).
"""

import re
from dataclasses import dataclass

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError

# A table function that is not here is refused, so that one which a newer engine brings is refused until someone looked at it.
SAFE_TABLE_FUNCTIONS = frozenset(
    {
        "format", "fuzzjson", "generaterandom", "generateseries", "generate_series", "merge", "mergetreeindex",
        "mergetreeprojection", "null", "numbers", "numbers_mt", "primes", "values", "view", "viewexplain",
        "viewifpermitted", "zeros", "zeros_mt",
    }
)  # fmt: skip
UNSAFE_FUNCTIONS = frozenset(
    {
        "file", "hascolumnintable", "logtrace", "catboostevaluate", "aiclassify", "aiembed", "aiextract", "aifilter",
        "aigenerate", "airedact", "aisimilarity", "aitranslate", "addresstoline", "addresstolinewithinlines",
        "addresstosymbol", "generateserialid",
    }
)  # fmt: skip
READ_ONLY_TEXT = (
    "Cannot execute query in readonly mode: the embedded server is read-only for readers. "
    "Only the store stage of this run may write to it."
)
_FUNCTION = re.compile(r"^\s*(?:Table)?Function (\S+)", re.MULTILINE)
_FORMAT = re.compile(r"^ Identifier ([A-Za-z0-9_]+)$", re.MULTILINE)
_SELECT_ROOTS = ("SelectWithUnionQuery", "SelectIntersectExceptQuery", "SelectQuery", "Explain")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Parsed:
    """What the engine's own parser says of a statement."""

    query_class: str
    statement_count: int
    ast: str = ""

    @property
    def reads_only(self) -> bool:
        return self.query_class == "READ_ONLY"

    @property
    def selects(self) -> bool:
        return self.reads_only and self.ast.startswith(_SELECT_ROOTS[:-1])

    @property
    def format(self) -> str:
        """The format that the statement itself names, or ''."""
        if self.ast.startswith(("InsertQuery", "UseQuery")):
            return ""
        found = _FORMAT.findall(self.ast)
        return str(found[-1]) if found else ""


def check_single(parsed: Parsed, sql: str) -> None:
    """One statement a request, as over ClickHouse's own HTTP port. Raises ClickHouseError."""
    if parsed.statement_count > 1:
        raise ClickHouseError(
            errors.SYNTAX_ERROR, "Syntax error: multi-statements are not allowed over HTTP."
        )
    if not sql.strip(" \t\r\n;"):
        raise ClickHouseError(errors.SYNTAX_ERROR, "Syntax error: empty query.")


def check_reads(parsed: Parsed) -> None:
    """Refuse, as ClickHouse does in read-only mode, whatever is not a read. Raises ClickHouseError."""
    if parsed.query_class not in ("READ_ONLY", "UNKNOWN"):
        raise ClickHouseError(errors.READONLY, READ_ONLY_TEXT)


def check_functions(parsed: Parsed, sql: str, forbidden: frozenset[str]) -> None:
    """Refuse a read that calls a forbidden function. Raises ClickHouseError."""
    called = {name.strip("`\"'").lower() for name in _FUNCTION.findall(parsed.ast)}
    if not parsed.ast.startswith(_SELECT_ROOTS) or "ColumnsApplyTransformer" in parsed.ast:
        # The syntax tree does not show what APPLY calls, nor the WHERE of a SHOW: any mention will do.
        called |= {word.lower() for word in _WORD.findall(sql)} & UNSAFE_FUNCTIONS
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
