"""Every verb of `tacho` in one place. What a verb needs is imported when it runs, so that help
comes at once.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from tachograph.pipeline.help_sections import Section, SectionedGroup

app = typer.Typer(
    name="tacho",
    cls=SectionedGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

_STAGES = {
    "normalize": "Raw telemetry in; decoded, identified, redacted actions out.",
    "detect": "Actions in; signals and signal groups out.",
    "triage": "Signal groups in; alerts with captured state out.",
    "store": "Everything into ClickHouse, each row once.",
    "notarize": "Signed leaves over everything that is evidence.",
}


def _say_version(asked: bool) -> None:  # noqa: FBT001 - Typer calls it so
    if asked:
        from importlib.metadata import version

        typer.echo(f"tacho {version('tachograph')}")
        raise typer.Exit


@app.callback()
def about(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_say_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Streaming detection for AI agents: actions in, explained alerts with captured state out."""


@app.command(
    short_help="All stages in one command, with a live view.", rich_help_panel=Section.START
)
def up(
    *,
    demo: Annotated[
        bool, typer.Option(help="replay recorded agent sessions; --no-demo waits for your own")
    ] = True,
    for_s: Annotated[
        int | None,
        typer.Option(
            "--for", help="stop after so many seconds with a summary; exit 1 without alerts"
        ),
    ] = None,
    door_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="port of the HTTP door (4318)")
    ] = None,
    clickhouse_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="port of the embedded ClickHouse")
    ] = 8123,
    plain: Annotated[
        bool, typer.Option("--plain", help="log lines instead of a live view")
    ] = False,
) -> None:
    """All stages in one command, on the embedded stand-ins or on real servers, with a live view.

    Real servers are used when KAFKA_BOOTSTRAP_SERVERS and CLICKHOUSE_URL name them.
    """
    from tachograph.pipeline.up.command import Options, run_up

    options = Options(
        demo=demo, for_s=for_s, door_port=door_port, clickhouse_port=clickhouse_port, plain=plain
    )
    raise typer.Exit(run_up(options))


@app.command(short_help="Judge files with the engine of the stream.", rich_help_panel=Section.START)
def scan(  # noqa: PLR0913 - an argument for each option
    files: Annotated[list[Path], typer.Argument(help="files to judge; - is standard input")],
    *,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="auto, actions, otlp, raw, or that of another system (`tacho map list`)",
        ),
    ] = "auto",
    mapping: Annotated[
        list[Path] | None,
        typer.Option(envvar="TACHO_MAPPINGS", help="mapping files for other JSON"),
    ] = None,
    rules: Annotated[
        list[Path] | None,
        typer.Option(help="rule files or folders beside the shipped ones"),
    ] = None,
    builtin: Annotated[bool, typer.Option(help="--no-builtin leaves the shipped rules out")] = True,
    tuning: Annotated[
        Path | None,
        typer.Option(envvar="TACHO_TUNING", help="values for the rules' knobs"),
    ] = None,
    pipeline: Annotated[
        list[Path] | None,
        typer.Option(
            envvar="TACHO_PIPELINES",
            help="Sigma processing pipelines: files, or `endpoint`, which ships",
        ),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(help="reference data: files or folders (TACHO_REFERENCE)"),
    ] = None,
    time_field: Annotated[
        str | None,
        typer.Option(help="raw: the field that holds the time"),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="a model of behaviour that `tacho train` wrote"),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="write here")] = None,
    format_out: Annotated[str, typer.Option(help="ndjson or table")] = "ndjson",
    fail_on: Annotated[
        str | None,
        typer.Option(help="exit 1 on a match of this severity or above"),
    ] = None,
) -> None:
    """Judge files with the engine of the stream: one JSON object a line for every match."""
    from tachograph.pipeline.scan.command import Options, run_scan

    options = Options(
        files=files, format=format_, rules=rules or [], builtin=builtin, tuning=tuning,
        pipelines=pipeline or [], reference=reference or [], mappings=mapping or [],
        time_field=time_field, model=model, out=out, format_out=format_out, fail_on=fail_on,
    )  # fmt: skip
    raise typer.Exit(run_scan(options.sorted_out()))


@app.command(rich_help_panel=Section.START)
def tail(
    topic: Annotated[str, typer.Argument(help="a topic of ours, as agent.alerts")],
    *,
    where: Annotated[
        list[str] | None,
        typer.Option(help="field=value; may be given more than once"),
    ] = None,
    record: Annotated[
        str | None,
        typer.Option(help="only this kind of record: action_batch, tick, alert …"),
    ] = None,
    from_start: Annotated[
        bool, typer.Option("--from-start", help="from the oldest record")
    ] = False,
    follow: Annotated[bool, typer.Option(help="wait for more; --no-follow ends at the end")] = True,
    limit: Annotated[int | None, typer.Option(help="stop after so many lines")] = None,
) -> None:
    """Show a topic as JSON lines, followed and filtered. Dead letters hold original bytes: mind
    who looks.
    """
    from tachograph.pipeline.settings import Settings
    from tachograph.pipeline.tail import Filters
    from tachograph.pipeline.tail import tail as run_tail

    filters = Filters.parse(where or [], record)
    settings = Settings.beside_up()
    run_tail(settings, topic, filters, from_start=from_start, follow=follow, limit=limit)


@app.command(
    short_help="Serve what was stored in the embedded ClickHouse again.",
    rich_help_panel=Section.START,
)
def clickhouse(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="port to listen on")] = 8123,
    *,
    tls_cert: Annotated[Path | None, typer.Option(help="certificate chain, PEM")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="its private key, PEM")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(help="let only clients in that have a certificate of this CA, PEM"),
    ] = None,
) -> None:
    """Serve the embedded ClickHouse of TACHO_HOME again, for questions about what was stored."""
    from tachograph.pipeline.tls import ServerTls
    from tachograph.pipeline.up.command import serve_clickhouse

    serve_clickhouse(port, ServerTls(cert=tls_cert, key=tls_key, client_ca=tls_client_ca))


def _stage_command(name: str) -> Callable[[], None]:
    def command() -> None:
        from tachograph.pipeline.runner import run_stage

        run_stage(name)

    return command


for _name, _help in _STAGES.items():
    app.command(
        _name,
        help=f"{_help} One process of the stage; runs until it is told to stop.",
        rich_help_panel=Section.STAGES,
    )(_stage_command(_name))


@app.command(rich_help_panel=Section.OPERATE)
def migrate(
    *,
    cluster: Annotated[
        str | None,
        typer.Option(
            help="tables ON CLUSTER of this name, replicated", envvar="TACHO_CLICKHOUSE_CLUSTER"
        ),
    ] = None,
    sharded: Annotated[
        bool,
        typer.Option("--sharded", help="and their rows parted among the shards of the cluster"),
    ] = False,
    show: Annotated[bool, typer.Option("--show", help="print the statements, do nothing")] = False,
) -> None:
    """Create or update ClickHouse's tables; harmless to repeat."""
    from tachograph.pipeline.migrate import migrate as run_migrate

    run_migrate(cluster or "", parted=sharded, show=show)


def _add_verbs() -> None:
    """Verbs with options of their own live beside their stage."""
    from tachograph.pipeline.backup.command import backup, restore
    from tachograph.pipeline.drill.command import drill
    from tachograph.pipeline.export.command import export
    from tachograph.pipeline.investigate_command import agent, session
    from tachograph.pipeline.query_command import query
    from tachograph.pipeline.repartition.command import repartition
    from tachograph.pipeline.replay_command import replay
    from tachograph.pipeline.reproduce.command import reproduce
    from tachograph.pipeline.rules.command import backtest, coverage
    from tachograph.pipeline.schema_command import schema
    from tachograph.pipeline.serve.alerts_command import alerts
    from tachograph.pipeline.serve.command import serve
    from tachograph.pipeline.topics_command import topics
    from tachograph.pipeline.train.command import train
    from tachograph.pipeline.verify.command import verify

    for section, run, short in (
        (
            Section.INVESTIGATE,
            alerts,
            "Alerts of a door: stored ones, and with --follow what comes.",
        ),
        (Section.INVESTIGATE, session, "One session on a page."),
        (Section.INVESTIGATE, agent, "One agent on a page."),
        (Section.INVESTIGATE, query, "Ask ClickHouse: hunts that ship, or plain SQL."),
        (Section.RULES, backtest, "Changed rules over stored actions: what would differ."),
        (Section.RULES, coverage, "What the rules cover, and what each kind of source can feed."),
        (Section.RULES, train, "Learn what honest behaviour is from past actions."),
        (Section.EVIDENCE, reproduce, "Judge an alert again from its evidence."),
        (Section.EVIDENCE, verify, "Is the evidence in ClickHouse what was notarized?"),
        (Section.EVIDENCE, export, "Alerts with proofs that a third party checks by itself."),
        (Section.STAGES, serve, "The HTTP door: telemetry in, alerts and metrics out."),
        (Section.OPERATE, drill, "A harmless attack through the door: an alert in time?"),
        (Section.OPERATE, replay, "Put dead letters back on their topic after a fix."),
        (Section.OPERATE, topics, "Kafka's topics: create them, and what is not as it should be."),
        (Section.OPERATE, repartition, "More partitions of agent.actions, for more processes."),
        (Section.OPERATE, backup, "Alerts, evidence and what people said, as files."),
        (Section.OPERATE, restore, "Put a backup back."),
        (Section.OPERATE, schema, "Print the JSON Schema of a record."),
    ):
        app.command(short_help=short, rich_help_panel=section)(run)


def _add_groups() -> None:
    """And so do groups of verbs."""
    from tachograph.pipeline.control.command import app as directive
    from tachograph.pipeline.forward.command import app as forward
    from tachograph.pipeline.investigate_command import alert, incident
    from tachograph.pipeline.map_command import app as mapping
    from tachograph.pipeline.models.command import app as models
    from tachograph.pipeline.notarize.keys_command import app as keys
    from tachograph.pipeline.retention.command import app as hold
    from tachograph.pipeline.rules.command import app as rules
    from tachograph.pipeline.silence_command import app as silence

    for section, name, group, short in (
        (Section.INVESTIGATE, "alert", alert, "One alert on a page; close, assign, note."),
        (Section.INVESTIGATE, "incident", incident, "Alerts that belong together, on a page."),
        (Section.INVESTIGATE, "directive", directive, "Tell an agent to stop, and release it."),
        (Section.RULES, "rules", rules, "Rules: write, test, put in force, explain."),
        (Section.RULES, "silence", silence, "Silence what is known: owner, reason and end."),
        (Section.RULES, "models", models, "Models of behaviour: put in force, or in the shadow."),
        (
            Section.EVIDENCE,
            "keys",
            keys,
            "Keys that sign tree heads: which there are, and a new one.",
        ),
        (Section.EVIDENCE, "hold", hold, "Legal holds: what stays, however old, until released."),
        (Section.STAGES, "forward", forward, "Alerts to SIEMs and webhooks, each at its own pace."),
        (Section.OPERATE, "map", mapping, "Formats of other systems; mapping files tried."),
    ):
        app.add_typer(group, name=name, short_help=short, rich_help_panel=section)


_add_verbs()
_add_groups()
