"""`tacho backtest`: what changed rules would have said over stored actions."""

import contextlib
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.pipeline import log as logs
from tachograph.pipeline.backtest import run
from tachograph.pipeline.backtest.compare import DayOf
from tachograph.pipeline.backtest.times import moment
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.plain_text import safe
from tachograph.pipeline.query.place import served
from tachograph.pipeline.rules.loading import Sources, find
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says. `rules`: files, folders, or ids of rules in force."""

    rules: list[str]
    sources: Sources
    since: str
    until: str | None = None


def run_backtest(question: Question, *, as_json: bool, now: datetime, sink: TextIO) -> None:
    """Judge, compare, report. Raises TachoError."""
    logs.configure()
    until = moment(question.until, now, "--until") if question.until else now
    stretch = run.Stretch(moment(question.since, now, "--since"), until)
    if stretch.since >= stretch.until:
        raise ConfigError("--since lies after --until")
    rules = chosen(question)
    with (
        served(Settings.from_env()) as place,
        Connection(place, reads_only=True) as connection,
        _progress(stretch) as told,
    ):
        outcome = run.backtest(rules, stretch, connection, told)
    report = _json if as_json else _text
    report(outcome, rules.rules, stretch, sink)


def chosen(question: Question) -> RuleSet:
    """The rules asked for. A file's rule stands in place of one in force with the same id."""
    paths = [Path(word) for word in question.rules if Path(word).exists()]
    names = [word for word in question.rules if not Path(word).exists()]
    rules = question.sources.replaced(paths)
    files = {path.resolve() for path in paths}
    wanted = [rule for rule in rules.rules if _lies_in(rule, files)]
    wanted += [found for name in names if (found := find(rules, name)) not in wanted]
    if not wanted:
        raise ConfigError(f"no rule in {', '.join(question.rules)}")
    return rules.only(wanted)


def _lies_in(rule: Rule, files: set[Path]) -> bool:
    path = Path(rule.meta.file).resolve()
    return not files.isdisjoint({path, *path.parents})


@contextlib.contextmanager
def _progress(stretch: run.Stretch) -> Iterator[run.Progress]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _moment, _actions: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        length_s = (stretch.until - stretch.since).total_seconds()
        task = bar.add_task("backtest", total=length_s)

        def told(upto: datetime, actions: int) -> None:
            done_s = (upto - stretch.since).total_seconds()
            words = f"{upto:%Y-%m-%d %H:%M}  {actions:,} actions"
            bar.update(task, completed=max(0.0, done_s), description=words)

        yield told


def _json(outcome: run.Outcome, rules: Sequence[Rule], stretch: run.Stretch, sink: TextIO) -> None:
    told = {
        "since": stretch.since,
        "until": stretch.until,
        "actions": outcome.actions,
        "rules": [
            {
                "rule_id": rule.meta.rule_id,
                "title": rule.meta.title,
                "version": rule.meta.version,
                **_totals(days),
                "days": [{"day": one.day, **_counts(one)} for one in days],
            }
            for rule, days in _by_rule(outcome, rules)
        ],
        "examples": outcome.comparison.examples,
        "forgotten": outcome.forgotten,
    }
    sink.write(msgspec.json.encode(told).decode() + "\n")


def _text(outcome: run.Outcome, rules: Sequence[Rule], stretch: run.Stretch, sink: TextIO) -> None:
    console = Console(file=sink)
    words = f"{stretch.since:%Y-%m-%d %H:%M} to {stretch.until:%Y-%m-%d %H:%M} UTC"
    console.print(f"{outcome.actions:,} actions, {words}")
    for rule, days in _by_rule(outcome, rules):
        console.print(safe(rule.meta.title, 100))
        table = Table(box=SIMPLE_HEAD, pad_edge=False)
        for name in ("day", "new", "gone", "unchanged"):
            table.add_column(name, justify="left" if name == "day" else "right")
        for one in days:
            table.add_row(str(one.day), *(f"{count:,}" for count in _counts(one).values()))
        table.add_row("all", *(f"{count:,}" for count in _totals(days).values()))
        console.print(table)
    for example in outcome.comparison.examples:
        reason = safe(example.reason, 120).plain
        when = f"{example.event_time:%Y-%m-%d %H:%M:%S}"
        console.print(f"{example.change:<4} {when}  {reason}", markup=False, highlight=False)
    for kind, count in outcome.forgotten.items():
        console.print(f"{count:,} {kind} forgotten at a limit: some signals may be missing")


def _by_rule(outcome: run.Outcome, rules: Sequence[Rule]) -> Iterator[tuple[Rule, list[DayOf]]]:
    days: dict[str, list[DayOf]] = defaultdict(list)
    for one in outcome.comparison.days:
        days[one.rule_id].append(one)
    for rule in rules:
        yield rule, days[rule.meta.rule_id]


def _counts(one: DayOf) -> dict[str, int]:
    return {"new": one.new, "gone": one.gone, "unchanged": one.unchanged}


def _totals(days: Sequence[DayOf]) -> dict[str, int]:
    names = ("new", "gone", "unchanged")
    return {name: sum(_counts(one)[name] for one in days) for name in names}


def system_now() -> datetime:
    """The clock of a person who says `7d`."""
    return datetime.now(UTC)
