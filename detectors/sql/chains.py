"""Ordered steps in SQL: a pass for each step, and no join."""

from tachograph.detectors.language.rule import Bound, Correlation, Link
from tachograph.detectors.sql.bounds import within
from tachograph.detectors.sql.text import any_of
from tachograph.detectors.sql.windows import BEFORE, ORDER, SO_FAR, Add, each_of


class Chains:
    """Events one after the other: for each event the latest start of a chain that ends with it.
    Both questions give a part, the condition at its rows, and the value compared.
    """

    def __init__(self, rule: Correlation, by: str, add: Add) -> None:
        self._rule, self._add = rule, add
        self.each = each_of(rule)
        # A window that does not slide is a world of its own.
        self._whole = rule.window != "sliding"
        self._by = f"{by}, {self.each}" if self._whole else by

    def paths(self, events: str, paths: tuple[tuple[Link, ...], ...]) -> tuple[str, str, str]:
        """Any of the paths, whole, within the timespan."""
        part = events
        starts = []
        for number, path in enumerate(paths):
            part, start = self._path(part, path, number)
            starts.append(start)
        holds = any_of(self._timely(start) for start in starts)
        return part, holds, str(len(paths[0]))

    def _path(self, part: str, path: tuple[Link, ...], number: int) -> tuple[str, str]:
        start = f"start_{number}_0"
        part = self._first(part, path[0], start)
        for place, link in enumerate(path[1:], 1):
            before, start = start, f"start_{number}_{place}"
            part = self._next(part, link, before, start)
        return part, start

    def _first(self, part: str, link: Link, start: str) -> str:
        """A chain begins with an event of its first step; others may not stand before it."""
        begins = f"step_{link.step}"
        if link.without:
            last = f"maxIf(at_us, {self._any(link.without)}) OVER {self._window(BEFORE)}"
            gone = f"{last} + {self._rule.timespan_us} <= at_us"
            begins = f"{begins} AND {f'{last} = 0' if self._whole else gone}"
        first = f"if({begins}, at_us, 0) AS {start}"
        return self._add("chains", f"SELECT *, {first} FROM {part}")  # noqa: S608

    def _next(self, part: str, link: Link, before: str, start: str) -> str:
        """A chain goes on with an event of the next step; others may not stand between."""
        if not link.without:
            latest = f"max({before}) OVER {self._window(BEFORE)}"
            goes_on = f"if(step_{link.step}, {latest}, 0) AS {start}"
            return self._add("chains", f"SELECT *, {goes_on} FROM {part}")  # noqa: S608
        # The events between two that must not stand there: a chain lives on as long as their number
        # does, and what lives is known of the event before.
        run, alive = f"run_{start}", f"alive_{start}"
        number = f"countIf({self._any(link.without)}) OVER {self._window(SO_FAR)}"
        part = self._add("runs", f"SELECT *, {number} AS {run} FROM {part}")  # noqa: S608
        latest = f"max({before}) OVER {self._window(SO_FAR, run)}"
        part = self._add("alive", f"SELECT *, {latest} AS {alive} FROM {part}")  # noqa: S608
        previous = f"lagInFrame({alive}, 1, 0) OVER {self._window('')}"
        goes_on = f"if(step_{link.step}, {previous}, 0) AS {start}"
        return self._add("chains", f"SELECT *, {goes_on} FROM {part}")  # noqa: S608

    def longest(self, events: str, bounds: list[Bound]) -> tuple[str, str, str]:
        """So many of the steps, in their order; the longest chain that ends with the event (or, of
        windows that do not slide, the longest of the window).
        """
        steps = range(len(self._rule.steps))
        part = self._add(
            "chains",
            "SELECT *, "  # noqa: S608 - names of ours
            + ", ".join(f"if(step_{n}, at_us, 0) AS start_1_{n}" for n in steps)
            + f" FROM {events}",
        )
        for length in range(2, len(steps) + 1):
            part = self._longer(part, length, steps)
        holds_of = {
            length: any_of(self._timely(f"start_{length}_{n}") for n in steps[length - 1 :])
            for length in range(1, len(steps) + 1)
        }
        choices = ", ".join(f"{holds}, {length}" for length, holds in reversed(holds_of.items()))
        longest = f"multiIf({choices}, 0)"
        part = self._add("lengths", f"SELECT *, {longest} AS length FROM {part}")  # noqa: S608
        if not self._whole:
            return part, f"length > 0 AND {within(bounds, 'length')}", "length"
        most = f"max(length) OVER (PARTITION BY {self._by})"
        part = self._add("longest", f"SELECT *, {most} AS most FROM {part}")  # noqa: S608
        return part, f"length = most AND {within(bounds, 'length')}", "length"

    def _longer(self, part: str, length: int, steps: range) -> str:
        """Chains of one step more, ending with each step that can be so far on."""
        columns = []
        for last in steps[length - 1 :]:
            before = [f"start_{length - 1}_{n}" for n in range(length - 2, last)]
            latest = (
                f"max(greatest({', '.join(before)}))" if len(before) > 1 else f"max({before[0]})"
            )
            over = f"{latest} OVER {self._window(BEFORE)}"
            columns.append(f"if(step_{last}, {over}, 0) AS start_{length}_{last}")
        return self._add("chains", f"SELECT *, {', '.join(columns)} FROM {part}")  # noqa: S608

    def _timely(self, start: str) -> str:
        """The chain began within the window."""
        if self._whole:
            return f"{start} > 0"
        return f"({start} > 0 AND {start} + {self._rule.timespan_us} > at_us)"

    def _window(self, frame: str, *more: str) -> str:
        return f"(PARTITION BY {', '.join([self._by, *more])} {ORDER} {frame})"

    def _any(self, steps: tuple[int, ...]) -> str:
        return any_of(f"step_{step}" for step in steps)
