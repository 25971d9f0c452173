"""`tacho models …`. What a verb needs is imported when it runs, so that help comes at once."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Models of behaviour: put in force, tried in the shadow, compared.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
_JSON = typer.Option("--json", help="JSON for a program")
_AT = typer.Option(help="from when on, at least 10 s ahead; else 15 s from now")
_SHADOW = typer.Option("--shadow", help="only counted and listed, beside the one in force")


@app.command()
def activate(
    file: Annotated[Path, typer.Argument(help="a model that `tacho train` wrote")],
    *,
    shadow: Annotated[bool, _SHADOW] = False,
    at: Annotated[str | None, _AT] = None,
    note: Annotated[str | None, typer.Option(help="why, for those who read it later")] = None,
) -> None:
    """Put a model in force for all processes of detect, through the log. It judges windows that
    end from then on.
    """
    from tachograph.pipeline.models.activating import Asked, run_activate
    from tachograph.pipeline.settings import Settings

    asked = Asked(path=file, shadow=shadow, at=at, note=note)
    run_activate(asked, Settings.beside_up(), sink=sys.stdout)


@app.command()
def deactivate(
    *,
    shadow: Annotated[bool, typer.Option("--shadow", help="the one in the shadow")] = False,
    at: Annotated[str | None, _AT] = None,
    note: Annotated[str | None, typer.Option(help="why, for those who read it later")] = None,
) -> None:
    """Take the model out of force."""
    from tachograph.pipeline.models.activating import Asked, run_activate
    from tachograph.pipeline.settings import Settings

    asked = Asked(path=None, shadow=shadow, at=at, note=note)
    run_activate(asked, Settings.beside_up(), sink=sys.stdout)


@app.command("list")
def list_models(*, as_json: Annotated[bool, _JSON] = False) -> None:
    """Which models held, hold and will hold."""
    from tachograph.pipeline.models.activating import run_list
    from tachograph.pipeline.settings import Settings

    run_list(Settings.beside_up(), as_json=as_json, sink=sys.stdout)


@app.command()
def show(file: Annotated[Path, typer.Argument(help="a model that `tacho train` wrote")]) -> None:
    """Print a model's card: what it was learned from, how it is calibrated, how it did."""
    import msgspec

    from tachograph.pipeline.models.activating import read_model

    model, _ = read_model(file)
    card = {"version": model.version, **msgspec.to_builtins(model.card)}
    card["honest"] = card["honest"][:20]
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(card)).decode() + "\n")


@app.command()
def report(
    *,
    since: Annotated[str, typer.Option(help="from when on: 7d ago or a time")] = "7d",
    until: Annotated[str | None, typer.Option(help="until when; else now")] = None,
    as_json: Annotated[bool, _JSON] = False,
) -> None:
    """What models said, and what one in the shadow would have said: from ClickHouse."""
    from tachograph.pipeline.backtest.times import moment
    from tachograph.pipeline.models.report import run_report
    from tachograph.pipeline.settings import Settings

    now = datetime.now(UTC)
    upto = moment(until, now, "--until") if until else now
    run_report(
        Settings.beside_up(), moment(since, now, "--since"), upto, as_json=as_json, sink=sys.stdout
    )
