"""Lines of findings of rules on single raw events, many at a time.

What a signal of such a rule says is the same for every raw event but for its time, its ids and the
values shown. So each rule's line is made once, by the way all findings are made, and cut where
those stand; the lines of all rules are then put together a column at a time.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.facts import MAX_SAID_FIELDS, Facts, said_text
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rule import Stateless
from tachograph.detectors.matching.bits import Rows
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
# What stands between the parts of a line that differ.
_PARTS = ("head", "before_event", "before_fields", "before_members", "tail")


class Events:
    """Some rows of a frame, as the JSON that findings hold of them."""

    def __init__(self, frame: pl.DataFrame, rows: Rows) -> None:
        self._frame, self._rows = frame, rows
        self.ids = frame["~event_id"][rows].alias("id")
        self.names: list[str] = self.ids.to_list()
        self._said: dict[str, pl.Series | None] = {}

    @cached_property
    def where(self) -> pl.Series:
        """When each was, which it is, and the number of its line."""
        times = self._frame["~event_time"][self._rows].dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
        times = times.str.replace(".000000Z", "Z", literal=True)
        texts = pl.DataFrame([times.alias("time"), self.ids, lines_of(self.ids).alias("line")])
        cut = map(pl.lit, _where(f'"{_CUT}"', f'"{_CUT}"', _CUT).split(_CUT)[:-1])
        pieces = zip(cut, texts.columns, strict=True)
        joined = pl.concat_str([piece for pair in pieces for piece in pair])
        return texts.select(joined.alias("where")).to_series()

    def said(self, name: str) -> pl.Series | None:
        """What each says in a field; None where none says anything."""
        if name not in self._said:
            self._said[name] = said_text(self._frame, self._rows, name, RAW)
        return self._said[name]


class FindingLines:
    """Writes the findings of some rules."""

    def __init__(self, rules: Sequence[Stateless], made_of: RuleSet) -> None:
        """`made_of`: the set that the rules are of."""
        cut = [_cut(rule, SignalMaker(rule.meta, made_of.versions)) for rule in rules]
        self._parts = pl.DataFrame(cut, schema=dict.fromkeys(_PARTS, pl.String), orient="row")
        self._ids = [Prefix(DEFAULT_TENANT, r.meta.rule_id, r.meta.version) for r in rules]
        shown = [made_of.detections[r.detection].fields[:MAX_SAID_FIELDS] for r in rules]
        self._fields = sorted({name for names in shown for name in names})
        numbers = {name: number for number, name in enumerate(self._fields)}
        # The fields that each rule shows, by number; then -1.
        self._shown = np.full((len(rules), MAX_SAID_FIELDS), -1)
        for of_rule, names in zip(self._shown, shown, strict=True):
            of_rule[: len(names)] = [numbers[name] for name in names]

    def lines(self, events: Events, rules: Rows, places: Rows) -> Iterator[bytes]:
        """A line for each of these rules with the event at its place, some lines at a time.
        `rules`: ascending.
        """
        members = self._members(events, self._shown[rules], places)
        own = [events.where[places], events.ids[places], self._signal_ids(events, rules, places)]
        frame = pl.DataFrame([*self._parts[rules], *own, *members])
        names = [column.name for column in members]
        says = pl.concat_str(names, separator=",", ignore_nulls=True) if names else pl.lit("")
        head, event, fields, show, tail = _PARTS
        line = pl.concat_str(head, "where", event, "signal", fields, "id", show, says, tail)
        for part in frame.iter_slices(TOGETHER):
            written = io.BytesIO()
            part.select(line).write_csv(written, include_header=False, quote_style="never")
            yield written.getvalue()

    def _signal_ids(self, events: Events, rules: Rows, places: Rows) -> pl.Series:
        names, made = events.names, list[str]()
        numbers, first = np.unique(rules, return_index=True)
        of_rule = np.split(places, first[1:])
        for number, at in zip(numbers.tolist(), of_rule, strict=True):
            made += self._ids[number].ids([names[place] for place in at.tolist()])
        return pl.Series("signal", made)

    def _members(self, events: Events, shown: Rows, places: Rows) -> list[pl.Series]:
        """What each event says in each of the fields that are shown of it, a column for each place
        that a field may be shown in.
        """
        said: dict[str, pl.Series] = {}
        found, count = np.full(shown.shape, _NONE), 0
        for number in np.unique(shown).tolist():
            texts = events.said(self._fields[number]) if number >= 0 else None
            if texts is not None:
                lines, columns = np.nonzero(shown == number)
                found[lines, columns] = np.arange(count, count + len(lines), dtype=np.uint32)
                said[self._fields[number]] = texts[places[lines]]
                count += len(lines)
        if not said:
            return []
        members = _members(said)
        some = np.flatnonzero((found != _NONE).any(axis=0))
        at = np.minimum(found, count, out=found)
        return [members[at[:, column]].alias(f"member {column}") for column in some.tolist()]


def _cut(rule: Stateless, maker: SignalMaker) -> tuple[str, ...]:
    """A rule's line, without the parts that differ."""
    facts = Facts(event_id=_ID, time_us=0, tenant=DEFAULT_TENANT)
    found = msgspec.structs.replace(maker.of_event(rule, facts, 0), signal_id=_SIGNAL_ID)
    (made,) = Findings(raw=False).take([found])
    line = msgspec.json.encode(made).decode()
    head, line = line.split(_where(_json(made.event_time), _json(_ID), "null"), 1)
    before_event, line = line.split(_json(_SIGNAL_ID), 1)
    before_fields, line = line.split(_json(_ID), 1)
    before_members, line = line.split('"fields":{}', 1)
    # What is put in comes without its quotes.
    return (
        *(head, f'{before_event}"', f'"{before_fields}"'),
        *(f'"{before_members}"fields":{{', f"}}{line}"),
    )


def _members(said: Mapping[str, pl.Series]) -> pl.Series:
    """Texts by field as members of objects, one field after the other; null where there is no
    text, and at the end.
    """
    texts = pl.concat([*said.values(), pl.Series([None], dtype=pl.String)])
    # An end of a line within a text is written in two characters: these are between the values.
    values = msgspec.json.Encoder().encode_lines(texts.to_list()).decode().split("\n")[:-1]
    names = pl.Series([f"{_json(name)}:" for name in said])
    of = np.repeat(np.arange(len(said)), [len(column) for column in said.values()])
    told = pl.DataFrame(
        {"name": names[np.append(of, 0)], "value": values, "there": texts.is_not_null()}
    )
    member = pl.when("there").then(pl.concat_str("name", "value"))
    return told.select(member).to_series()


def _where(time: str, name: str, line: str) -> str:
    return f'"event_time":{time},"event_id":{name},"event_index":{line}'


def _json(text: str) -> str:
    return msgspec.json.encode(text).decode()
