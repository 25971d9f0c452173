"""`tacho silence …`. What a verb needs is imported when it runs, so that help comes at once."""

import sys
from typing import Annotated, Optional

import typer

app = typer.Typer(
    help="Silence what is known: with an owner, a reason and an end.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def add(  # noqa: PLR0913 - an argument for each option
    name: Annotated[str, typer.Argument(help="what it is called, once for ever: load-test-42")],
    *,
    owner: Annotated[str, typer.Option(help="who answers for it")],
    reason: Annotated[str, typer.Option(help="why")],
    for_: Annotated[
        str | None, typer.Option("--for", help="how long: 30m, 4h, 2d", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(help="or until when", show_default=False)] = None,
    from_: Annotated[
        str | None, typer.Option("--from", help="from when on; else 15 s from now")
    ] = None,
    rule: Annotated[str, typer.Option(help="rules, by id; * and ? stand for anything")] = "*",
    entity: Annotated[str, typer.Option(help="whom the alert is about")] = "*",
    field: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads the annotation
        typer.Option(
            help="field=value, all of which must fit: agent.id=load-*", show_default=False
        ),
    ] = None,
    tenant: Annotated[str, typer.Option(help="whose")] = "*",
) -> None:
    """Call nobody for signals that fit, for a time. They are kept, in alerts that are closed and
    say who silenced them, and nothing else of an alert is hidden by it.
    """
    from tachograph.pipeline.settings import Settings
    from tachograph.pipeline.silences import Asked, run_add

    asked = Asked(
        name=name, owner=owner, reason=reason, for_=for_, until=until, starts=from_, rule=rule,
        entity=entity, fields=field or [], tenant=tenant,
    )  # fmt: skip
    run_add(asked, Settings.beside_up(), sink=sys.stdout)


@app.command("list")
def list_silences(
    *,
    past: Annotated[bool, typer.Option("--past", help="those that are over, too")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON array for a program")] = False,
) -> None:
    """What is silenced, by whom, why and until when."""
    from tachograph.pipeline.settings import Settings
    from tachograph.pipeline.silences import run_list

    run_list(Settings.beside_up(), past=past, as_json=as_json, sink=sys.stdout)


@app.command()
def end(
    name: Annotated[str, typer.Argument(help="what it is called")],
) -> None:
    """End a silence before its time."""
    from tachograph.pipeline.settings import Settings
    from tachograph.pipeline.silences import run_end

    run_end(name, Settings.beside_up(), sink=sys.stdout)
