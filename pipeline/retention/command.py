"""`tacho hold …`. What a verb needs is imported when it runs, so that help comes at once."""

import sys
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from tachograph.pipeline.retention.holds import Hold

app = typer.Typer(
    help="Legal holds: what stays, however old, until it is released.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _known() -> "list[Hold]":
    """What the log says and, where a ClickHouse can be asked, what it keeps of before."""
    from tachograph.pipeline.errors import TachoError
    from tachograph.pipeline.query.place import served
    from tachograph.pipeline.retention.holds import in_log, in_table
    from tachograph.pipeline.settings import Settings
    from tachograph.pipeline.store.clickhouse import Connection
    from tachograph.pipeline.verify.kafka import answering

    settings = Settings.beside_up()
    words = in_log(settings) if answering(settings) else []
    try:
        with served(settings) as clickhouse, Connection(clickhouse, reads_only=True) as connection:
            return words + in_table(connection)
    except TachoError as error:
        sys.stderr.write(f"tacho: holds of before are not shown: {error}\n")
        return words


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="what it is called, once for ever: case-17")],
    *,
    reason: Annotated[str, typer.Option(help="why")],
    alert: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads the annotation
        typer.Option(help="id of an alert; more than once if need be", show_default=False),
    ] = None,
    agent: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="id of an agent; more than once if need be", show_default=False),
    ] = None,
) -> None:
    """Hold what belongs to alerts or agents: no retention deletes it until it is released."""
    from tachograph.pipeline.retention.holds import run_add
    from tachograph.pipeline.settings import Settings

    ids = (alert or [], agent or [])
    run_add(name, Settings.beside_up(), _known(), ids=ids, reason=reason, sink=sys.stdout)


@app.command("list")
def list_holds(
    *,
    past: Annotated[bool, typer.Option("--past", help="those that are over, too")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array for a program")] = False,
) -> None:
    """What is held, by whom, why and since when."""
    from tachograph.pipeline.retention.holds import run_list

    run_list(_known(), past=past, as_json=as_json, sink=sys.stdout)


@app.command()
def release(
    name: Annotated[str, typer.Argument(help="what it is called")],
    *,
    reason: Annotated[str, typer.Option(help="why")],
) -> None:
    """Release a hold: retention takes what is older than its time."""
    from tachograph.pipeline.retention.holds import run_release
    from tachograph.pipeline.settings import Settings

    run_release(name, Settings.beside_up(), _known(), reason=reason, sink=sys.stdout)
