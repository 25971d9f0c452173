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
Ids = Annotated[list[str], typer.Argument(help="ids, or beginnings that fit only one each")]
Note = Annotated[str | None, typer.Option(help="why", show_default=False)]
By = Annotated[str | None, typer.Option(help="who says so; else you", show_default=False)]
Days = Annotated[int, typer.Option(min=1, max=365, help="incidents of so many days")]
Whose = Annotated[
    str, typer.Option("--tenant", help="whose, where several have the id", show_default=False)
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


@alert.command()
def close(
    ids: Ids,
    *,
    disposition: Annotated[
        str, typer.Option(help="true_positive, false_positive, benign or duplicate")
    ] = "",
    note: Note = None,
    by: By = None,
) -> None:
    """Close alerts with a verdict: it counts for the quality of their rules."""
    _say(ids, "close", disposition=disposition, note=note, by=by)


@alert.command()
def reopen(ids: Ids, *, note: Note = None, by: By = None) -> None:
    """Reopen closed alerts."""
    _say(ids, "reopen", note=note, by=by)


@alert.command()
def acknowledge(ids: Ids, *, note: Note = None, by: By = None) -> None:
    """Say that somebody looks at them."""
    _say(ids, "acknowledge", note=note, by=by)


@alert.command()
def assign(
    ids: Ids,
    *,
    to: Annotated[str, typer.Option(help="who works on it")],
    note: Note = None,
    by: By = None,
) -> None:
    """Say who works on them."""
    _say(ids, "assign", assignee=to, note=note, by=by)


@alert.command()
def note(
    id_: Id,
    text: Annotated[str, typer.Argument(help="what to note")],
    *,
    by: By = None,
) -> None:
    """Note something on an alert."""
    _say([id_], "note", note=text, by=by)


def _say(ids: list[str], action: Any, **said: str | None) -> None:
    from tachograph.pipeline.investigate.dispositions import Word, run_say
    from tachograph.pipeline.settings import Settings

    run_say(ids, Word(action=action, **said), Settings.beside_up(), sink=sys.stdout)


incident = typer.Typer(
    cls=ShownByDefault,
    help="Alerts of several agents that belong together (`tacho incident ID`).",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@incident.command("show", short_help="The incident of an alert; `show` may be left out.")
def show_incident(id_: Id, *, html: Html = None, as_json: AsJson = False) -> None:
    """The incident of this id, or of an alert: what joins its alerts and what does not, its agents,
    what they touched, what to do.
    """
    from tachograph.pipeline.investigate.command import run_incident

    run_incident(id_, to_html=html, as_json=as_json, sink=sys.stdout)


@incident.command("list")
def list_incidents(*, days: Days = 7, as_json: AsJson = False) -> None:
    """All incidents of the last days, the largest first."""
    from tachograph.pipeline.investigate.command import run_incidents

    run_incidents(days, as_json=as_json, sink=sys.stdout)


def session(id_: Id, *, tenant: Whose = "", html: Html = None, as_json: AsJson = False) -> None:
    """One session on one page: the conversation, its alerts and signals, what it touched."""
    _show("session", id_, html, tenant, as_json=as_json)


def agent(id_: Id, *, tenant: Whose = "", html: Html = None, as_json: AsJson = False) -> None:
    """One agent on one page: who it is, what it does and touches, its pace, state and alerts."""
    _show("agent", id_, html, tenant, as_json=as_json)


def _show(kind: Any, id_: str, html: Path | None, tenant: str = "", *, as_json: bool) -> None:
    from tachograph.pipeline.investigate.command import run_show

    run_show(kind, id_, tenant, to_html=html, as_json=as_json, sink=sys.stdout)
