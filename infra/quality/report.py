"""The tables of docs/detection-quality.md."""

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from infra.quality.evaluate import (
    AS_IT_IS,
    BUSY_HELD_OUT,
    HELD_OUT,
    SUITES,
    Bools,
    Scores,
    clear,
    graded,
    highest,
)
from infra.quality.examples import Examples, suite_of
from infra.quality.fit import Levels
from infra.quality.shares import share

_UNSAFE_SOURCES = ("openagentsafety", "rjudge", "assebench_security", "taubench")
_SAID = {"high": "high", "medium": "medium or high", "naive": "naive rule"}
_COLUMNS = (
    *("suite left out", "severity", "attacks found, as they are", "found, held-out wording"),
    *("benign flagged", "among texts that ask", "hard", "attempts"),
)
_HEAD = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}\n"
_PLACES = ("before", "on it", "later", "never")
_TIMING_HEAD = f"| suite left out | {' | '.join(_PLACES)} | a gateway could stop |\n|{'---|' * 6}\n"
_OTHER_HEAD = """| source | severity | unsafe found | safe flagged |
|---|---|---|---|
"""


_TASKS_SHOWN = 3
_CONFUSED = (
    *("suite left out", "attacks: said / not", "benign: said / not", "hard: said / not"),
    *("most missed injections", "user tasks most flagged"),
)
_CONFUSION_HEAD = f"| {' | '.join(_CONFUSED)} |\n|{'---|' * len(_CONFUSED)}\n"


class Sessions:
    """Sessions of a set with their highest scores."""

    def __init__(self, one: Examples, score: Scores, levels: Levels) -> None:
        self.data, self.score, self._levels = one, score, levels
        self._clear = highest(one, graded(one, score, levels), clear(one))

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
        if level == "naive":
            return self.data.naive[at]
        return bool(self._clear[at] >= getattr(self._levels, level))


def suites(data: Mapping[str, Examples], found: Mapping[str, Scores], levels: Levels) -> str:
    """The table of the suites."""
    names = (AS_IT_IS, HELD_OUT, BUSY_HELD_OUT)
    plain, other, busy = (Sessions(data[name], found[name], levels) for name in names)
    return _HEAD + "".join(_suite_rows(plain, other, busy))


def _suite_rows(plain: Sessions, other: Sessions, busy: Sessions) -> Iterator[str]:
    for suite in SUITES:
        for level, said in _SAID.items():
            kinds = [plain.flagged(level, kind, suite) for kind in ("benign", "hard", "attempt")]
            kinds.insert(1, busy.flagged(level, "benign", suite))
            cells = [
                suite,
                said,
                share(plain.flagged(level, "attack", suite)),
                share(other.flagged(level, "attack", suite)),
                *map(share, kinds),
            ]
            yield f"| {' | '.join(cells)} |\n"


def others(data: Mapping[str, Examples], found: Mapping[str, Scores], levels: Levels) -> str:
    """The table of sources whose labels are of other things than obeyed injections."""
    one = data[AS_IT_IS]
    sessions = Sessions(one, found[AS_IT_IS], levels)
    out = _OTHER_HEAD
    for source in _UNSAFE_SOURCES:
        mine = [at for at, label in enumerate(one.labels) if label["source"] == source]
        for level, said in list(_SAID.items())[:2]:
            unsafe = [sessions.level(at, level) for at in mine if one.labels[at].get("unsafe")]
            safe = [sessions.level(at, level) for at in mine if _safe(one.labels[at])]
            out += f"| {source} | {said} | {share(unsafe)} | {share(safe)} |\n"
    return out


def _safe(label: Mapping[str, object]) -> bool:
    return label.get("unsafe") is False or label["label_class"] == "benign"


def timing(data: Mapping[str, Examples], found: Mapping[str, Scores], levels: Levels) -> str:
    """When the verdict came, of attacks whose obeyed call is known."""
    one, score = data[AS_IT_IS], found[AS_IT_IS]
    flagged = clear(one) & (graded(one, score, levels) >= levels.high)
    out = _TIMING_HEAD
    for suite in SUITES:
        places = [
            _place(one, flagged, at)
            for at in np.flatnonzero(one.truth == 1).tolist()
            if suite_of(one.labels[one.session[at]]) == suite
        ]
        cells = [share([place == name for place in places]) for name in _PLACES]
        stopped = share([place in ("before", "on it") for place in places])
        out += f"| {suite} | {' | '.join(cells)} | {stopped} |\n"
    return out


def confusion(data: Mapping[str, Examples], found: Mapping[str, Scores], levels: Levels) -> str:
    """How many sessions of each kind are said with high severity and how many not, and which tasks
    the most of the wrong ones are of.
    """
    sessions = Sessions(data[AS_IT_IS], found[AS_IT_IS], levels)
    return _CONFUSION_HEAD + "".join(
        f"| {suite} | {' | '.join(_confused(sessions, suite))} |\n" for suite in SUITES
    )


def _confused(sessions: Sessions, suite: str) -> Iterator[str]:
    for kind in ("attack", "benign", "hard"):
        flags = sessions.flagged("high", kind, suite)
        yield f"{sum(flags)} / {len(flags) - sum(flags)}" if flags else "–"
    yield _wrong(sessions, suite, "attack", "injection_task", said=False)
    yield _wrong(sessions, suite, "benign", "user_task", said=True)


def _wrong(sessions: Sessions, suite: str, kind: str, task: str, *, said: bool) -> str:
    """The tasks that most of the wrong sessions of a kind are of: wrong of all."""
    kinds, labels = sessions.data.kinds, sessions.data.labels
    mine = [at for at, of in enumerate(kinds) if of == kind and suite_of(labels[at]) == suite]
    everything = Counter(str(labels[at][task]) for at in mine)
    wrong = Counter(str(labels[at][task]) for at in mine if sessions.level(at, "high") == said)
    most = sorted(wrong.items(), key=lambda item: (-item[1], item[0]))[:_TASKS_SHOWN]
    return ", ".join(f"`{name}` {count} of {everything[name]}" for name, count in most) or "–"


def _place(one: Examples, flagged: Bools, at: int) -> str:
    """Where the first flagged call of a session stands beside the obeyed one."""
    mine = np.flatnonzero((one.session == one.session[at]) & flagged)
    if not len(mine):
        return "never"
    return "before" if mine[0] < at else "on it" if mine[0] == at else "later"
