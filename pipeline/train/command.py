"""`tacho train`. What it needs is imported when it runs, so that help comes at once."""

import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, TextIO

import msgspec
import typer

from tachograph.pipeline.errors import ConfigError

if TYPE_CHECKING:
    from tachograph.detectors.behaviour.model import Card, Part
    from tachograph.pipeline.train.run import Learned, Progress

SUFFIX = ".json"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    files: list[Path] = []
    since: str | None = None
    until: str | None = None
    budget: str = "1/agent/day"
    out: Path = Path("behaviour.skops")


def train(
    files: Annotated[
        Optional[list[Path]],  # noqa: UP045 - typer reads the annotation
        typer.Argument(help="files of actions or OTLP, as for scan; none: what ClickHouse has"),
    ] = None,
    *,
    since: Annotated[
        str | None,
        typer.Option(help="ClickHouse: from when on, 7d ago or a time", show_default="7d"),
    ] = None,
    until: Annotated[str | None, typer.Option(help="ClickHouse: until when; else now")] = None,
    budget: Annotated[
        str, typer.Option(help="false alarms that are bearable: 1/agent/day, 0.2/agent/week")
    ] = "1/agent/day",
    out: Annotated[Path, typer.Option("-o", "--out", help="write the model here")] = Path(
        "behaviour.skops"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="print the model's card")] = False,
) -> None:
    """Learn what honest behaviour is from past actions: a model file, and its card as JSON beside
    it. The earliest half is learned, the next quarter calibrates, the latest evaluates.
    """
    asked = Asked(files=files or [], since=since, until=until, budget=budget, out=out)
    run_train(asked, as_json=as_json, now=datetime.now(UTC), sink=sys.stdout)


def run_train(asked: Asked, *, as_json: bool, now: datetime, sink: TextIO) -> None:
    """Learn, write, report. Raises TachoError."""
    from tachograph.pipeline import log as logs
    from tachograph.pipeline.backtest.times import moment
    from tachograph.pipeline.settings import Settings
    from tachograph.pipeline.train.budget import per_agent_day
    from tachograph.pipeline.train.run import learn
    from tachograph.pipeline.train.sources import from_files, from_store

    logs.configure()
    budget = per_agent_day(asked.budget)
    if asked.files and (asked.since or asked.until):
        raise ConfigError("--since and --until are of ClickHouse; files are read as they are")
    source: dict[str, Any]
    if asked.files:
        given = from_files(asked.files, Settings.from_env())
        source = {"source": "files", "files": [path.name for path in asked.files]}
    else:
        since = moment(asked.since or "7d", now, "--since")
        upto = moment(asked.until, now, "--until") if asked.until else now
        if since >= upto:
            raise ConfigError("--since lies after --until")
        given = from_store(since, upto, Settings.beside_up())
        source = {"source": "ClickHouse"}
    with _progress() as told:
        learned = learn(given, budget, source, told)
    size = _write(learned, asked.out)
    if as_json:
        card = learned.trained.model.card
        sink.write(msgspec.json.format(msgspec.json.encode(card)).decode() + "\n")
    else:
        _report(learned, asked.out, size, sink)


def _write(learned: "Learned", out: Path) -> int:
    """The model and its card; bytes of the model."""
    model = learned.trained.model
    packed = model.encode()
    card = msgspec.to_builtins(model.card)
    # Thousands of scores say little to a person.
    card["honest"] = f"{len(card['honest'])} scores, in the model"
    told = {"version": model.version, "sha256": _sha256(packed), **card}
    try:
        out.write_bytes(packed)
        out.with_suffix(SUFFIX).write_bytes(msgspec.json.format(msgspec.json.encode(told)))
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}") from error
    return len(packed)


def _sha256(packed: bytes) -> str:
    import hashlib

    return hashlib.sha256(packed).hexdigest()


@contextlib.contextmanager
def _progress() -> "Iterator[Progress]":
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _done, _actions: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("train", total=1.0)

        def told(done: float, actions: int) -> None:
            bar.update(task, completed=done, description=f"{actions:,} actions")

        yield told


def _report(learned: "Learned", out: Path, size: int, sink: TextIO) -> None:
    model, examples = learned.trained
    card = model.card
    sink.write(f"{learned.actions:,} actions, {card.data['from']} to {card.data['until']}\n\n")
    _parts(card, sink)
    alarms, rate = card.metrics["alarms"], card.metrics["alarms_per_agent_day"]
    kinds = ", ".join(f"{count:,} by {name}" for name, count in _kinds(card).items())
    sink.write(
        f"\nbudget {card.budget_per_agent_day:g} an agent and day: bar {card.bar / 1000:.2f}\n"
        f"of the latest stretch it would say {alarms:,} agent-hours ({rate:g} an agent and day);"
        f" windows: {kinds}, {card.metrics['windows_by_both']:,} by both\n"
    )
    from tachograph.pipeline.plain_text import safe

    for one in examples:
        because = ", ".join(one.because) or "no feature alone"
        agent = safe(one.agent, 60).plain
        sink.write(f"  {one.until}  {agent}  {one.score:.2f}  {one.window}: {because}\n")
    sink.writelines(
        f"{count:,} {kind} forgotten at a limit: the model rests on the others\n"
        for kind, count in learned.forgotten.items()
    )
    sink.write(f"\n{out} ({size:,} bytes), {out.with_suffix(SUFFIX)}: model {model.version}\n")


def _parts(card: "Card", sink: TextIO) -> None:
    parts: list[tuple[str, Part]] = [
        ("learned", card.learned), ("calibrated", card.calibrated), ("evaluated", card.evaluated),
    ]  # fmt: skip
    sink.writelines(
        f"{name:<11}{part.from_} to {part.until}  {part.windows:>9,} windows of"
        f" {part.agents:,} agents, {part.agent_days:,.0f} agent-days\n"
        for name, part in parts
    )


def _kinds(card: "Card") -> dict[str, int]:
    found: dict[str, int] = card.metrics["windows_by_kind"]
    return found
