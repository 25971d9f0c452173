"""The verb `tacho drill`. What it needs is imported when it runs."""

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from tachograph.pipeline.drill.run import Outcome

# A shell that fetches a program and runs it: stateless, and grave enough for every policy.
KAFKA_S = 10.0
DEFAULT_RULE = "9af98add-235e-4437-b5bb-6329e6b9b7c6"


def drill(
    *,
    rule: Annotated[
        str,
        typer.Option(
            help="whose sample is sent: a rule's id, title, or how one begins; or its file"
        ),
    ] = DEFAULT_RULE,
    within: Annotated[float, typer.Option(min=1, max=3_600, help="seconds until the alert")] = 60,
    every: Annotated[
        Optional[float],  # noqa: UP045 - typer reads the annotation
        typer.Option(min=10, help="again every so many seconds, until Ctrl-C"),
    ] = None,
    rules: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--rules", help="rule files or folders beside the shipped ones"),
    ] = None,
    reference: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option("--reference", help="reference data: files or folders (TACHO_REFERENCE)"),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="a JSON object a drill")] = False,
    url: Annotated[
        Optional[str],  # noqa: UP045 - typer reads the annotation
        typer.Option(
            envvar="TACHO_DOOR_URL", help="the door to send to; else that of `tacho up` (4318)"
        ),
    ] = None,
) -> None:
    """Send a harmless attack through the door, and see that it is an alert in time; exit 1 if not.

    It is a sample of a rule, of an agent of its own and marked as synthetic. A drill that was
    missed is an alert of its own (tacho.drill_missed), as far as Kafka takes it. TACHO_DOOR_TOKEN
    holds the token of a door that asks for one.
    """
    from tachograph.pipeline.drill.run import Door, drilled, told
    from tachograph.pipeline.errors import RetryLater
    from tachograph.pipeline.kafka.writer import Writer
    from tachograph.pipeline.rules.loading import Sources, find_anywhere
    from tachograph.pipeline.serve.alerts_command import TOKEN_VARIABLE
    from tachograph.pipeline.settings import Settings, door_beside_up

    sources = Sources(paths=rules or [], reference=reference or []).beside(rule)
    chosen, known = find_anywhere(sources, rule)
    settings = Settings.beside_up()
    door = Door(url or door_beside_up(), os.environ.get(TOKEN_VARIABLE))
    writer = Writer(settings)
    missed = 0
    try:
        while True:
            outcome = drilled(chosen, known, door, within)
            missed += bool(outcome.missed)
            _show(outcome, as_json=json_)
            told(outcome, settings.tenant, writer.send)
            try:
                writer.flush(KAFKA_S)
            except RetryLater as error:
                sys.stderr.write(f"tacho: nobody else hears of it: {error}\n")
            if every is None:
                break
            time.sleep(every)
    except KeyboardInterrupt:
        pass
    raise typer.Exit(1 if missed else 0)


def _show(outcome: "Outcome", *, as_json: bool) -> None:
    import msgspec

    from tachograph.pipeline.plain_text import safe

    title = safe(outcome.title, 200).plain
    if as_json:
        sys.stdout.write(msgspec.json.encode(outcome).decode() + "\n")
    elif outcome.missed:
        sys.stdout.write(f"missed  {title}: {safe(outcome.missed, 400).plain}\n")
    else:
        told = f"an alert after {outcome.after_s} s ({outcome.alert_id})"
        sys.stdout.write(f"seen    {title}: {told}\n")
    sys.stdout.flush()
