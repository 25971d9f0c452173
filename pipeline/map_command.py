"""`tacho map …`. What a verb needs is imported when it runs, so that help comes at once."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    help="Formats of other systems, and mapping files for those that are not known.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_formats(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array for a program")] = False,
) -> None:
    """The formats that are read as they are: name, who writes it, how to point it here."""
    from tachograph.pipeline.map_check import listed

    sys.stdout.write(listed(as_json=as_json) + "\n")


@app.command()
def check(
    mapping: Annotated[Path, typer.Argument(help="mapping file (YAML)")],
    samples: Annotated[
        Optional[list[Path]],  # noqa: UP045 - typer reads the annotation
        typer.Argument(help="files of the system: JSON or NDJSON; - is standard input"),
    ] = None,
) -> None:
    """Try a mapping file: its own samples, and every object of these files as the action that it
    becomes. Exit 1 when something is wrong.
    """
    from tachograph.pipeline.map_check import check as tried

    raise typer.Exit(0 if tried(mapping, samples or [], sys.stdout) else 1)
