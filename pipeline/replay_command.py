"""The verb `tacho replay`."""

import sys
from typing import Annotated

import typer


def replay(
    *,
    reason: Annotated[
        str | None, typer.Option(help="only this class of fault, as mistyped")
    ] = None,
    source: Annotated[str | None, typer.Option(help="only this source, as otlp_spans/0")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="put back at most so many")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="count, change nothing")] = False,
) -> None:
    """Put dead letters back on their topic after a fix. What was accepted meanwhile changes
    nothing.
    """
    from tachograph.pipeline.replay import Choice, run_replay, summary
    from tachograph.pipeline.settings import Settings

    choice = Choice(reason=reason, source=source, limit=limit)
    outcome = run_replay(Settings.beside_up(), choice, dry_run=dry_run)
    sys.stdout.write(summary(outcome, dry_run=dry_run) + "\n")
