"""How many new targets so many acts of an agent bring, and what more of them say.

Who does more meets more: so new targets are compared with the agent's own share of acts that bring
one. What an hour says for "twice as many and one more" against "as always" is the logarithm of how
much likelier that makes it (Poisson); hours are added up until they speak against it.
All in whole numbers, in 256ths.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from tachograph.detectors.behaviour.levels import LEAST_FREE_BITS, SKETCH_BITS, level_of

Ints = npt.NDArray[np.int64]

ONE: Final = 256
# An agent that nothing is known of.
PRIOR_ACTS: Final = 40
PRIOR_NEW: Final = 2
# However rare they are, a quarter of one in an hour is nothing strange.
LEAST_EXPECTED: Final = ONE // 4
# Acts of an hour that count, and acts that are remembered; beyond it both numbers are halved.
MOST_ACTS: Final = 2**16
REMEMBERED_ACTS: Final = 2**14
# 256ths of a doubling as 256ths of a natural logarithm.
_LN2: Final = 177


def expected_new(acts: Ints, known_acts: Ints, known_new: Ints) -> Ints:
    """New targets of so many acts, by those that are known, in 256ths."""
    acts = np.minimum(acts, MOST_ACTS)
    share = (known_new + PRIOR_NEW) * ONE * acts // (known_acts + PRIOR_ACTS)
    found: Ints = np.maximum(share, LEAST_EXPECTED)
    return found


def evidence(new: Ints, expected: Ints, free_bits: Ints) -> Ints:
    """What so many new targets say. `free_bits`: of the sketch of what was met before; where few
    are free, one of them stands for several targets, and says as little as one.
    """
    more = _more(expected)
    doublings = level_of(more) - level_of(expected)
    whole = new * doublings * _LN2 // ONE - (more - expected)
    told: Ints = whole * np.maximum(free_bits, LEAST_FREE_BITS) // SKETCH_BITS
    return told


def learned(acts: Ints, new: Ints, known_acts: Ints, known_new: Ints) -> tuple[Ints, Ints]:
    """Acts and new targets that are known after this hour. One hour teaches no more new targets
    than twice what would be out of line.
    """
    most = 2 * _more(expected_new(acts, known_acts, known_new)) // ONE
    known_acts = known_acts + np.minimum(acts, MOST_ACTS)
    known_new = known_new + np.minimum(new, most)
    halves = (known_acts > REMEMBERED_ACTS).astype(np.int64)
    return known_acts >> halves, known_new >> halves


def _more(expected: Ints) -> Ints:
    return 2 * expected + ONE
