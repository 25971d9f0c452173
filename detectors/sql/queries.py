"""A rule as one query over tacho.actions, for a stretch of time.

The stretch is a pair of query parameters, `since` and `until` (excluded). Each row is a signal that
the engine would raise over what is stored.
"""

from collections.abc import Iterable

from tachograph.detectors.language.rule import Rule, Stateless
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.sql.conditions import condition_sql
from tachograph.detectors.sql.derived import STORED, column_sql
from tachograph.detectors.sql.text import NotExpressible, name
from tachograph.detectors.sql.values import Values

# Who and what, of every row.
SHOWN = ("event_time", "event_id", "tenant", "partition_key", "agent_id", "session_id", "kind")
TIME = "DateTime64(6, 'UTC')"
SINCE, UNTIL = f"{{since:{TIME}}}", f"{{until:{TIME}}}"


def sql_of(rule: Rule, rules: RuleSet) -> str:
    """The query of a rule of the set. Raises NotExpressible that names what SQL cannot say."""
    match rule:
        case Stateless(detection=at):
            return _remark(rule) + _of_event(at, rules)
    raise NotExpressible(f"rules of kind {rule.meta.kind} over time")


def _remark(rule: Rule) -> str:
    meta = rule.meta
    return f"-- {_plain(meta.title)}\n-- Rule {_plain(meta.rule_id)}, version {meta.version}.\n"


def _plain(text: str) -> str:
    """Text on one line, so that no remark ends before its end."""
    return "".join(char if char.isprintable() else " " for char in text)


def _of_event(at: int, rules: RuleSet) -> str:
    values = Values()
    detection = rules.detections[at]
    condition = condition_sql(detection.condition, values)
    columns = list(dict.fromkeys([*SHOWN, *values.columns]))
    shown = ", ".join(map(name, columns))
    return f"""{_acted(columns, rules, SINCE)}
SELECT {shown}
FROM acted
WHERE {condition}
ORDER BY event_time, event_id
"""  # noqa: S608 - names and literals are quoted where they are made


def _acted(columns: Iterable[str], rules: RuleSet, since: str) -> str:
    """The actions of the stretch, with the columns as rules see them."""
    chosen = ",\n    ".join(
        f"{column_sql(column, rules.reference)} AS {name(column)}" for column in columns
    )
    return f"""WITH acted AS
(
    SELECT
    {chosen}
    FROM tacho.actions AS {STORED}
    WHERE {STORED}.event_time >= {since} AND {STORED}.event_time < {UNTIL}
)"""  # noqa: S608 - as above
