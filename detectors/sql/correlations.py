"""Rules over several actions as SQL: events of the steps, what is asked of each event's window, and
the first event of each group and stretch at which it holds.

Every part is a common table expression that builds on those before it. Time is compared in whole
microseconds (`at_us`), events of one moment stand in the order of their ids, and windows are
(time - timespan, time], as in the engine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tachograph.detectors.facts import UNKNOWN_AGENT
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.language.rule import Absent, Correlation, Figure, FirstSeen, Leaf, Step
from tachograph.detectors.language.rule import Values as Different
from tachograph.detectors.sql.conditions import condition_sql
from tachograph.detectors.sql.figures import scaled
from tachograph.detectors.sql.judged import Judged, judged
from tachograph.detectors.sql.text import NotExpressible, all_of, any_of, literal
from tachograph.detectors.sql.values import Value, Values

# What every row of every part has. `origin`: 0 for an action, else the step whose signal it is.
ROW = ("event_time", "event_id", "at_us", "origin", "tenant", "partition_key")
# Late and far actions stay out of windows.
_TIMELY = "NOT ifNull(late, false) AND NOT ifNull(far, false)"


def lead_us(rule: Correlation) -> int:
    """How long before a signal lie actions that it may rest on: its window, and as much before
    that, because the first event of a whole stretch is what is said.
    """
    inner = [lead_us(step.inner) for step in rule.steps if step.inner is not None]
    return 2 * rule.timespan_us + max(inner, default=0)


def of_all_time(rule: Correlation) -> bool:
    """Whether it may rest on all that came before: where a session is cut depends on where the run
    began that it is cut of.
    """
    inner = [step.inner for step in rule.steps if step.inner is not None]
    return rule.window == "session" or any(map(of_all_time, inner))


def ahead_us(rule: Correlation) -> int:
    """How long after a signal lie actions that could have kept it from being said."""
    inner = [ahead_us(step.inner) for step in rule.steps if step.inner is not None]
    waits = rule.window != "sliding" or isinstance(rule.asks, Absent)
    return (rule.timespan_us if waits else 0) + max(inner, default=0)


@dataclass
class Parts:
    """Builds the parts of one query."""

    rules: RuleSet
    values: Values = field(default_factory=Values)
    # Name → SELECT, in the order in which they build on each other.
    parts: dict[str, str] = field(default_factory=dict)

    def add(self, what: str, select: str) -> str:
        """One part more; its name."""
        name = f"{what}_{len(self.parts) + 1}"
        self.parts[name] = select
        return name

    def signals(self, rule: Correlation) -> str:
        """The part whose rows are the signals of a rule: the action that made it true, its group,
        and the value compared.
        """
        found = judged(rule, self._events(rule), by_sql(rule), self.add)
        return self.add("said", _firsts(rule, found))

    def _events(self, rule: Correlation) -> str:
        """The part whose rows are the events of a rule: with group and values, and for each step
        whether it is one of it.
        """
        plain = [step for step in rule.steps if step.inner is None]
        asked = {(tuple(leaf.group), tuple(leaf.values)) for s in plain for leaf in s.leaves}
        if len(asked) == 1 and len(plain) == len(rule.steps):
            steps = {place: step.leaves for place, step in enumerate(rule.steps)}
            return self.add("events", self._of_leaves(rule, steps))
        selects = []
        for place, step in enumerate(rule.steps):
            if step.inner is not None:
                selects.append(self._of_signals(rule, place, step))
            else:
                selects += [self._of_leaves(rule, {place: [leaf]}) for leaf in step.leaves]
        return self.add("events", _merged(rule, selects))

    def _of_leaves(self, rule: Correlation, steps: Mapping[int, Sequence[Leaf]]) -> str:
        """Actions that match leaves of these steps, which ask for the same fields."""
        conditions = {
            place: any_of(
                condition_sql(self.rules.detections[leaf.detection].condition, self.values)
                for leaf in leaves
            )
            for place, leaves in steps.items()
        }
        leaf = next(iter(steps.values()))[0]
        return self._selected(rule, leaf, conditions, origin=0)

    def _of_signals(self, rule: Correlation, place: int, step: Step) -> str:
        """Actions that made the inner correlation of a step true."""
        asked = {(tuple(leaf.group), tuple(leaf.values)) for leaf in step.leaves}
        if step.inner is None or len(asked) > 1:
            raise NotExpressible(f"{step.name} groups by fields of different names")
        said = self.signals(step.inner)
        condition = f"(tenant, event_id) IN (SELECT tenant, event_id FROM {said})"  # noqa: S608
        return self._selected(rule, step.leaves[0], {place: condition}, origin=place + 1)

    def _selected(
        self, rule: Correlation, leaf: Leaf, conditions: Mapping[int, str], *, origin: int
    ) -> str:
        groups = [self._group(name) for name in leaf.group]
        values, numbers = [], []
        match rule.asks:
            case Figure():
                numbers = [self.values.of(name) for name in leaf.values]
            case Different() | FirstSeen():
                values = [self._group(name) for name in leaf.values]
        columns = [
            "event_time",
            "event_id",
            "toUnixTimestamp64Micro(event_time) AS at_us",
            f"{origin} AS origin",
            "tenant",
            "partition_key",
            *(f"{one.text()} AS group_{n}" for n, one in enumerate(groups)),
            *(f"{one.text()} AS value_{n}" for n, one in enumerate(values)),
            *(f"{scaled(one)} AS value_{n}" for n, one in enumerate(numbers)),
            *(f"{conditions.get(n, 'false')} AS step_{n}" for n in range(len(rule.steps))),
        ]
        asked = [
            any_of(f"step_{place}" for place in conditions),
            _TIMELY,
            *(f"({one.present})" for one in [*groups, *values]),
            *(f"isNotNull(value_{n})" for n in range(len(numbers))),
        ]
        return f"SELECT {', '.join(columns)} FROM acted WHERE {all_of(asked)}"  # noqa: S608

    def _group(self, field: str) -> Value:
        """A value that is grouped by or counted: agents as well as they are known, lists whole."""
        source = ACTIONS.source(field)
        if source.column == "agent_id" and source.whole:
            known = [self.values.of(name) for name in ("agent.id", "agent.name", "partition.key")]
            choices = ", ".join(f"{one.present}, {one.sql}" for one in known)
            return Value(f"multiIf({choices}, {literal(UNKNOWN_AGENT)})", "text", "true")
        found = self.values.of(field)
        if found.kind == "texts":
            return Value(f"arrayStringConcat({found.sql}, ', ')", "text", found.present)
        return found


def by_sql(rule: Correlation) -> str:
    """What a group of a rule is: of a partition key unless it reaches across, and its values."""
    place = [] if rule.across else ["partition_key"]
    return ", ".join(["tenant", *place, *groups_of(rule)])


def groups_of(rule: Correlation) -> list[str]:
    """The columns of a rule's group-by."""
    return [f"group_{place}" for place in range(len(rule.group_by))]


def new_of(rule: Correlation) -> list[str]:
    """The fields whose values are new, of a rule that asks for that."""
    return rule.asks.fields if isinstance(rule.asks, FirstSeen) else []


def _firsts(rule: Correlation, found: Judged) -> str:
    """The first row of each group and stretch at which the condition holds."""
    new = [f"value_{place}" for place in range(len(new_of(rule)))]
    columns = ", ".join([*ROW, *groups_of(rule), *new])
    once = "" if found.each is None else f" LIMIT 1 BY {by_sql(rule)}, {found.each}"
    return (
        f"SELECT {columns}, {found.value} AS value FROM {found.part}"  # noqa: S608 - made here
        f" WHERE {found.holds} ORDER BY at_us, event_id, origin{once}"
    )


def _merged(rule: Correlation, selects: Sequence[str]) -> str:
    """Rows of several selections; an event that matched more than one step in one group is one."""
    values = len(rule.steps[0].leaves[0].values)
    same = ", ".join([*ROW, *groups_of(rule)])
    columns = [
        same,
        *(f"any(value_{n}) AS value_{n}" for n in range(values)),
        *(f"max(step_{n}) AS step_{n}" for n in range(len(rule.steps))),
    ]
    whole = " UNION ALL ".join(selects)
    return f"SELECT {', '.join(columns)} FROM ({whole}) GROUP BY {same}"  # noqa: S608 - made here
