"""Raw events against rules on single events, straight to lines of output.

What a signal of such a rule says is the same for every raw event but for its time, its ids and the
values shown. So each rule's line is made once, by the way all findings are made, and cut where
those stand; a match costs two joins of bytes. Correlations, and rules whose severity depends on the
event, go the common way.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.facts import MAX_SAID_FIELDS, Facts, said_text
from tachograph.detectors.language.compiled import RuleSet
from tachograph.detectors.language.fields import RAW
from tachograph.detectors.language.rule import Stateless
from tachograph.detectors.matching.matcher import Matcher, Rows
from tachograph.detectors.prepare import DEFAULT_TENANT
from tachograph.detectors.signals import SignalMaker
from tachograph.pipeline.scan.findings import Findings
from tachograph.pipeline.scan.raw_lines import line_of
from tachograph.schemas.identity import Prefix

_ID = "\x00event\x00"
_SIGNAL_ID = "\x00signal\x00"


def is_plain(rule: object) -> bool:
    """Whether a rule's findings can be written this way."""
    return isinstance(rule, Stateless) and not rule.meta.tacho.severity_by


class RawJudge:
    """Judges frames of raw events by the plain rules of a set."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules.only([rule for rule in rules.rules if is_plain(rule)])
        self._matcher = Matcher([d.condition for d in self._rules.detections], RAW)
        self._writers = [
            _Writer(rule, SignalMaker(rule.meta, rules.versions))
            for rule in self._rules.rules
            if isinstance(rule, Stateless)
        ]

    def judge(self, frame: pl.DataFrame) -> Iterator[tuple[str, int, bytes]]:
        """For each rule that matches: its severity, how many events, and their lines."""
        matched = self._matcher.match(frame)
        if not matched:
            return
        used = np.unique(np.concatenate(list(matched.values())))
        events = _Events(frame, used)
        for writer in self._writers:
            rows = matched.get(writer.rule.detection)
            if rows is not None:
                shown = self._rules.detections[writer.rule.detection].fields[:MAX_SAID_FIELDS]
                lines = writer.lines(events, np.searchsorted(used, rows).tolist(), shown)
                yield writer.rule.meta.severity, len(rows), lines


class _Writer:
    """Lines of one rule."""

    def __init__(self, rule: Stateless, maker: SignalMaker) -> None:
        self.rule = rule
        facts = Facts(event_id=_ID, time_us=0, tenant=DEFAULT_TENANT)
        found = msgspec.structs.replace(maker.of_event(rule, facts, 0), signal_id=_SIGNAL_ID)
        (made,) = Findings(raw=False).take([found])
        line = msgspec.json.encode(made) + b"\n"
        where = _where(_json(made.event_time).decode(), _json(_ID).decode(), "null")
        head, line = line.split(where, 1)
        signal, line = line.split(_json(_SIGNAL_ID), 1)
        ids, line = line.split(_json(_ID), 1)
        fields, line = line.split(b'"fields":{}', 1)
        # What stands between the parts that differ, which are put in without their quotes.
        self._between = (
            *(head, signal + b'"', b'"' + ids + b'"'),
            *(b'"' + fields + b'"fields":{', b"}" + line),
        )
        self._ids = Prefix(DEFAULT_TENANT, rule.meta.rule_id, rule.meta.version)

    def lines(self, events: "_Events", places: list[int], shown: Sequence[str]) -> bytes:
        """A line for each of the events at these places."""
        head, signal, ids, fields, tail = self._between
        says = {name: said for name in shown if (said := events.said(name)) is not None}
        where, names = events.where, events.ids
        made = self._ids.ids([names[place] for place in places])
        parts: list[bytes] = []
        for place, identifier, shows in zip(places, made, _members(says, places), strict=True):
            parts += (
                *(head, where[place], signal, identifier.encode(), ids, names[place].encode()),
                *(fields, shows, tail),
            )
        return b"".join(parts)


def _members(says: Mapping[str, Sequence[str | None]], places: Sequence[int]) -> list[bytes]:
    """What the events at these places say, as the members of an object each."""
    if not says:
        return [b""] * len(places)
    columns = [[said[place] for place in places] for said in says.values()]
    objects = [
        {name: text for name, text in zip(says, texts, strict=True) if text is not None}
        for texts in zip(*columns, strict=True)
    ]
    # An end of a line within a text is written in two characters: these are between the objects.
    lines = msgspec.json.Encoder().encode_lines(objects).split(b"\n")[:-1]
    return [line[1:-1] for line in lines]


class _Events:
    """Some rows of a frame, as the JSON that findings hold of them."""

    def __init__(self, frame: pl.DataFrame, rows: Rows) -> None:
        self._frame, self._rows = frame, rows
        self.ids: list[str] = frame["~event_id"][rows].to_list()
        self._said: dict[str, list[str | None] | None] = {}

    @cached_property
    def where(self) -> list[bytes]:
        """When each was, which it is, and the number of its line."""
        times = self._frame["~event_time"][self._rows].dt.to_string("%Y-%m-%dT%H:%M:%S%.6fZ")
        times = times.str.replace(".000000Z", "Z", literal=True)
        return [
            _where(f'"{time}"', f'"{name}"', str(line_of(name)))
            for time, name in zip(times.to_list(), self.ids, strict=True)
        ]

    def said(self, name: str) -> list[str | None] | None:
        """What each says in a field; None where none says anything."""
        if name not in self._said:
            texts = said_text(self._frame, self._rows, name, RAW)
            self._said[name] = None if texts is None else texts.to_list()
        return self._said[name]


def _where(time: str, name: str, line: str) -> bytes:
    return f'"event_time":{time},"event_id":{name},"event_index":{line}'.encode()


def _json(text: str) -> bytes:
    return msgspec.json.encode(text)
