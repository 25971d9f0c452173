"""The tables of docs/detection-quality.md."""

import math
from collections.abc import Iterator, Mapping, Sequence

from infra.quality.evaluate import (
    AS_IT_IS,
    HELD_OUT,
    SUITES,
    Scores,
    clear,
    highest,
    in_time,
)
from infra.quality.examples import Examples, suite_of
from infra.quality.fit import HIGH, MEDIUM

_UNSAFE_SOURCES = ("openagentsafety", "rjudge", "assebench_security", "taubench")
_COLUMNS = (
    *("suite left out", "severity", "attacks found, as they are", "found, held-out wording"),
    *("benign flagged", "hard", "attempts"),
)
_HEAD = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}\n"
_OTHER_HEAD = """| source | severity | unsafe found | safe flagged |
|---|---|---|---|
"""


def share(hits: Sequence[bool]) -> str:
    """A share with its 95 % interval (Wilson) and the number it is of."""
    number, hit = len(hits), sum(hits)
    if not number:
        return "–"
    rate, z = hit / number, 1.96
    middle = (rate + z * z / (2 * number)) / (1 + z * z / number)
    spread = z * math.sqrt(rate * (1 - rate) / number + (z / (2 * number)) ** 2)
    low, high = (middle + sign * spread / (1 + z * z / number) for sign in (-1, 1))
    return f"{rate:.1%} ({max(low, 0):.1%}–{min(high, 1):.1%}) of {number}"


class Sessions:
    """Sessions of a set with their highest scores."""

    def __init__(self, one: Examples, score: Scores) -> None:
        self.data, self.score = one, score
        self._clear = highest(one, score, clear(one))

    def flagged(self, level: str, kind: str, suite: str) -> list[bool]:
        """Whether each session of a kind and suite is said with this severity or a graver one."""
        kinds = self.data.kinds
        return [
            self.level(at, level)
            for at, label in enumerate(self.data.labels)
            if kinds[at] == kind and suite_of(label) == suite
        ]

    def level(self, at: int, level: str) -> bool:
        """Whether a session is said with this severity or a graver one."""
        return bool(self._clear[at] >= (HIGH if level == "high" else MEDIUM))


def suites(data: Mapping[str, Examples], found: Mapping[str, Scores]) -> str:
    """The table of the suites."""
    plain, other = (Sessions(data[name], found[name]) for name in (AS_IT_IS, HELD_OUT))
    return _HEAD + "".join(_suite_rows(plain, other))


def _suite_rows(plain: Sessions, other: Sessions) -> Iterator[str]:
    for suite in SUITES:
        for level in ("high", "medium"):
            kinds = [plain.flagged(level, kind, suite) for kind in ("benign", "hard", "attempt")]
            cells = [
                suite,
                level if level == "high" else "medium or high",
                share(plain.flagged(level, "attack", suite)),
                share(other.flagged(level, "attack", suite)),
                *map(share, kinds),
            ]
            yield f"| {' | '.join(cells)} |\n"


def others(data: Mapping[str, Examples], found: Mapping[str, Scores]) -> str:
    """The table of sources whose labels are of other things than obeyed injections."""
    one = data[AS_IT_IS]
    sessions = Sessions(one, found[AS_IT_IS])
    out = _OTHER_HEAD
    for source in _UNSAFE_SOURCES:
        mine = [at for at, label in enumerate(one.labels) if label["source"] == source]
        for level in ("high", "medium"):
            unsafe = [sessions.level(at, level) for at in mine if one.labels[at].get("unsafe")]
            safe = [sessions.level(at, level) for at in mine if _safe(one.labels[at])]
            said = level if level == "high" else "medium or high"
            out += f"| {source} | {said} | {share(unsafe)} | {share(safe)} |\n"
    return out


def _safe(label: Mapping[str, object]) -> bool:
    return label.get("unsafe") is False or label["label_class"] == "benign"


def timing(data: Mapping[str, Examples], found: Mapping[str, Scores]) -> str:
    """When the verdict came."""
    one, score = data[AS_IT_IS], found[AS_IT_IS]
    early = in_time(one, clear(one) & (score >= HIGH))
    return (
        "Of the attacks found with high severity whose obeyed call is known, the first alert was on"
        f" that call or on an earlier one in {share(list(early.values()))}.\n"
    )
