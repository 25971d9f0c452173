"""`tacho rules state`: how the groups of a rule in force stand now, by the newest checkpoints."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TextIO

import msgspec

from tachograph.detectors.correlation.held import HeldGroups
from tachograph.detectors.correlation.standing import Standing, Stands
from tachograph.detectors.language.rule import Correlation, Stateless
from tachograph.detectors.plan import Plan, key_of
from tachograph.pipeline.clock import to_datetime
from tachograph.pipeline.detect.checkpoints import Checkpoints
from tachograph.pipeline.detect.judges import ACTIONS, MATCHES, ActionJudge, Judge, MatchJudge
from tachograph.pipeline.detect.shard import State
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.in_force import InForce
from tachograph.pipeline.kafka.reader import Place
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.moments import shown
from tachograph.pipeline.rules.loading import counted, find
from tachograph.pipeline.rules.windows import check_names, chosen, wanted_groups
from tachograph.pipeline.rules.windows_text import named, standing_text
from tachograph.pipeline.settings import Settings

# Groups told of in each place unless more are asked for.
MOST = 3


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What one place holds of a rule, as of its newest checkpoint."""

    topic: str
    partition: int
    offset: int
    # Observed time that all its sources had reached; None: not all have been heard of.
    watermark: datetime | None
    # Groups that were asked for; the largest are told of.
    groups: int
    told: list[Standing]


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. `unknown`: places without a checkpoint that can be read, and why."""

    rule_id: str
    version: str
    title: str
    places: list[Held]
    unknown: dict[str, str]


def run_state(
    called: str,
    pairs: Sequence[str],
    settings: Settings,
    *,
    most: int = MOST,
    as_json: bool,
    sink: TextIO,
) -> None:
    """Show it. `pairs`: field=value, all of which must fit. Raises ConfigError, RetryLater."""
    writer = Writer(settings)
    in_force = InForce(settings, writer)
    in_force.close()
    plan = in_force.plan
    rule = find(plan.sets[-1], called)
    if isinstance(rule, Stateless):
        raise ConfigError(f"{rule.meta.title} looks at single actions and holds nothing")
    wanted = wanted_groups(pairs)
    check_names(rule, wanted)
    found = _state(rule, plan, settings, writer, wanted=wanted, most=most)
    sink.write(msgspec.json.encode(found).decode() + "\n" if as_json else _text(found))


def _state(
    rule: Correlation,
    plan: Plan,
    settings: Settings,
    writer: Writer,
    *,
    wanted: Mapping[str, str],
    most: int,
) -> Shown:
    topic = MATCHES if rule.across else ACTIONS
    checkpoints = Checkpoints(settings, "detect", writer)
    alone = plan.only({key_of(rule.meta)})
    places: list[Held] = []
    unknown: dict[str, str] = {}
    for partition in range(writer.partitions(topic)):
        place = (topic, partition)
        try:
            offset, judge = _judge(alone, place, checkpoints.load(place))
        except ValueError as error:
            unknown[f"{topic}/{partition}"] = str(error)
            continue
        groups = judge.groups(rule)
        number, told = _told(groups, wanted, most) if groups is not None else (0, [])
        reached = judge.ticks.watermark_us()
        places.append(
            Held(
                topic=topic,
                partition=partition,
                offset=offset,
                watermark=None if reached is None else to_datetime(reached),
                groups=number,
                told=told,
            )
        )
    meta = rule.meta
    return Shown(
        rule_id=meta.rule_id,
        version=meta.version,
        title=meta.title,
        places=places,
        unknown=unknown,
    )


def _judge(plan: Plan, place: Place, checkpoint: tuple[int, bytes] | None) -> tuple[int, Judge]:
    """The offset of a checkpoint, and a judge as of it. Raises ValueError where there is none, or
    none that can be read.
    """
    if checkpoint is None:
        raise ValueError("no checkpoint yet")
    judge: Judge = MatchJudge(plan) if place[0] == MATCHES else ActionJudge(plan)
    try:
        judge.load(msgspec.msgpack.decode(checkpoint[1], type=State).judge)
    except msgspec.DecodeError as error:
        raise ValueError(f"no checkpoint of ours: {error}") from error
    return checkpoint[0], judge


def _told(groups: HeldGroups, wanted: Mapping[str, str], most: int) -> tuple[int, list[Standing]]:
    found = [group for group in groups if chosen(group, wanted)]
    found.sort(key=lambda group: (-group.size, group.tenant, group.place, *group.values.values()))
    stands = Stands(groups)
    return len(found), [stands.now(group) for group in found[:most]]


def _text(found: Shown) -> str:
    return "\n".join([*_lines(found), ""])


def _lines(found: Shown) -> Iterator[str]:
    yield f"{found.title} ({found.rule_id})"
    for place, why in found.unknown.items():
        yield f"{place}: {why}"
    if not any(held.groups for held in found.places):
        yield "no group is held" if found.places else "nothing is known yet"
    for held in found.places:
        if not held.groups:
            continue
        reached = "not known yet" if held.watermark is None else shown(held.watermark)
        at = f"{held.topic}/{held.partition} at offset {held.offset}, watermark {reached}"
        yield f"{at}: {counted(held.groups, 'group')}"
        for standing in held.told:
            yield f"group {named(standing)}"
            yield from standing_text(standing)
        if held.groups > len(held.told):
            left = counted(held.groups - len(held.told), "more group")
            yield f"… and {left}; --group key=value asks for one"
