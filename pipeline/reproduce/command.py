"""`tacho reproduce ALERT_ID`: the alert judged again, and what came of it."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer


def reproduce(
    alert_id: Annotated[str, typer.Argument(help="the alert: alert_id in tacho.alerts")],
    *,
    witness: Annotated[
        bool, typer.Option("--witness", help="from the witness alone, as if no action were stored")
    ] = False,
    rules: Annotated[
        Optional[list[Path]],  # noqa: UP045 - typer reads the annotation
        typer.Option(help="rule files or folders beside the shipped ones (TACHO_RULES)"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object")] = False,
) -> None:
    """Judge an alert again from what was kept of its evidence, and say whether it is the same.

    Exit code 0: the same alert; 1: another, or none; 3: too little is left to tell; 2: an error.
    """
    from tachograph.pipeline.reproduce import report

    found = report.asked(alert_id, rules or [], witness=witness)
    (report.as_json if as_json else report.as_text)(found, sys.stdout)
    raise typer.Exit(report.EXIT[found.result])
