"""Whether the false-alarm budget holds where honest work is unlike what bars were measured on.

    python -m infra.quality.odd [--seed N] [--page]

Every fleet is honest, so whatever is said is a false alarm. Other seeds than the calibration's.
"""

import argparse
from typing import Final

import msgspec

from infra.fleet.compose import compose
from infra.fleet.knobs import DAY_S, Knobs
from infra.quality.behaviour import PAGE, Judged, agent_days, detector_hits, judged

HONEST: Final = Knobs(agents=50, attacks_per_archetype=0)
THURSDAY_S: Final = HONEST.start_s + 3 * DAY_S
FLEETS: Final[dict[str, Knobs]] = {
    "a small one, a week": msgspec.structs.replace(HONEST, agents=5, persons=2, days=7.0),
    "a first day": msgspec.structs.replace(HONEST, days=1.0),
    "five times the pace": msgspec.structs.replace(HONEST, agents=30, pace=5.0, days=2.0),
    "a seventh of the pace": msgspec.structs.replace(HONEST, pace=0.15, days=5.0),
    "twenty times the bytes, rows and tokens": msgspec.structs.replace(HONEST, amounts=20),
    "office hours, no weekends": msgspec.structs.replace(
        HONEST, agents=30, rhythm=1.0, weekends_off=True, days=9.0, start_s=THURSDAY_S
    ),
    "most agents begin later": msgspec.structs.replace(HONEST, late=0.7),
    "half with a long run each night": msgspec.structs.replace(HONEST, nightly=0.5, days=4.0),
    "a release of every agent": msgspec.structs.replace(HONEST, releases=1.0),
    "three roll-outs, all agents at once": msgspec.structs.replace(HONEST, rollouts=3),
}
WRITTEN: Final = PAGE._replace(begin="<!-- odd fleets -->\n", end="<!-- end of odd fleets -->\n")


def row(name: str, knobs: Knobs) -> str:
    """A line of the table."""
    fleet = compose(knobs)
    found: Judged = judged(fleet, detector_hits(fleet))
    days = agent_days(fleet)
    said = f"{found.false_alarms} in {days} ({found.false_alarms / days:.3f})"
    return f"| {name} | {fleet.frame.height:,} | {said} |"


def main() -> None:
    """The command."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seed", type=int, default=601)
    asked.add_argument("--page", action="store_true", help="write the table into the page")
    said = asked.parse_args()
    lines = ["| honest fleet | actions | false alarms in agent-days |", "|---|---|---|"]
    for place, (name, knobs) in enumerate(FLEETS.items()):
        lines.append(row(name, msgspec.structs.replace(knobs, seed=said.seed + place)))
        print(lines[-1], flush=True)
    if said.page:
        WRITTEN.write(["\n".join(lines)])


if __name__ == "__main__":
    main()
