"""Frames and rule sets made for tests."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import polars as pl

from tachograph.detectors.language.fields import ACTIONS, FieldMap
from tachograph.detectors.language.rulefile import parse
from tachograph.detectors.language.ruleset import RuleSet, build, load
from tachograph.schemas.alert import Signal
from tachograph.schemas.batch import COLUMNS

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000


def at(seconds: float) -> datetime:
    """A moment so many seconds after 1970."""
    return EPOCH + timedelta(seconds=seconds)


def frame(rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Actions of these fields; event times are given in seconds."""
    whole = [
        {"tenant": "default", "partition_key": "place", **row, "event_time": at(row["event_time"])}
        for row in rows
    ]
    names = {name for row in whole for name in row}
    return pl.DataFrame(whole, schema={name: COLUMNS[name] for name in sorted(names)})


@cache
def shipped_rules() -> RuleSet:
    """The rules that ship, compiled once for all tests."""
    return load()


def rules(text: str, fields: FieldMap = ACTIONS) -> RuleSet:
    """The rules of a YAML text."""
    return build(parse(text, "made.yml"), fields=fields)


def stateless(detection: str, **more: str) -> str:
    """A rule file of one rule; `detection` is indented by two."""
    extra = "".join(f"{name}: {value}\n" for name, value in more.items())
    return f"title: made\nlogsource: {{category: any}}\n{extra}detection:\n{detection}\n"


class Standing:
    """What stands after signals that come one after the other, as any reader of them keeps it."""

    def __init__(self) -> None:
        self.signals: dict[str, Signal] = {}

    def take(self, signals: Sequence[Signal]) -> None:
        for signal in signals:
            known = self.signals.get(signal.signal_id)
            assert (known is None) == (signal.change == "new"), (known, signal)
            if signal.change == "retracted":
                del self.signals[signal.signal_id]
            else:
                assert known is None or known.revision <= signal.revision
                self.signals[signal.signal_id] = signal
