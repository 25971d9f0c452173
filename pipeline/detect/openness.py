"""Windows that stay open although time has gone past them.

A process that learns of a new rule sends what matched it before, for windows that may have ended
long ago. Processes learn at different times. So where the matches of all of them meet, time stands
still for the rule until each of them has said that he knows it and has sent what there was.
"""

from collections.abc import Mapping

from tachograph.detectors.correlation.bank import rests_across
from tachograph.detectors.correlation.matched import chain_of, rule_key
from tachograph.detectors.plan import Plan


class Openness:
    """Which rules of a place are held open. A rule counts as brought by the change by which this
    place learned of it, whatever is said of it later.
    """

    def __init__(self, plan: Plan, since: Mapping[str, int] | None = None) -> None:
        """`since`: where in agent.config stands what brought a rule, as far as it is known."""
        order = plan.since
        self.since = {key: (since or {}).get(key, order[key]) for key in order}
        self._later = [
            (rule_key(rule), rests_across(rule))
            for rule in chain_of(plan.rules.correlations)
            if rule.across and self.since[rule_key(rule)] >= 0
        ]

    def held(self, plain: int, chained: int) -> set[str]:
        """Rules that are held, by key. `plain`: so far in agent.config all come who send matches
        of actions; `chained`: those who send signals of groups across partitions.
        """
        return {
            key
            for key, across in self._later
            if self.since[key] > (min(plain, chained) if across else plain)
        }
