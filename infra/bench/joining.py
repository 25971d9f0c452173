"""What joining alerts into incidents costs.

    python -m infra.bench.joining

So many alerts held at once, with up to eleven shared values each: some rare, some met by many
agents, as in a fleet where a few causes lie among much that is ordinary.
"""

import random
import time
from collections.abc import Iterator

from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.triage.joining import KINDS, joined
from tachograph.schemas.records import IncidentMember, SharedValue

HELD = (1_000, 5_000, 20_000)
SHARED = 11
SECONDS = 6 * 3_600
START_US = 1_790_000_000_000_000


def members(held: int, seed: int = 1) -> Iterator[IncidentMember]:
    """Alerts of half as many agents, within six hours."""
    draw = random.Random(seed)
    kinds = [kind for kind in KINDS if kind != "agent"]
    for at in range(held):
        moment = to_datetime(START_US + draw.randrange(SECONDS) * 1_000_000)
        shared = {
            (kinds[place % len(kinds)], f"value-{int(held * draw.random() ** 3)}")
            for place in range(SHARED)
        }
        yield IncidentMember(
            alert_id=f"alert-{at}", revision=0, tenant="acme", entity=f"agent-{at % (held // 2)}",
            bucket_start=to_datetime(START_US), status="open", title="it", severity="high",
            risk=8_000, half_life_s=900, first_seen=moment, last_seen=moment, updated_at=moment,
            agent_id=f"agent-{at % (held // 2)}", rule_ids=[f"rule-{draw.randrange(40)}"],
            shared=[SharedValue(kind=kind, value=value) for kind, value in sorted(shared)],
            incident_id=f"alert-{at}",
        )  # fmt: skip


def main() -> None:
    for held in HELD:
        known = list(members(held))
        began_s = time.process_time()
        incidents = joined(known)
        spent_s = time.process_time() - began_s
        print(
            f"{held:,} alerts: {spent_s / held * 1e6:.0f} core-µs an alert;"
            f" {len(incidents):,} incidents"
        )


if __name__ == "__main__":
    main()
