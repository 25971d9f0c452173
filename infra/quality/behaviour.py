"""How good the behaviour detector is on composed fleets, beside two others in the same run.

    python -m infra.quality.behaviour [--seed N] [--intensity X ...] [--page]

The others are a plain threshold on actions a minute and, where `river` is installed, its
HalfSpaceTrees over the same measures a minute. Each of them gets the threshold that costs as many
false alarms on this very data as the detector does (but no fewer than its budget allows), which
favours them: the detector's own bars were fixed before, on another fleet.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from infra.fleet.attacks import Attack
from infra.fleet.compose import Fleet, compose
from infra.fleet.knobs import Knobs
from infra.quality.rivals import Hit, half_space_hits, rate_hits
from tachograph.detectors.behaviour.calibration import BUDGET_PER_AGENT_DAY
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.features import SCALES
from tachograph.schemas.alert import Signal

BATCH = 50_000
# An alarm so long after an attack's end still belongs to it: the longest window.
AFTER_S = 3600


class Written(NamedTuple):
    """A page, and the marks between which its tables stand."""

    page: Path
    begin: str
    end: str

    def write(self, tables: Sequence[str]) -> None:
        """Put the tables there."""
        before, _, rest = self.page.read_text(encoding="utf-8").partition(self.begin)
        _, _, after = rest.partition(self.end)
        text = "\n\n".join(tables)
        self.page.write_text(f"{before}{self.begin}{text}\n{self.end}{after}", encoding="utf-8")


PAGE = Written(
    Path(__file__).parents[2] / "docs" / "detection-quality.md",
    "<!-- behaviour -->\n",
    "<!-- end of behaviour -->\n",
)


class Judged(NamedTuple):
    """What one judge found of each attack (seconds to it, None: missed), and its alarms, right and
    false.
    """

    delays_s: list[float | None]
    right_alarms: int
    false_alarms: int


def detector_hits(fleet: Fleet) -> list[Hit]:
    """When and of whom the detector says something."""
    judge, meeting = Behaviour(), Behaviour(shared=True)
    judge.gathers = True
    for start in range(0, fleet.frame.height, BATCH):
        judge.judge(fleet.frame[start : start + BATCH], start)
    found = judge.close(0)
    for flow in found.flows:
        meeting.take(flow)
    return [hit_of(one, fleet) for one in (*found.signals, *meeting.close(0).signals)]


def hit_of(signal: Signal, fleet: Fleet) -> Hit:
    """When the window ends that a signal is of, and whose it is."""
    name, _, window = signal.witness.window["window"].partition("@")
    scale = next(scale for scale in SCALES if scale.name == name)
    end_s = (int(window) + 1) * scale.span_us / 1e6 - fleet.knobs.start_s
    return Hit(signal.entity, end_s)


def judged(fleet: Fleet, hits: Sequence[Hit]) -> Judged:
    """Hits as attacks found and false alarms: an entity's hours without an attack on it."""
    delays: list[float | None] = []
    spent: set[Hit] = set()
    for attack in fleet.attacks:
        own = [hit for hit in hits if _belongs(hit, attack)]
        spent |= set(own)
        delays.append(min((hit.at_s - attack.start_s for hit in own), default=None))
    right = {(hit.entity, hit.at_s // 3600) for hit in spent}
    false = {(hit.entity, hit.at_s // 3600) for hit in hits if hit not in spent}
    return Judged(delays, len(right), len(false))


def _belongs(hit: Hit, attack: Attack) -> bool:
    inside = attack.start_s <= hit.at_s <= attack.end_s + AFTER_S
    return inside and hit.entity in attack.entities


def agent_days(fleet: Fleet, since_s: float = 0.0) -> int:
    """Days on which somebody did something, since a time."""
    day = pl.col("event_time").dt.truncate("1d")
    later = fleet.frame.filter(day.dt.epoch("s") >= fleet.knobs.start_s + since_s)
    return later.select("partition_key", day).unique().height


def compared(fleet: Fleet) -> dict[str, Judged]:
    """The detector and its rivals."""
    own = judged(fleet, detector_hits(fleet))
    allowed = max(own.false_alarms, round(BUDGET_PER_AGENT_DAY * agent_days(fleet)))
    found = {"tachograph": own}
    for name, scored in (("rate", rate_hits(fleet)), ("half-space trees", half_space_hits(fleet))):
        if scored is not None:
            found[name] = _at_cost(fleet, scored, allowed)
    return found


def _at_cost(fleet: Fleet, scored: pl.DataFrame, allowed: int) -> Judged:
    """A rival at the lowest threshold that costs no more than the allowed false alarms.

    `scored`: entity, at_s, score of every minute.
    """
    low, high = 0, scored.height
    ranked = scored.sort("score", descending=True)
    best = judged(fleet, [])
    while low < high:
        middle = (low + high + 1) // 2
        least = ranked["score"][middle - 1]
        kept = ranked.filter(pl.col("score") >= least)
        now = judged(fleet, [Hit(*row) for row in kept.select("entity", "at_s").rows()])
        if now.false_alarms <= allowed:
            low, best = middle, now
        else:
            high = middle - 1
    return best


def table(fleet: Fleet, found: dict[str, Judged], since_s: float = 0.0) -> str:
    """Recall and median time to it, by archetype; false alarms since a time."""
    lines = ["| archetype | " + " | ".join(found) + " |", "|---" * (len(found) + 1) + "|"]
    for archetype in fleet.knobs.archetypes:
        at = [n for n, attack in enumerate(fleet.attacks) if attack.archetype == archetype]
        cells = [_cell([one.delays_s[n] for n in at]) for one in found.values()]
        lines.append(f"| {archetype} | " + " | ".join(cells) + " |")
    days = agent_days(fleet, since_s)
    alarms = [
        f"{one.false_alarms} in {days} ({one.false_alarms / days:.3f})" for one in found.values()
    ]
    lines.append("| false alarms in agent-days | " + " | ".join(alarms) + " |")
    right = [_precision(one) for one in found.values()]
    lines.append("| right of all alarms | " + " | ".join(right) + " |")
    return "\n".join(lines)


def _precision(one: Judged) -> str:
    alarms = one.right_alarms + one.false_alarms
    return f"{one.right_alarms} of {alarms} ({one.right_alarms / alarms:.0%})" if alarms else "–"


def _cell(delays: Sequence[float | None]) -> str:
    hits = [delay for delay in delays if delay is not None]
    median = f", {np.median(hits):,.0f} s" if hits else ""
    return f"{len(hits)}/{len(delays)}{median}"


def main() -> None:
    """The command."""
    usual = Knobs()
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seed", type=int, default=usual.seed)
    asked.add_argument("--intensity", type=float, nargs="+", default=[usual.intensity])
    asked.add_argument("--agents", type=int, default=usual.agents)
    asked.add_argument("--days", type=float, default=usual.days)
    asked.add_argument("--page", action="store_true", help="write the tables into the page")
    said = asked.parse_args()
    tables = []
    for place, intensity in enumerate(said.intensity):
        seed = said.seed + place
        knobs = Knobs(seed=seed, intensity=intensity, agents=said.agents, days=said.days)
        fleet = compose(knobs)
        head = f"Seed {seed}, intensity {intensity:g}: {fleet.frame.height:,} actions"
        tables.append(f"{head}\n\n{table(fleet, compared(fleet))}")
        print(tables[-1], flush=True)
    if said.page:
        PAGE.write(tables)


if __name__ == "__main__":
    main()
