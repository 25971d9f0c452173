"""Agents that little is known of, held against those of their place that are known.

How much is sent, read or spent differs between places by orders of magnitude, so what agents at
large do says nothing of it. Where an agent is seen, what is usual for it goes as a match row to
where all of its tenant meet, every two hours in which it learned something, and so does each window
of an agent that is not known yet. There such a window of epoch e is judged by the agents that were
known by the end of epoch e - 2: those of its tenant, and among them more those of its kind, blended
by how many there are. All that is said follows from a set of rows, wherever they come from.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.baselines import (
    EPOCH_PANES,
    LEAST_SPREAD,
    PRIOR_WINDOWS,
    USUAL_SPREADS,
    WARM,
    Baselines,
)
from tachograph.detectors.behaviour.calibration import Calibration
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.features import FEATURES, SCALES
from tachograph.detectors.behaviour.levels import OCTAVE, amount_of
from tachograph.detectors.behaviour.peers import LEAST_PEERS, PeerGroups
from tachograph.detectors.behaviour.report import Said, Versions, grave, signal_of
from tachograph.detectors.behaviour.rows import PEERS_OF
from tachograph.detectors.behaviour.shared import COMPANY, COMPANY_ROW, travelling
from tachograph.detectors.correlation.travel import GROUP, RULE, VERSION
from tachograph.schemas.alert import Signal

Ints = npt.NDArray[np.int64]

COMPANY_VERSION: Final = "1"
# Features of which so much is usual as the place has it.
OF_PLACE: Final = [at for at, feature in enumerate(FEATURES) if feature.of_place]
_LEAST: Final = np.array([feature.least for feature in FEATURES]).T
# What is usual for an agent is told again after so many epochs; epoch e is held against e - LAG.
TOLD_EPOCHS: Final = 12
LAG: Final = 2
# Who was not heard of for so long is no company any more: a week and a day. An agent's feature is
# said once a day.
_DAY_EPOCHS: Final = 144
_HEARD_EPOCHS: Final = 8 * _DAY_EPOCHS
# Three of four known agents never had more.
_QUARTER: Final = 4


class Told(msgspec.Struct, frozen=True, array_like=True, tag="told"):
    """What is usual for an agent at the end of an epoch: the windows it rests on by length; centre,
    spread and highest level by length and feature of OF_PLACE.
    """

    who: Identity
    kind: str
    epoch: int
    windows: list[int]
    levels: list[list[list[int]]]


class Window(msgspec.Struct, frozen=True, array_like=True, tag="window"):
    """A feature of a window of an agent that is not known yet, and what is known of it by then."""

    who: Identity
    kind: str
    end: int
    scale: int
    feature: int
    amount: int
    level: int
    own: int
    centre: int
    spread: int
    highest: int
    row: dict[str, str | int | bool | list[str] | None]


_ROW: Final = (
    "first_us", "last_us", "window", "acts", "ids", "session_id", "trace_id", "principal_id",
    "environment", "tool_name", "synthetic", "replay",
)  # fmt: skip


def told_now(
    baselines: Baselines, agents: Sequence[Identity | None], groups: PeerGroups, epoch: int
) -> list[pl.DataFrame]:
    """Match rows of what was usual for agents in an epoch that is over, where it is due; they count
    as told.
    """
    slots = baselines.to_tell(epoch, TOLD_EPOCHS)
    each = [np.full(len(slots), scale) for scale in range(len(SCALES))]
    known = [baselines.known(slots, scales) for scales in each]
    levels = np.stack([np.stack([k.centre, k.spread, k.highest], 2)[:, OF_PLACE] for k in known], 1)
    windows = np.stack([baselines.windows(slots, scales) for scales in each], 1)
    told = [
        Told(who, groups.kind_of(slot), epoch, windows[at].tolist(), levels[at].tolist())
        for at, slot in enumerate(slots.tolist())
        if (who := agents[slot]) is not None and not who.claim
    ]
    return [_sent(told)] if told else []


def unknown_now(
    judged: Judged, agents: Sequence[Identity | None], groups: PeerGroups
) -> list[pl.DataFrame]:
    """Match rows of windows of agents that are not known, a row for each feature of which there is
    enough.
    """
    closed, known = judged.closed, judged.known
    enough = closed.amounts[:, OF_PLACE] >= _LEAST[closed.scales][:, OF_PLACE]
    enough &= (judged.own < WARM[closed.scales])[:, None]
    found = []
    for place, at in zip(*(one.tolist() for one in np.nonzero(enough)), strict=True):
        feature, slot = OF_PLACE[at], int(closed.slots[place])
        cell = place, feature
        who, row = agents[slot], judged.row(place)
        if who is None:
            continue
        of = (closed.amounts, closed.levels, known.centre, known.spread, known.highest)
        amount, level, centre, spread, highest = (int(one[cell]) for one in of)
        found.append(
            Window(
                who, row[PEERS_OF] or groups.kind_of(slot), int(closed.ends[place]),
                int(closed.scales[place]),
                feature, amount, level, int(judged.own[place]), centre, spread, highest,
                {name: row[name] for name in _ROW},
            )
        )  # fmt: skip
    return [_sent(found)] if found else []


def _sent(rows: Sequence[Told | Window]) -> pl.DataFrame:
    """As match rows."""
    frame = pl.DataFrame(
        {
            "tenant": [row.who.tenant for row in rows],
            "partition_key": [row.who.partition_key for row in rows],
            COMPANY_ROW: [msgspec.json.encode(row).decode() for row in rows],
            GROUP: [""] * len(rows),
        }
    )
    return travelling(frame, COMPANY, COMPANY_VERSION)


class CompanyState(msgspec.Struct, frozen=True, array_like=True):
    """As it is dumped."""

    told: list[Told]
    windows: list[Window]
    said: list[tuple[Identity, int, int]]
    over: int


class _Usual(NamedTuple):
    """What is usual among known agents: how many, and centre, spread and highest level."""

    agents: int
    centre: int
    spread: int
    highest: int


class _Held(NamedTuple):
    """What a window was held against: the highest level that is usual, spread, score and bar."""

    level: int
    spread: int
    score: int
    bar: int


class Place:
    """What was known of the agents of a tenant by an epoch."""

    def __init__(self, told: Sequence[Told]) -> None:
        self._kinds = np.array([one.kind for one in told], object)
        self._windows = np.array([one.windows for one in told], np.int64)
        self._levels = np.array([one.levels for one in told], np.int64)
        self._cells: dict[tuple[str | None, int, int], tuple[int, Ints]] = {}

    def usual(self, kind: str, scale: int, feature: int) -> _Usual | None:
        """None: too few are known."""
        if not len(self._kinds):
            return None
        count, place = self._among(None, scale, feature)
        if count < LEAST_PEERS:
            return None
        alike, own = self._among(kind, scale, feature) if kind else (0, place)
        # Five of its kind count as much as all together.
        mixed = (place * LEAST_PEERS + own * alike) // (LEAST_PEERS + alike)
        return _Usual(count, *mixed.tolist())

    def _among(self, kind: str | None, scale: int, feature: int) -> tuple[int, Ints]:
        """How many there are (of a kind), and what is usual for them: the middle of their centres;
        how far they are from it and windows from theirs; the highest of all but a quarter of them.
        """
        key = kind, scale, feature
        if key not in self._cells:
            rows = self._windows[:, scale] >= WARM[scale]
            if kind is not None:
                rows = rows & (self._kinds == kind)
            cells = self._levels[rows, scale, feature]
            self._cells[key] = len(cells), _middle(cells) if len(cells) else np.zeros(3, np.int64)
        return self._cells[key]


def _middle(cells: Ints) -> Ints:
    centres, spreads, highest = np.sort(cells, axis=0).T
    half = (len(cells) - 1) // 2
    apart = int(np.abs(centres - centres[half]).sum()) * 5 // (4 * len(cells))
    top = highest[len(highest) - 1 - len(highest) // _QUARTER]
    return np.array([centres[half], spreads[half] + apart, top], np.int64)


class Company:
    """All agents of the tenants that meet here. Not thread-safe."""

    def __init__(self, calibration: Calibration, bars: Ints, limit: int) -> None:
        """`limit`: agents that are known, and windows that wait."""
        self._calibration, self._bars, self._limit = calibration, bars, limit
        self._version = calibration.version()
        # Of each agent what was told of it, by epoch.
        self._told: dict[Identity, dict[int, Told]] = {}
        self._windows: dict[tuple[int, Identity, int, int], Window] = {}
        # The day on which each agent and feature was said last.
        self._said: dict[tuple[Identity, int], int] = {}
        self._over = 0
        # By tenant, in the epoch that is being judged: what is known, and what is asked of it.
        self._known: dict[str, list[Told]] | None = None
        self._places: dict[str, Place] = {}
        # The epoch that was asked for last, and how many were at work by it.
        self._worked: tuple[int, Counter[str]] | None = None
        self.evicted = 0

    def take(self, rows: pl.DataFrame) -> None:
        """Take match rows in; one that comes twice counts once."""
        ours = rows.filter((pl.col(RULE) == COMPANY) & (pl.col(VERSION) == COMPANY_VERSION))
        if COMPANY_ROW not in ours.columns:
            return
        for text in ours[COMPANY_ROW].drop_nulls().to_list():
            row = msgspec.json.decode(text, type=Told | Window)
            if isinstance(row, Told):
                self._worked = None
                self._told.setdefault(row.who, {})[row.epoch] = row
            elif row.end > self._over and len(self._windows) < self._limit:
                self._windows[row.end, row.who, row.scale, row.feature] = row
            else:
                self.evicted += 1

    def close(self, before: int, revision: int) -> list[Signal]:
        """Judge windows that end at or before a base pane."""
        over = sorted(
            (row for row in self._windows.values() if row.end <= before),
            key=lambda row: (row.end, msgspec.structs.astuple(row.who), row.scale, row.feature),
        )
        found, epoch = [], None
        for row in over:
            now = (row.end - 1) // EPOCH_PANES
            if now != epoch:
                epoch, self._known, self._places = now, None, {}
            del self._windows[row.end, row.who, row.scale, row.feature]
            if (signal := self._judged(row, now, revision)) is not None:
                found.append(signal)
        was, self._over = self._over, max(self._over, before)
        if self._over // EPOCH_PANES > was // EPOCH_PANES or len(self._told) > self._limit:
            self._forget(self._over // EPOCH_PANES)
        return found

    def _forget(self, epoch: int) -> None:
        """What no window to come is held against."""
        kept = {}
        for who, told in self._told.items():
            newest = max((one for one in told if one <= epoch - LAG), default=None)
            left = {at: row for at, row in told.items() if newest is None or at >= newest}
            if max(left) >= epoch - _HEARD_EPOCHS:
                kept[who] = left
        over = len(kept) - self._limit
        if over > 0:
            self.evicted += over
            for who in sorted(kept, key=lambda one: (max(kept[one]), tuple(_key(one))))[:over]:
                del kept[who]
        self._told = kept
        day = epoch // _DAY_EPOCHS
        self._said = {key: said for key, said in self._said.items() if said >= day - 1}

    def _judged(self, row: Window, epoch: int, revision: int) -> Signal | None:
        day, key = epoch // _DAY_EPOCHS, (row.who, row.feature)
        usual = self._place(row.who.tenant, epoch - LAG).usual(
            row.kind, row.scale, OF_PLACE.index(row.feature)
        )
        if usual is None or self._said.get(key, -1) >= day:
            return None
        held = self._held(row, usual)
        if held.score < held.bar:
            return None
        self._said[key] = day
        said = _words(row, usual, held, self._calibration)
        by = Versions(self._version, revision)
        return signal_of(row.who, row.row, SCALES[row.scale], said, by)

    def _held(self, row: Window, usual: _Usual) -> _Held:
        """Of what is known of an agent PRIOR_WINDOWS are agents at large: its company stands in for
        these.
        """
        at_large = self._calibration.centre[row.scale][row.feature]
        whole = PRIOR_WINDOWS + row.own
        centre = row.centre + (usual.centre - at_large) * PRIOR_WINDOWS // whole
        spread = (row.spread * row.own + usual.spread * PRIOR_WINDOWS) // whole
        spread = max(spread, LEAST_SPREAD)
        level = max(centre + USUAL_SPREADS * spread, usual.highest, row.highest)
        unsure = Baselines.unsure(np.array([row.scale]), np.array([row.own]))
        bar = int(self._bars[row.scale, row.feature] + unsure[0, 0])
        return _Held(level, spread, (row.level - level) * OCTAVE // spread, bar)

    def _place(self, tenant: str, epoch: int) -> Place:
        if self._known is None:
            self._known = self._known_by(epoch)
        if tenant not in self._places:
            self._places[tenant] = Place(self._known.get(tenant, []))
        return self._places[tenant]

    def _known_by(self, epoch: int) -> dict[str, list[Told]]:
        """What was told last of each agent by an epoch, by tenant."""
        since = epoch - _HEARD_EPOCHS
        by_tenant: dict[str, list[Told]] = {}
        for who, told in self._told.items():
            newest = max((one for one in told if since <= one <= epoch), default=None)
            if newest is not None:
                by_tenant.setdefault(who.tenant, []).append(told[newest])
        return by_tenant

    def at_work(self, tenant: str, epoch: int) -> int:
        """How many agents of a tenant are known and were at work in the day before an epoch, as was
        told by epoch - LAG.
        """
        if self._worked is None or self._worked[0] != epoch:
            until, since = epoch - LAG, epoch - LAG - _DAY_EPOCHS
            self._worked = (
                epoch,
                Counter(
                    who.tenant
                    for who, told in self._told.items()
                    if any(since < one <= until for one in told)
                ),
            )
        return self._worked[1][tenant]

    def state(self) -> CompanyState:
        """All of it."""
        told = [row for own in self._told.values() for row in own.values()]
        said = [(who, feature, day) for (who, feature), day in self._said.items()]
        return CompanyState(told, list(self._windows.values()), said, self._over)

    def restore(self, state: CompanyState) -> None:
        """Take up a state."""
        self._told = {}
        for row in state.told:
            self._told.setdefault(row.who, {})[row.epoch] = row
        self._windows = {(row.end, row.who, row.scale, row.feature): row for row in state.windows}
        self._said = {(who, feature): day for who, feature, day in state.said}
        self._over = state.over


def _key(who: Identity) -> list[str]:
    return list(msgspec.structs.astuple(who))


def _words(row: Window, usual: _Usual, held: _Held, calibration: Calibration) -> Said:
    asked, scale = FEATURES[row.feature], SCALES[row.scale]
    own, centre, most = (
        amount_of(float(one)) * asked.grain for one in (row.centre, usual.centre, usual.highest)
    )
    p_value = calibration.p_value(row.scale, row.feature, held.score)
    kind = f", those of its kind ({row.kind}) above all" if row.kind else ""
    return Said(
        asked.finding,
        grave(row.amount, max(centre, most), asked.grain),
        f"{asked.finding.title}: {row.amount:,} {asked.unit} ({asked.name}) in {scale.name}, where "
        f"{centre:,.3g} is usual by {usual.agents:,} known agents of its place{kind}, and most of "
        f"them never had more than {most:,.3g}; the agent itself is known by {row.own:,} windows",
        {
            "feature": asked.name,
            "judged_by": scale.name,
            "held_against": "peers",
            "observed": str(row.amount),
            "expected": f"{centre:.6g}",
            "usual": f"{own:.6g}",
            "usual_of_peers": f"{centre:.6g}",
            "peers": row.kind,
            "peers_known": str(usual.agents),
            "most_before": f"{most:.6g}",
            "windows_known": str(row.own),
            "p_value": f"{p_value:.3g}",
        },
        {
            f"score_{asked.name}": held.score / OCTAVE,
            asked.name: float(row.amount),
            "p_value": p_value,
        },
        {"bar": str(held.bar), "level": str(held.level), "spread": str(held.spread)},
    )
