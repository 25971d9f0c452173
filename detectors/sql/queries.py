"""A rule as one query over tacho.actions, for a stretch of time.

The stretch is a pair of query parameters, `since` and `until` (excluded). Each row is a signal that
the engine would raise over what is stored.
"""

from collections.abc import Iterable
from typing import NamedTuple

from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.rule import Correlation, Rule, Stateless
from tachograph.detectors.sql.conditions import condition_sql
from tachograph.detectors.sql.correlations import (
    Parts,
    ahead_us,
    groups_of,
    lead_us,
    new_of,
    of_all_time,
)
from tachograph.detectors.sql.derived import STORED, column_sql
from tachograph.detectors.sql.text import literal, name
from tachograph.detectors.sql.values import Values

# Who and what, of every row.
SHOWN = ("event_time", "event_id", "tenant", "partition_key", "agent_id", "session_id", "kind")
# What the parts of a correlation read of every action.
_OF_PARTS = ("event_time", "event_id", "tenant", "partition_key", "late", "far")
_TIME = "DateTime64(6, 'UTC')"
SINCE, UNTIL = f"{{since:{_TIME}}}", f"{{until:{_TIME}}}"


def sql_of(rule: Rule, rules: RuleSet, tenant: str | None = None) -> str:
    """The query of a rule of the set, over the actions of all tenants or of one. Raises
    NotExpressible that names what SQL cannot say.
    """
    asked = _Asked(rules, "" if tenant is None else f" AND {STORED}.tenant = {literal(tenant)}")
    match rule:
        case Stateless(detection=at):
            return _remark(rule) + asked.event(at)
        case Correlation():
            return _remark(rule) + asked.correlation(rule)


def _remark(rule: Rule) -> str:
    meta = rule.meta
    return f"-- {_plain(meta.title)}\n-- Rule {_plain(meta.rule_id)}, version {meta.version}.\n"


def _plain(text: str) -> str:
    """Text on one line, so that no remark ends before its end."""
    return "".join(char if char.isprintable() else " " for char in text)


class _Asked(NamedTuple):
    """What the actions are that a query looks at."""

    rules: RuleSet
    tenant: str

    def event(self, at: int) -> str:
        """The query of a condition on single actions."""
        values = Values()
        condition = condition_sql(self.rules.detections[at].condition, values)
        columns = list(dict.fromkeys([*SHOWN, *values.columns]))
        return f"""WITH {self._acted(columns, SINCE, UNTIL)}
SELECT {", ".join(map(name, columns))}
FROM acted
WHERE {condition}
ORDER BY event_time, event_id
"""  # noqa: S608 - names and literals are quoted where they are made

    def correlation(self, rule: Correlation) -> str:
        """The query of a rule over several actions."""
        made = Parts(self.rules)
        said = made.signals(rule)
        columns = list(dict.fromkeys([*_OF_PARTS, *made.values.columns]))
        since = None if of_all_time(rule) else f"{SINCE} - INTERVAL {lead_us(rule)} MICROSECOND"
        ahead = ahead_us(rule)
        until = f"{UNTIL} + INTERVAL {ahead} MICROSECOND" if ahead else UNTIL
        parts = [self._acted(columns, since, until)]
        parts += [f"{part} AS\n(\n    {select}\n)" for part, select in made.parts.items()]
        named = zip(groups_of(rule), rule.group_by, strict=True)
        groups = [f"{column} AS {name(by)}" for column, by in named]
        new = [f"value_{n} AS {name(f'new {field}')}" for n, field in enumerate(new_of(rule))]
        shown = ["event_time", "event_id", "tenant", "partition_key", *groups, *new, "value"]
        return f"""WITH {", ".join(parts)}
SELECT {", ".join(shown)}
FROM {said}
WHERE event_time >= {SINCE} AND event_time < {UNTIL}
ORDER BY event_time, event_id
"""  # noqa: S608 - as above

    def _acted(self, columns: Iterable[str], since: str | None, until: str) -> str:
        """The actions of the stretch, with the columns as rules see them. `since` None: all that
        came before, too.
        """
        chosen = ",\n    ".join(
            f"{column_sql(column, self.rules.reference)} AS {name(column)}" for column in columns
        )
        time = f"{STORED}.event_time"
        begin = "" if since is None else f"{time} >= {since} AND "
        return f"""acted AS
(
    SELECT
    {chosen}
    FROM tacho.actions AS {STORED}
    WHERE {begin}{time} < {until}{self.tenant}
)"""  # noqa: S608 - as above
