"""What is new to an agent is what it had not met when the window began; what it meets again and
again is never new, however much else it meets.
"""

import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.baselines import EPOCH_PANES
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.features import SCALES
from tachograph.detectors.behaviour.measures import KNOWN_WORDS
from tachograph.detectors.behaviour.met import FULL_BITS, Met
from tachograph.schemas.behaviour import PREFIX
from tests.detectors.made import frame

HOUR_S = 3600
START_S = 1_790_000_000 // HOUR_S * HOUR_S
HOUR_EPOCHS = SCALES[-1].panes // EPOCH_PANES
SHORT, LONGEST = np.array([0]), np.array([len(SCALES) - 1])
SLOT = np.array([0])


def words(*bits: int) -> npt.NDArray[np.uint64]:
    found = np.zeros((1, KNOWN_WORDS), np.uint64)
    for bit in bits:
        found[0, bit // 64] |= np.uint64(1 << bit % 64)
    return found


def known(met: Met, *bits: int, scales: npt.NDArray[np.int64] = SHORT) -> list[bool]:
    before = met.before(SLOT, scales)
    return [bool((before & words(bit)).any()) for bit in bits]


def test_what_is_new_in_an_hour_is_new_to_the_whole_hour() -> None:
    rows = [
        {
            "event_id": str(number), "agent_id": "a", "kind": "tool_call", "tool_name": "look_up",
            "event_time": START_S + 300 * number + 1, "target_domain": f"d{number}.example",
        }
        for number in range(24)
    ]  # fmt: skip
    one = Behaviour()
    one.asked = True
    one.judge(frame(rows), 1)
    [measured] = one.close(2).measured
    by_length = dict(measured.group_by(PREFIX + "window").agg(PREFIX + "new_targets").iter_rows())
    # Sketches are right within one.
    assert all(12 <= new <= 13 for new in by_length["1 h"])
    assert by_length["10 min"] == [2] * 12


def test_what_was_met_is_known_to_the_next_epoch_and_to_the_next_hour() -> None:
    met = Met()
    met.grow(1)
    met.note(SLOT, words(7))
    assert known(met, 7) == [False]
    met.fold(0, 1)
    assert (known(met, 7), known(met, 7, scales=LONGEST)) == ([True], [False])
    met.fold(1, HOUR_EPOCHS)
    assert known(met, 7, scales=LONGEST) == [True]


def test_what_is_met_again_is_never_forgotten_and_what_is_not_is_new_after_two_generations() -> (
    None
):
    met = Met()
    met.grow(1)
    met.note(SLOT, words(3, 9))
    for epoch, begin in enumerate((10, 10 + FULL_BITS)):
        met.note(SLOT, words(3, *range(begin, begin + FULL_BITS)))
        met.fold(epoch, epoch + 1)
        assert known(met, 3) == [True]
    assert known(met, 9, 12, 10 + FULL_BITS) == [False, False, True]


def test_a_sketch_of_who_meets_much_that_is_new_has_room_for_more() -> None:
    met, rng = Met(), np.random.default_rng(3)
    met.grow(1)
    for epoch in range(200):
        met.note(SLOT, words(*rng.integers(0, 256, 4).tolist()))
        met.fold(epoch, epoch + 1)
        used = np.bitwise_count(met.before(SLOT, SHORT)[:, :4]).sum()
        assert used <= 2 * FULL_BITS


def test_a_restart_changes_nothing() -> None:
    met = Met()
    met.grow(1)
    met.note(SLOT, words(1))
    met.fold(0, 1)
    met.note(SLOT, words(2))
    again = Met()
    again.restore(met.state(1), 1)
    for one in (met, again):
        one.fold(1, HOUR_EPOCHS)
    assert known(again, 1, 2, scales=LONGEST) == known(met, 1, 2, scales=LONGEST) == [True, True]
