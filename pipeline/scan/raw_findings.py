"""Lines of findings of rules on single raw events, many at a time.

What a signal of such a rule says is the same for every raw event but for its time, its ids and the
values shown. So each rule's line is made once, by the way all findings are made, and cut where
those stand. What events say is written a column at a time, and set between a line's pieces.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.facts import MAX_SAID_FIELDS, Facts, said_text
from tachograph.detectors.frames import rows_at
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rule import Stateless
from tachograph.detectors.matching.bits import Rows, Runs
from tachograph.detectors.matching.run import Run
from tachograph.detectors.prepare import DEFAULT_TENANT
from tachograph.detectors.signals import SignalMaker
from tachograph.pipeline.scan.findings import Findings
from tachograph.pipeline.scan.raw_lines import lines_of
from tachograph.schemas.identity import Prefix

_ID = "\x00event\x00"
_SIGNAL_ID = "\x00signal\x00"
_CUT = "\x00"
_NONE = np.uint32(2**32 - 1)
# Lines put together at a time: these are still in the cache when they are written.
TOGETHER = 1_000
# The text of a frame's one column as a member of an object; null where there is no text.
_MEMBER = pl.when(pl.all().is_not_null()).then(
    pl.struct(pl.all())
    .struct.json_encode()
    .str.strip_prefix("{")
    .str.strip_suffix("}")
    .alias("member")
)


class _Pieces(NamedTuple):
    """What stands before and between the parts of a rule's line that differ, and at its end."""

    where: str
    signal: str
    event: str
    members: str
    end: str


class Events:
    """Some rows of a frame, as the JSON that findings hold of them."""

    def __init__(self, frame: pl.DataFrame, rows: Rows, run: Run | None = None) -> None:
        """`run`: what rules asked of the frame."""
        self._frame, self._rows, self._run = frame, rows, run
        self._named = rows_at(frame["~event_id"], rows)
        self.ids: list[str] = self._named.to_list()

    @cached_property
    def where(self) -> list[str]:
        """When each was, which it is, and the number of its line."""
        times = rows_at(self._frame["~event_time"], self._rows)
        texts = times.dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
        texts = texts.str.replace(".000000Z", "Z", literal=True)
        cut = _where(f'"{_CUT}"', f'"{_CUT}"', _CUT).split(_CUT)
        told = zip(texts.to_list(), self.ids, lines_of(self._named).to_list(), strict=True)
        time, event, line, _ = cut
        return [f"{time}{at}{event}{name}{line}{number}" for at, name, number in told]

    def members(self, name: str, places: Rows) -> tuple[pl.Series, Rows] | None:
        """What the events at these places say in a field, each event once, as members of objects;
        and for each place where among them. None where no event says anything.
        """
        column = RAW.source(name).column
        values, at = self._values(column, self._rows[places])
        asked = np.zeros(values.height, np.bool_)
        asked[at] = True
        said = said_text(values, np.flatnonzero(asked), name, RAW)
        if said is None:
            return None
        members = said.to_frame().select(_MEMBER).to_series()
        return members, (np.cumsum(asked) - 1)[at]

    def _values(self, column: str, rows: Rows) -> tuple[pl.DataFrame, Rows]:
        """A frame with the values of a column, and where in it those of the rows stand: the values
        that differ where they are known, so that each is written once.
        """
        known = None if self._run is None else self._run.distinct(column)
        codes = None if known is None else known.codes(rows)
        if known is None or codes is None:
            return self._frame, rows
        return known.values.alias(column).to_frame(), codes


class FindingLines:
    """Writes the findings of some rules."""

    def __init__(self, rules: Sequence[Stateless], made_of: RuleSet) -> None:
        """`made_of`: the set that the rules are of."""
        self._pieces = [_cut(rule, SignalMaker(rule.meta, made_of.versions)) for rule in rules]
        self._ids = [Prefix(DEFAULT_TENANT, r.meta.rule_id, r.meta.version) for r in rules]
        shown = [made_of.detections[r.detection].fields[:MAX_SAID_FIELDS] for r in rules]
        self._fields = sorted({name for names in shown for name in names})
        numbers = {name: number for number, name in enumerate(self._fields)}
        # The fields that each rule shows, by number.
        self._shown = [[numbers[name] for name in names] for names in shown]

    def lines(self, events: Events, rules: Rows, places: Rows) -> Iterator[bytes]:
        """A line for each of these rules with the event at its place, some lines at a time.
        `rules`: ascending.
        """
        said = self._said(events, rules, places)
        for number, run in Runs.of(rules).slices(len(rules)):
            for start in range(run.start, run.stop, TOGETHER):
                some = slice(start, min(start + TOGETHER, run.stop))
                yield self._written(events, number, places[some].tolist(), said[some])

    def _written(
        self, events: Events, rule: int, places: Sequence[int], said: Sequence[str]
    ) -> bytes:
        where, signal, event, members, end = self._pieces[rule]
        ids = [events.ids[place] for place in places]
        signals = self._ids[rule].ids(ids)
        lines = [
            f"{where}{events.where[place]}{signal}{made}{event}{name}{members}{says}{end}"
            for place, made, name, says in zip(places, signals, ids, said, strict=True)
        ]
        return "".join(lines).encode()

    def _said(self, events: Events, rules: Rows, places: Rows) -> list[str]:
        """What is shown of each event, as the members of an object."""
        members = self._members(events, rules, places)
        if not members:
            return [""] * len(rules)
        joined = pl.concat_str([c.name for c in members], separator=",", ignore_nulls=True)
        said: list[str] = pl.DataFrame(members).select(joined.alias("said")).to_series().to_list()
        return said

    def _members(self, events: Events, rules: Rows, places: Rows) -> list[pl.Series]:
        """What each event says in each of the fields that are shown of it, a column for each place
        that a field may be shown in.
        """
        shown: dict[int, list[tuple[int, slice]]] = {}
        for number, lines in Runs.of(rules).slices(len(rules)):
            for column, field in enumerate(self._shown[number]):
                shown.setdefault(field, []).append((column, lines))
        found = np.full((MAX_SAID_FIELDS, len(rules)), _NONE)
        said: list[pl.Series] = []
        count = 0
        for field, parts in shown.items():
            asked = np.concatenate([places[lines] for _, lines in parts])
            told = events.members(self._fields[field], asked)
            if told is None:
                continue
            members, at = told
            at += count
            begin = 0
            for column, lines in parts:
                end = begin + lines.stop - lines.start
                found[column, lines] = at[begin:end]
                begin = end
            said.append(members)
            count += len(members)
        if not said:
            return []
        # What is shown nowhere is the null at the end.
        every = pl.concat([*said, pl.Series([None], dtype=pl.String)])
        return [
            every[np.minimum(of_column, count)].alias(f"member {column}")
            for column, of_column in enumerate(found)
            if (of_column != _NONE).any()
        ]


def _cut(rule: Stateless, maker: SignalMaker) -> _Pieces:
    facts = Facts(event_id=_ID, time_us=0, tenant=DEFAULT_TENANT)
    found = msgspec.structs.replace(maker.of_event(rule, facts, 0), signal_id=_SIGNAL_ID)
    (made,) = Findings(raw=False).take([found])
    line = msgspec.json.encode(made).decode()
    head, line = line.split(_where(_json(made.event_time), _json(_ID), "null"), 1)
    before_signal, line = line.split(_json(_SIGNAL_ID), 1)
    before_event, line = line.split(_json(_ID), 1)
    before_members, line = line.split('"fields":{}', 1)
    # What is put in comes without its quotes.
    return _Pieces(
        where=head,
        signal=f'{before_signal}"',
        event=f'"{before_event}"',
        members=f'"{before_members}"fields":{{',
        end=f"}}{line}\n",
    )


def _where(time: str, name: str, line: str) -> str:
    return f'"event_time":{time},"event_id":{name},"event_index":{line}'


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()
