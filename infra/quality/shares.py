"""Shares, with how sure they are."""

import math
from collections.abc import Sequence

_Z = 1.96


def interval(hits: int, number: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson)."""
    rate = hits / number
    middle = (rate + _Z * _Z / (2 * number)) / (1 + _Z * _Z / number)
    spread = _Z * math.sqrt(rate * (1 - rate) / number + (_Z / (2 * number)) ** 2)
    low, high = (middle + sign * spread / (1 + _Z * _Z / number) for sign in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def share(hits: Sequence[bool]) -> str:
    """A share with its 95 % interval and the number it is of."""
    number, hit = len(hits), sum(hits)
    if not number:
        return "–"
    low, high = interval(hit, number)
    return f"{hit / number:.1%} ({low:.1%}–{high:.1%}) of {number}"
