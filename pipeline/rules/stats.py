"""`tacho rules stats`: what each rule did so far, as a running door tells it."""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO

import httpx
import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.plain_text import safe
from tachograph.pipeline.rules.loading import counted
from tachograph.pipeline.tls import door_tls

TIMEOUT_S = 10.0
_MICROS = 1_000_000
# A title has what the other columns leave of the width, but so much at least.
_TITLE_CHARS, _OTHER_CHARS = 20, 52
# Of an id so much, and more where it takes more to tell it from every other.
_ID_CHARS = 8


class RuleStats(msgspec.Struct, kw_only=True):
    """One rule, over all processes of the machine. `last_match`: event time, seconds."""

    rule_id: str
    title: str
    evaluations: float = 0
    candidates: float = 0
    matches: float = 0
    signals: float = 0
    seconds: float = 0
    last_match: float | None = None
    cannot_fire: bool = False

    @property
    def micros(self) -> float:
        """Time an action took, in microseconds."""
        return self.seconds * _MICROS / self.evaluations if self.evaluations else 0.0


_FIELDS = {
    "tacho_rule_evaluations_total": "evaluations",
    "tacho_rule_candidates_total": "candidates",
    "tacho_rule_matches_total": "matches",
    "tacho_rule_signals_total": "signals",
    "tacho_rule_seconds_total": "seconds",
    "tacho_rule_last_match_seconds": "last_match",
    "tacho_rule_cannot_fire": "cannot_fire",
}


# Orders by name.
ORDERS: dict[str, Callable[[RuleStats], tuple[float, float]]] = {
    "signals": lambda one: (-one.signals, -one.matches),
    "matches": lambda one: (-one.matches, 0),
    "time": lambda one: (-one.seconds, 0),
    "title": lambda _: (0, 0),
}


def run_stats(url: str, token: str | None, *, by: str, as_json: bool, sink: TextIO) -> None:
    """Print them. `by`: one of ORDERS. Raises ConfigError or RetryLater when the door does not
    answer as it should.
    """
    order = ORDERS[by]
    found = sorted(stats_of(_fetched(url, token)), key=lambda one: (*order(one), one.title))
    if as_json:
        sink.write(msgspec.json.encode({"rules": found}).decode() + "\n")
    else:
        _table(found, sink)


def _fetched(url: str, token: str | None) -> str:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(
            f"{url.rstrip('/')}/metrics",
            headers=headers,
            timeout=TIMEOUT_S,
            verify=door_tls().context(),
        )
    except httpx.InvalidURL as error:
        raise ConfigError(f"{url}: {error}") from error
    except httpx.HTTPError as error:
        raise RetryLater(f"no door at {url} (--url names another): {error}") from error
    if answer.status_code != httpx.codes.OK:
        raise ConfigError(
            f"{url} refuses: {answer.status_code}; --url names the door, TACHO_DOOR_TOKEN holds a"
            " token with the role metrics"
        )
    return answer.text


def stats_of(text: str) -> list[RuleStats]:
    """What the Prometheus text says of rules."""
    found: dict[str, RuleStats] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = _FIELDS.get(sample.name)
            if name is None:
                continue
            rule_id, title = sample.labels["rule"], sample.labels["title"]
            own = found.setdefault(rule_id, RuleStats(rule_id=rule_id, title=title))
            value: Any = sample.value
            setattr(own, name, bool(value) if name == "cannot_fire" else value)
    return list(found.values())


def _table(found: Sequence[RuleStats], sink: TextIO) -> None:
    console = Console(file=sink)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "title"):
        table.add_column(name, no_wrap=True)
    for name in ("matched", "signals", "µs each"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("last match", no_wrap=True)
    ids = told_apart([one.rule_id for one in found])
    left = console.width - _OTHER_CHARS - max(map(len, ids.values()), default=0)
    for one in found:
        table.add_row(*_cells(one, ids[one.rule_id], max(_TITLE_CHARS, left)))
    console.print(table)
    mute = sum(one.cannot_fire for one in found)
    asked = max((one.evaluations for one in found), default=0)
    console.print(
        f"{counted(len(found), 'rule')}, {asked:,.0f} actions;"
        f" {mute} cannot fire: no action has had their fields"
    )


def told_apart(ids: Iterable[str]) -> dict[str, str]:
    """Of each id as much of its beginning as no other has."""
    ordered = sorted(set(ids))
    shared = [_alike(*pair) for pair in itertools.pairwise(ordered)]
    return {
        one: one[: max(_ID_CHARS, before + 1, after + 1)]
        for one, before, after in zip(ordered, [0, *shared], [*shared, 0], strict=False)
    }


def _alike(one: str, other: str) -> int:
    """With how many equal characters they begin."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _cells(one: RuleStats, shown_id: str, title_chars: int) -> Iterator[str | Text]:
    yield safe(shown_id, len(shown_id))
    yield safe(one.title, title_chars)
    for number in (one.matches, one.signals):
        yield f"{number:,.0f}"
    yield f"{one.micros:.2f}"
    if one.last_match is not None:
        yield f"{datetime.fromtimestamp(one.last_match, UTC):%m-%d %H:%M}"
    else:
        yield "cannot fire" if one.cannot_fire else "–"
