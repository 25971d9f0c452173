"""An agent beside its usual: its own actions judged by the engine of the stream, hour by hour."""

import io
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.detector import Behaviour
from tachograph.detectors.behaviour.features import ADDED_UP, FEATURES, SCALES
from tachograph.detectors.behaviour.levels import amount_of
from tachograph.detectors.behaviour.rows import ASKED
from tachograph.pipeline.backtest.actions import as_actions
from tachograph.pipeline.investigate.ask import OF_AGENT
from tachograph.pipeline.investigate.page import Grid, Plot
from tachograph.pipeline.query.reader import Reader
from tachograph.schemas.batch import COLUMNS

# The newest actions of the last days before the newest.
DAYS: Final = 7
MAX_ACTIONS: Final = 50_000
# Hours that the curve shows.
HOURS: Final = 48
_HOUR: Final = len(SCALES) - 1
_BARS: Final = "▁▂▃▄▅▆▇█"
# Long, and only of persons at work.
_LEFT_OUT: Final = {"content_text"}


def beside_its_usual(reader: Reader, agent_id: str, tenant: str) -> list[Grid | Plot]:
    """For each feature the newest hour, what was usual before it, and the course of hours: as a
    table, and as plots. Raises Refused, RetryLater.
    """
    heard: list[Judged] = []
    behaviour = Behaviour(listener=heard.append)
    actions = _actions(reader, agent_id, tenant)
    if actions.is_empty():
        return []
    behaviour.judge(actions, 0)
    behaviour.close(1)
    courses = _courses([one for one in heard if (_hours_of(one)).any()])
    return [_grid(courses), *(one.plot for one in courses)]


def _actions(reader: Reader, agent_id: str, tenant: str) -> pl.DataFrame:
    names = sorted(set(ASKED) - _LEFT_OUT)
    chosen = ", ".join(f"`{name}`" for name in names)
    packed = b"".join(
        reader.stream(
            f"SELECT {chosen} FROM tacho.actions WHERE {OF_AGENT}"  # noqa: S608 - our names
            " AND event_time > (SELECT max(event_time) FROM tacho.actions"
            f" WHERE {OF_AGENT}) - INTERVAL {DAYS} DAY"
            f" ORDER BY event_time DESC, event_id LIMIT {MAX_ACTIONS}",
            {"id": agent_id, "tenant": tenant},
            "ArrowStream",
        )
    )
    if not packed:
        return pl.DataFrame(schema={name: COLUMNS[name] for name in names})
    return as_actions(pl.read_ipc_stream(io.BytesIO(packed)))


def _hours_of(judged: Judged) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    found: np.ndarray[tuple[int], np.dtype[np.bool_]] = (judged.closed.scales == _HOUR) & (
        judged.judgement != ADDED_UP
    )
    return found


class _Course(NamedTuple):
    """One feature over the hours, and of how many hours its usual is made."""

    plot: Plot
    own: int


def _courses(heard: Sequence[Judged]) -> list[_Course]:
    if not heard:
        return []
    ends, amounts, centres, highest, own = (
        np.concatenate(part)
        for part in zip(
            *(
                (
                    one.closed.ends[at], one.closed.amounts[at], one.known.centre[at],
                    one.known.highest[at], one.own[at],
                )
                for one in heard
                for at in [_hours_of(one)]
            ),
            strict=True,
        )
    )  # fmt: skip
    order = np.argsort(ends, kind="stable")
    hours = (ends[order] - 1) // SCALES[_HOUR].panes
    kept = order[hours > hours[-1] - HOURS]
    first = len(order) - len(kept)
    known = own[kept] > 0
    found = []
    for place, feature in enumerate(FEATURES):
        if not amounts[:, place].any():
            continue
        levels = [_levels(one[kept, place], feature.grain, known) for one in (centres, highest)]
        plot = Plot(
            feature.name, feature.unit,
            hours[first:].tolist(),
            [int(one) for one in amounts[kept, place]], *levels,
        )  # fmt: skip
        found.append(_Course(plot, int(own[order[-1]])))
    return found


def _levels(
    levels: np.ndarray[tuple[int], np.dtype[np.float64]],
    grain: int,
    known: np.ndarray[tuple[int], np.dtype[np.bool_]],
) -> list[float | None]:
    pairs = zip(levels.tolist(), known.tolist(), strict=True)
    return [amount_of(level) * grain if one else None for level, one in pairs]


def _grid(courses: Sequence[_Course]) -> Grid:
    columns = ["measure", "newest hour", "usual", "most before", "on hours", f"last {HOURS} hours"]
    rows = []
    for plot, own in courses:
        usual, most = plot.usual[-1], plot.most[-1]
        rows.append(
            [
                f"{plot.title} ({plot.unit})",
                f"{plot.amounts[-1]:,}",
                "not known yet" if usual is None else _amount(usual),
                "" if most is None else _amount(most),
                f"{own:,}",
                sparkline(np.array(plot.hours), plot.amounts),
            ]
        )
    return Grid(columns, rows) if rows else Grid([], [])


def _amount(amount: float) -> str:
    return f"{amount:,.0f}" if amount >= 10 else f"{amount:.2g}"


def sparkline(hours: np.ndarray[tuple[int], np.dtype[np.int64]], amounts: Sequence[int]) -> str:
    """A bar for each of the last HOURS hours, as high as its share of the most; a space where
    nothing was done.
    """
    first = int(hours[-1]) - HOURS + 1
    bars = [" "] * HOURS
    most = max((int(a) for h, a in zip(hours, amounts, strict=True) if h >= first), default=0)
    for hour, amount in zip(hours.tolist(), amounts, strict=True):
        if hour >= first and amount:
            bars[hour - first] = _BARS[min(7, int(amount) * 8 // (most + 1))]
    return "".join(bars)
