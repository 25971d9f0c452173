"""`tacho forward`: run the stage, list destinations, try one, show a format.

What a command needs is imported when it runs, so that help comes at once.
"""

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    help="Alerts to SIEMs and webhooks, each destination at its own pace. Alone: run the stage.",
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

ConfigPath = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation
    typer.Option("--config", help="this file instead of TACHO_HOME/forward.yaml or forward.toml"),
]


@app.callback()
def forward(context: typer.Context, config: ConfigPath = None) -> None:
    """Bring alerts to every configured destination; runs until it is told to stop."""
    context.obj = config
    if context.invoked_subcommand is None:
        from tachograph.pipeline.forward.config import PATH_VARIABLE
        from tachograph.pipeline.runner import run_stage

        if config is not None:
            os.environ[PATH_VARIABLE] = str(config)
        run_stage("forward")


@app.command("list")
def list_destinations(context: typer.Context) -> None:
    """Show the destinations as JSON lines; secrets and URL paths are left out."""
    import msgspec

    from tachograph.pipeline.forward.config import load
    from tachograph.pipeline.settings import Settings

    settings = Settings.from_env()
    found = load(settings, context.obj)
    if not found:
        typer.echo(f"No destination: write {settings.home}/forward.yaml or name a file with"
                   " --config.", err=True)  # fmt: skip
    for configured in found:
        typer.echo(msgspec.json.encode(configured.shown()).decode())


@app.command()
def test(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="the name of a destination")],
) -> None:
    """Send one sample alert, marked synthetic, and say what the other end answered."""
    from tachograph.pipeline.clock import system_us
    from tachograph.pipeline.errors import ConfigError, TachoError
    from tachograph.pipeline.forward.config import load
    from tachograph.pipeline.forward.destination import Outgoing
    from tachograph.pipeline.forward.sample import sample_alert
    from tachograph.pipeline.settings import Settings

    settings = Settings.from_env()
    found = {configured.route.name: configured for configured in load(settings, context.obj)}
    chosen = found.get(name)
    if chosen is None:
        known = ", ".join(found) or "none: write TACHO_HOME/forward.yaml"
        raise ConfigError(f"no destination {name!r}; there is {known}")
    alert = sample_alert(settings.tenant, system_us())
    body = chosen.format.render(alert, **chosen.type.render_options(chosen.options))
    record = Outgoing(
        f"{alert.alert_id}:{alert.revision}", body, chosen.format.CONTENT_TYPE, alert.updated_at
    )
    destination = chosen.type.open(chosen.options, chosen.secret)
    try:
        answer = destination.deliver([record])
    except TachoError as error:
        typer.echo(f"{name}: not delivered: {error}", err=True)
        raise typer.Exit(1) from None
    finally:
        destination.close()
    typer.echo(f"{name}: delivered {record.key} ({len(body)} bytes of {chosen.format.NAME})")
    typer.echo(f"{name}: the other end said: {answer}")


@app.command()
def render(
    form: Annotated[
        str,
        typer.Argument(metavar="FORMAT", help="cef, leef, ocsf, ecs, hec, otlp, sentinel, …"),
    ],
    file: Annotated[Path, typer.Argument(help="NDJSON of alerts, or of findings; - is stdin")],
) -> None:
    """Print the alerts of a file as a destination of this format would get them, byte for byte."""
    from tachograph.pipeline.errors import ConfigError
    from tachograph.pipeline.forward.formats import formats
    from tachograph.pipeline.forward.from_file import Unreadable
    from tachograph.pipeline.forward.rendering import rendered

    chosen = formats().get(form)
    if chosen is None:
        raise ConfigError(f"no format {form!r}; there is {', '.join(sorted(formats()))}")
    unreadable = 0
    with ExitStack() as stack:
        try:
            source = sys.stdin.buffer if str(file) == "-" else stack.enter_context(file.open("rb"))
        except OSError as error:
            raise ConfigError(f"{file}: {error.strerror}") from None
        for part in rendered(source, chosen):
            if isinstance(part, Unreadable):
                unreadable += 1
                typer.echo(f"{file}:{part.line}: {part.reason}", err=True)
            else:
                sys.stdout.buffer.write(part)
        sys.stdout.buffer.flush()
    if unreadable:
        raise typer.Exit(1)
