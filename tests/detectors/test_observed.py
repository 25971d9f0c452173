"""A signal says when the event that made it true was observed, whichever kind of rule it is of."""

from tachograph.detectors.across import WholeDetector
from tests.detectors.made import at, frame
from tests.detectors.test_across import RULES


def test_the_time_of_observation_is_that_of_the_event_at_which_it_became_true() -> None:
    rows = [
        {
            "event_id": f"{n:032x}", "event_time": n, "observed_time": at(100 + n),
            "kind": "tool_call", "tool_name": "a", "agent_id": f"agent-{n}",
            "partition_key": f"agent-{n}", "principal_id": "P",
        }
        for n in range(3)
    ]  # fmt: skip
    found = WholeDetector(RULES).process(frame(rows), [], 1).signals
    assert {s.title: s.observed_time for s in found} == {"three of one principal": at(102)}
