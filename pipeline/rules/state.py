"""`tacho rules state`: what a windowed rule holds of its groups, by the newest checkpoints."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TextIO

import msgspec

from tachograph.detectors.correlation.window_state import WindowState
from tachograph.detectors.language.bounds import described, satisfies
from tachograph.detectors.language.rule import (
    Absent,
    Correlation,
    Count,
    Figure,
    FirstSeen,
    Ordered,
    Stateless,
    Together,
    Values,
)
from tachograph.detectors.plan import Plan, key_of
from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.detect.checkpoints import Checkpoints
from tachograph.pipeline.detect.judges import ACTIONS, MATCHES, ActionJudge, Judge, MatchJudge
from tachograph.pipeline.detect.shard import State
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.in_force import InForce
from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.rules.loading import find
from tachograph.pipeline.settings import Settings

# Groups shown unless more are asked for.
SHOWN = 20


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What one place holds of a rule, as of its newest checkpoint."""

    topic: str
    partition: int
    offset: int
    # Observed time that all its sources had reached; None: not all have been heard of.
    watermark: datetime | None
    windows: list[WindowState]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    rule_id: str
    version: str
    title: str
    asked: str
    places: list[Held]
    # Places without a checkpoint that can be read, and why.
    unknown: dict[str, str]


def run_state(
    wanted: str,
    groups: Sequence[str],
    settings: Settings,
    *,
    most: int = SHOWN,
    as_json: bool,
    sink: TextIO,
) -> None:
    """Show it. `groups`: field=value, all of which must fit. Raises ConfigError, RetryLater."""
    writer = Writer(settings)
    in_force = InForce(settings, writer)
    try:
        plan = in_force.plan
    finally:
        in_force.close()
    rule = find(plan.sets[-1], wanted)
    if isinstance(rule, Stateless):
        raise ConfigError(f"{rule.meta.title}: looks at single actions and holds nothing")
    shown = state_of(rule, plan, _wanted(rule, groups), settings, writer)
    if as_json:
        sink.write(msgspec.json.encode(_plain(shown)).decode() + "\n")
    else:
        sink.write("\n".join([*_lines(rule, shown, most), ""]))


def state_of(
    rule: Correlation, plan: Plan, groups: dict[str, str], settings: Settings, writer: Writer
) -> Shown:
    """What all places hold of a rule and of groups with these values. Raises RetryLater."""
    topic = MATCHES if rule.across else ACTIONS
    checkpoints = Checkpoints(settings, "detect", writer)
    alone = plan.only({key_of(rule.meta)})
    places: list[Held] = []
    unknown: dict[str, str] = {}
    for partition in range(writer.partitions(topic)):
        place = (topic, partition)
        try:
            places.append(_held(rule, alone, place, checkpoints.load(place), groups))
        except ValueError as error:
            unknown[f"{topic}/{partition}"] = str(error)
    return Shown(
        rule_id=rule.meta.rule_id,
        version=rule.meta.version,
        title=rule.meta.title,
        asked=asked_by(rule),
        places=places,
        unknown=unknown,
    )


def _held(
    rule: Correlation,
    plan: Plan,
    place: Place,
    checkpoint: tuple[int, bytes] | None,
    groups: dict[str, str],
) -> Held:
    """Raises ValueError where there is no checkpoint, or none that can be read."""
    if checkpoint is None:
        raise ValueError("no checkpoint yet")
    judge: Judge = MatchJudge(plan) if place[0] == MATCHES else ActionJudge(plan)
    try:
        judge.load(msgspec.msgpack.decode(checkpoint[1], type=State).judge)
    except msgspec.DecodeError as error:
        raise ValueError(f"no checkpoint of ours: {error}") from error
    reached = judge.ticks.watermark_us()
    windows = [one for one in judge.windows(rule) if groups.items() <= one.group.items()]
    return Held(
        topic=place[0],
        partition=place[1],
        offset=checkpoint[0],
        watermark=None if reached is None else to_datetime(reached),
        windows=sorted(windows, key=lambda one: (-one.value, -one.newest_us, str(one.group))),
    )


def _wanted(rule: Correlation, groups: Sequence[str]) -> dict[str, str]:
    """Values of group-by fields. Raises ConfigError."""
    found = {}
    for text in groups:
        field, equals, value = text.partition("=")
        if not equals or field not in rule.group_by:
            by = ", ".join(rule.group_by) or "nothing: it has one group"
            raise ConfigError(f"--group {text}: write field=value; the rule groups by {by}")
        found[field] = value
    return found


# --- in words -------------------------------------------------------------------------------------


def asked_by(rule: Correlation) -> str:
    """What a window must have, in words."""
    match rule.asks:
        case Count(bounds=bounds):
            return f"{described(bounds)} events"
        case Values(fields=fields, bounds=bounds):
            return f"{described(bounds)} different values of {', '.join(fields)}"
        case Figure(fold=fold, field=field, bounds=bounds):
            return f"{fold} of {field} {described(bounds)}"
        case Together(bounds=bounds, expression=expression):
            return "its condition on the steps" if expression else f"{described(bounds)} steps"
        case Ordered(paths=paths, bounds=bounds):
            return f"{described(bounds)} steps in order" if bounds else _paths(rule, len(paths))
        case Absent():
            return f"{rule.steps[0].name} and then no {rule.steps[1].name}"
        case FirstSeen(fields=fields):
            return f"a value of {', '.join(fields)} not seen before"


def _paths(rule: Correlation, paths: int) -> str:
    steps = ", ".join(step.name for step in rule.steps)
    return f"in order: {steps}" if paths == 1 else f"one of {paths} orders of {steps}"


def missing(rule: Correlation, state: WindowState) -> str:
    """What the window has to get for the rule to speak, in words."""
    if state.holds:
        return "nothing: what is asked is there"
    match rule.asks:
        case FirstSeen():
            until = _time(state.learning_until_us or 0)
            return f"another value; before {until} it is only watched"
        case Absent():
            waits = f"{state.value:g} waiting; said where no {rule.steps[1].name} follows in time"
            return waits if state.value else f"another {rule.steps[0].name}"
        case Ordered() | Together():
            unseen = [name for name, number in state.steps.items() if not number]
            return " and ".join(f"no {name} yet" for name in unseen) or "the right order"
    return _bounds_missing(rule, state.value)


def _bounds_missing(rule: Correlation, value: float) -> str:
    least = [b.number + (b.op == "gt") for b in rule.bounds if b.op in {"gt", "gte", "eq"}]
    if isinstance(rule.asks, Figure) or not least or value >= max(least):
        failed = [bound for bound in rule.bounds if not satisfies([bound], value)]
        return f"{value:g} is not {described(failed)}"
    return f"{max(least) - value:g} more"


def _lines(rule: Correlation, shown: Shown, most: int) -> Iterator[str]:
    yield f"{shown.title} ({shown.rule_id})"
    kind = "" if rule.window == "sliding" else f" ({rule.window} window)"
    by = ", ".join(rule.group_by) or "nothing"
    yield f"asks for {shown.asked} within {_span(rule.timespan_us)}{kind}, by {by}"
    for place, why in shown.unknown.items():
        yield f"{place}: {why}"
    for held in shown.places:
        at = "unknown" if held.watermark is None else _moment(held.watermark)
        yield (
            f"{held.topic}/{held.partition} at offset {held.offset}, watermark {at}:"
            f" {len(held.windows)} group(s)"
        )
        for state in held.windows[:most]:
            yield f"  {_group(state)}: {_words(rule, state)}"
        if len(held.windows) > most:
            yield f"  and {len(held.windows) - most} more"


def _group(state: WindowState) -> str:
    return ", ".join(f"{name}={value}" for name, value in state.group.items()) or "all"


def _words(rule: Correlation, state: WindowState) -> str:
    parts = [f"{state.value:g}" if rule.bounds else f"{state.events} event(s)"]
    if len(rule.steps) > 1:
        parts.append(", ".join(f"{name} {number}" for name, number in state.steps.items()))
    parts.append(f"from {_time(state.first_us)} to {_time(state.newest_us)}")
    parts.append(f"until {_time(state.until_us)}")
    if state.late:
        parts.append(f"{state.late} late left out")
    if state.forgot:
        parts.append("some forgotten at a limit")
    return f"{'; '.join(parts)}. Missing: {missing(rule, state)}"


def _span(span_us: int) -> str:
    seconds = span_us // 1_000_000
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def _time(at_us: int) -> str:
    return _moment(to_datetime(at_us))


def _moment(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _plain(shown: Shown) -> dict[str, Any]:
    """For a program: times as text."""
    plain: dict[str, Any] = msgspec.to_builtins(shown)
    for place in plain["places"]:
        for window in place["windows"]:
            for name in ("first", "newest", "until", "learning_until"):
                at_us = window.pop(f"{name}_us")
                window[name] = None if at_us is None else _time(at_us)
    return plain
