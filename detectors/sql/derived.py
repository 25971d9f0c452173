"""Columns that are not judged as they are stored: what `prepare` fills in, in SQL.

Only what names and values of an action say can be said here. Where the operator's reference data
would decide, the column cannot be expressed.
"""

from collections.abc import Callable

from tachograph.detectors import tool_classes
from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.reference import catalogue
from tachograph.detectors.reference.reference import Reference
from tachograph.detectors.reference.tools import RISK, TRUST
from tachograph.detectors.sql.text import NotExpressible, literal, literals, name
from tachograph.schemas.batch import COLUMNS

# The stored action, as the queries below name it.
STORED = "a"
# A capital before small letters begins a word, whatever stands before it.
_PARTS = (
    "extractAll(replaceRegexpAll(substringUTF8({tool}, 1, {most}), '([A-Z][a-z])', ' \\\\1'),"
    " '[A-Z]?[a-z]+|[A-Z]+|[0-9]+')"
)
_SINGULAR = "if(length(w) > 3 AND endsWith(w, 's'), substring(w, 1, length(w) - 1), w)"
_BROUGHT = (
    "({a}.kind IN ['tool_result', 'retrieval'] OR ({a}.kind IN ['tool_call', 'http', 'file']"
    " AND {a}.tool_result != ''))"
)


def stored(column: str) -> str:
    """A column of a stored action."""
    return f"{STORED}.{name(column)}"


def column_sql(column: str, reference: Reference) -> str:
    """A column as rules see it. Raises NotExpressible."""
    found = _DERIVED.get(column)
    if found is None:
        return stored(column)
    make, decided_by = found
    for joined in decided_by:
        if _known(joined, reference):
            raise NotExpressible(f"{column}: reference data decides it, which no stored action has")
    return make()


def computed(column: str) -> bool:
    """Whether a column that is no column of an action can be said all the same."""
    return column in _DERIVED and column in (ACTIONS.columns or {}) and column not in COLUMNS


def _known(joined: str, reference: Reference) -> bool:
    """Whether the reference data says anything of a column."""
    joins = [join for join in catalogue.JOINS if joined in join.gives]
    return any(join.bind(reference.content) is not None for join in joins)


def _words() -> str:
    parts = _PARTS.format(tool=stored("tool_name"), most=tool_classes.MAX_NAME_CHARS)
    return f"arrayMap(w -> {_SINGULAR}, arrayMap(w -> lower(w), {parts}))"


def _guessed_risk() -> str:
    kinds = ", ".join(
        f"w IN {literals(sorted(words))}, {literal(kind)}" for kind, words in tool_classes.RISKS
    )
    return f"arrayFirst(k -> k != '', arrayMap(w -> multiIf({kinds}, ''), {_words()}))"


def _tool_risk() -> str:
    own = stored("tool_risk")
    return f"if({own} != '', {own}, {_guessed_risk()})"


def _tool_sink() -> str:
    risk = _tool_risk()
    return f"if({risk} = '', NULL, toBool({risk} = 'egress'))"


def _content_trust() -> str:
    own = stored("content_trust")
    outside = literals(sorted(tool_classes.OUTSIDE))
    reads = f"{_guessed_risk()} IN ['read', ''] AND hasAny({_words()}, {outside})"
    return f"multiIf({own} != '', {own}, {_BROUGHT.format(a=STORED)} AND {reads}, 'untrusted', '')"


# Column → its SQL, and the columns of reference data that come before it.
_DERIVED: dict[str, tuple[Callable[[], str], tuple[str, ...]]] = {
    "tool_risk": (_tool_risk, (RISK,)),
    "tool_sink": (_tool_sink, ("tool_sink", RISK)),
    "content_trust": (_content_trust, ("source_trust", TRUST)),
    "canary_id": (lambda: stored("canary_id"), ("canary_name",)),
}
