"""`tacho alert …`, `tacho session`, `tacho agent`. What a verb needs is imported when it runs."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

Id = Annotated[str, typer.Argument(help="the id, or as much of its beginning as fits only one")]
Html = Annotated[
    Path | None,
    typer.Option("--html", help="write the page as one self-contained file", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="the page as JSON, for a program")]


class ShownByDefault(TyperGroup):
    """What is no verb of the group is an id: `tacho alert 1b65` is `tacho alert show 1b65`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Called with all words after the group's name."""
        known = {*self.commands, "--help"}
        return super().parse_args(ctx, args if not args or args[0] in known else ["show", *args])


alert = typer.Typer(
    cls=ShownByDefault,
    help="One alert as a page (`tacho alert ID`), and what people say about alerts.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@alert.command(short_help="The page of one alert; `show` may be left out.")
def show(id_: Id, *, html: Html = None, as_json: AsJson = False) -> None:
    """One alert on one page: what happened, why it fired, timeline, where values came from, state,
    who else, what to do, what was not seen.
    """
    _show("alert", id_, html, as_json=as_json)


def session(id_: Id, *, html: Html = None, as_json: AsJson = False) -> None:
    """One session on one page: the conversation, its alerts and signals, what it touched."""
    _show("session", id_, html, as_json=as_json)


def agent(id_: Id, *, html: Html = None, as_json: AsJson = False) -> None:
    """One agent on one page: who it is, what it does and touches, its pace, state and alerts."""
    _show("agent", id_, html, as_json=as_json)


def _show(kind: Any, id_: str, html: Path | None, *, as_json: bool) -> None:
    from tachograph.pipeline.investigate.command import run_show

    run_show(kind, id_, to_html=html, as_json=as_json, sink=sys.stdout)
