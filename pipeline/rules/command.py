"""`tacho rules …`: the verbs of rule authors.

What a verb needs is imported when it runs, so that help comes at once.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

if TYPE_CHECKING:
    from tachograph.pipeline.rules.loading import Sources

app = typer.Typer(
    help="Rules: write, check and test them, put them in force, see what they do and why.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

Paths = Annotated[
    Optional[list[Path]],  # noqa: UP045 - typer reads the annotation
    typer.Argument(help="rule files or folders; none: the shipped rules", show_default=False),
]
Tuning = Annotated[
    Optional[Path],  # noqa: UP045 - typer reads the annotation
    typer.Option("--tuning", envvar="TACHO_TUNING", help="values for the rules' knobs"),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON object for a program")]
OneRule = Annotated[
    str, typer.Argument(help="a rule: its id, name, title, or how one begins; or its file")
]
Builtin = Annotated[
    bool, typer.Option("--builtin/--no-builtin", help="--no-builtin leaves the shipped rules out")
]
Pipelines = Annotated[
    Optional[list[Path]],  # noqa: UP045 - typer reads the annotation
    typer.Option("--pipeline", envvar="TACHO_PIPELINES", help="Sigma processing pipelines"),
]
Reference = Annotated[
    Optional[list[Path]],  # noqa: UP045 - typer reads the annotation
    typer.Option("--reference", help="reference data: files or folders (TACHO_REFERENCE)"),
]
Beside = Annotated[
    Optional[list[Path]],  # noqa: UP045 - typer reads the annotation
    typer.Option("--rules", help="rule files or folders beside the shipped ones"),
]


def _sources(
    rules: list[Path] | None,
    tuning: Path | None,
    pipelines: list[Path] | None,
    reference: list[Path] | None,
    *,
    builtin: bool = True,
) -> "Sources":
    from tachograph.pipeline.rules.loading import Sources

    return Sources(
        paths=rules or [],
        builtin=builtin,
        tuning=tuning,
        pipelines=pipelines or [],
        reference=reference or [],
    )


@app.command(short_help="Everything that is wrong in rule files, at once.")
def check(
    paths: Paths = None,
    *,
    tuning: Tuning = None,
    pipelines: Pipelines = None,
    reference: Reference = None,
    as_json: AsJson = False,
) -> None:
    """Everything that is wrong in rule files, at once, as file:line: reason; exit 1 on errors."""
    from tachograph.pipeline.rules.checking import run_check

    sources = _sources(None, tuning, pipelines, reference)
    raise typer.Exit(run_check(paths or [], sources, as_json=as_json, sink=sys.stdout))


@app.command("test", short_help="Judge the samples inside rule files.")
def judge_samples(
    paths: Paths = None,
    *,
    tuning: Tuning = None,
    pipelines: Pipelines = None,
    reference: Reference = None,
    junit: Annotated[
        Path | None, typer.Option(help="write a JUnit report for CI", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge the samples inside rule files; exit 1 when one comes out wrong."""
    from tachograph.pipeline.rules.testing import run_test

    sources = _sources(None, tuning, pipelines, reference)
    code = run_test(paths or [], sources, junit=junit, as_json=as_json, sink=sys.stdout)
    raise typer.Exit(code)


@app.command(short_help="Start a rule: a file to fill in, with its samples in it.")
def new(
    title: Annotated[
        str | None, typer.Argument(help="what the rule finds, in a line", show_default=False)
    ] = None,
    *,
    kind: Annotated[
        str | None,
        typer.Option(
            help="stateless, event_count, value_count or temporal_ordered", show_default=False
        ),
    ] = None,
    level: Annotated[
        str, typer.Option(help="informational, low, medium, high or critical")
    ] = "medium",
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", help="the file; else named by the title", show_default=False),
    ] = None,
) -> None:
    """Start a rule: a file to fill in, with its samples in it. Asks for what is not said."""
    from tachograph.pipeline.errors import ConfigError
    from tachograph.pipeline.rules.starting import KINDS, run_new

    kinds = ", ".join(KINDS)
    try:
        title = title or typer.prompt("What does it find")
        kind = kind or typer.prompt(f"Kind ({kinds})", default=KINDS[0])
    except typer.Abort:
        if sys.stdin.isatty():
            raise
        typer.echo()
        asked = f"a title and --kind ({kinds})" if not title else f"--kind ({kinds})"
        raise ConfigError(f"nobody can be asked here: give {asked}") from None
    typer.echo(run_new(title, kind, level, out))


@app.command("list", short_help="The rules there are, or which ids of frameworks they cover.")
def list_rules(
    rules: Beside = None,
    *,
    builtin: Builtin = True,
    pipelines: Pipelines = None,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="which ids of the frameworks the rules cover")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The rules there are, or the map of the frameworks that they cover."""
    from tachograph.pipeline.rules.listing import run_list

    sources = _sources(rules, None, pipelines, None, builtin=builtin)
    run_list(sources, coverage=coverage, as_json=as_json, sink=sys.stdout)


@app.command(short_help="One rule: what it says of itself, its knobs, what it cites.")
def show(
    rule: OneRule,
    *,
    rules: Beside = None,
    tuning: Tuning = None,
    pipelines: Pipelines = None,
    reference: Reference = None,
    as_json: AsJson = False,
) -> None:
    """One rule: what it says of itself, its knobs and their values, what it cites."""
    from tachograph.pipeline.rules.showing import run_show

    sources = _sources(rules, tuning, pipelines, reference).beside(rule)
    run_show(rule, sources, as_json=as_json, sink=sys.stdout)


@app.command(short_help="Why a rule matched an event or did not, and how windows stand.")
def explain(  # noqa: PLR0913 - an argument for each option
    rule: OneRule,
    file: Annotated[
        Path | None,
        typer.Argument(help="events, as `tacho scan` reads them; - is standard input"),
    ] = None,
    *,
    event: Annotated[
        str | None,
        typer.Option(help="the event of this id; without a file, a stored action"),
    ] = None,
    index: Annotated[
        int | None, typer.Option(help="the event(s) of this line, from 0", show_default=False)
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option(help="the events of a sample of the rule, as match[0]", show_default=False),
    ] = None,
    group: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads the annotation
        typer.Option(
            help="of a rule over several actions: the groups with this key=value",
            show_default=False,
        ),
    ] = None,
    rules: Beside = None,
    builtin: Builtin = True,
    tuning: Tuning = None,
    pipelines: Pipelines = None,
    reference: Reference = None,
    format_: Annotated[str, typer.Option("--format", help="auto, actions, otlp or raw")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Why a rule matched an event, or what stood in the way; of a rule over several actions how
    its groups stand. With no events, what it asks.
    """
    from tachograph.pipeline.rules.explaining import Question, run_explain

    question = Question(
        rule=rule,
        file=file,
        event_id=event,
        index=index,
        sample=sample,
        groups=group or [],
        format=format_,
        sources=_sources(rules, tuning, pipelines, reference, builtin=builtin).beside(rule),
    )
    run_explain(question, as_json=as_json, sink=sys.stdout)


@app.command(short_help="A rule as ClickHouse SQL over tacho.actions.")
def sql(
    rule: OneRule,
    *,
    tenant: Annotated[
        str | None, typer.Option(help="only this tenant's actions", show_default=False)
    ] = None,
    rules: Beside = None,
    tuning: Tuning = None,
    pipelines: Pipelines = None,
    reference: Reference = None,
) -> None:
    """A rule as ClickHouse SQL over tacho.actions; its parameters are `since` and `until`."""
    from tachograph.detectors.sql.queries import sql_of
    from tachograph.detectors.sql.text import NotExpressible
    from tachograph.pipeline.errors import ConfigError
    from tachograph.pipeline.rules.loading import find

    found = _sources(rules, tuning, pipelines, reference).beside(rule).rules()
    try:
        sys.stdout.write(sql_of(find(found, rule), found, tenant))
    except NotExpressible as error:
        reason = f"{rule} cannot be asked in SQL: {error}; `tacho backtest {rule}` asks the engine"
        raise ConfigError(reason) from error


def backtest(
    chosen: Annotated[
        list[str], typer.Argument(help="rule files or folders, or ids of rules in force")
    ],
    *,
    since: Annotated[str, typer.Option(help="how long ago (7d, 12h), or a time")] = "7d",
    until: Annotated[
        str | None, typer.Option(help="the same; else now", show_default=False)
    ] = None,
    rules: Beside = None,
    tuning: Tuning = None,
    pipelines: Pipelines = None,
    reference: Reference = None,
    as_json: AsJson = False,
) -> None:
    """Changed rules over the actions stored in ClickHouse: which signals would be new, gone,
    unchanged, by day.
    """
    from tachograph.pipeline.backtest.command import Question, run_backtest, system_now

    sources = _sources(rules, tuning, pipelines, reference)
    question = Question(rules=chosen, sources=sources, since=since, until=until)
    run_backtest(question, as_json=as_json, now=system_now(), sink=sys.stdout)


@app.command(short_help="Put rules in force while everything runs.")
def activate(
    paths: Paths = None,
    *,
    builtin: Builtin = True,
    tuning: Tuning = None,
    pipelines: Pipelines = None,
    reference: Reference = None,
    at: Annotated[
        str | None,
        typer.Option(help="from when on, at least 10 s ahead; else 15 s from now"),
    ] = None,
    note: Annotated[str | None, typer.Option(help="why, for whoever asks what is active")] = None,
) -> None:
    """Put rules in force while everything runs: the shipped ones and these, with their reference
    data. A set with an error is refused, and what is in force stays.
    """
    from tachograph.pipeline.rules.activating import Asked, run_activate
    from tachograph.pipeline.settings import Settings

    asked = Asked(
        paths=paths or [],
        builtin=builtin,
        tuning=tuning,
        pipelines=pipelines or [],
        reference=reference or [],
        at=at,
        note=note,
    )
    run_activate(asked, Settings.beside_up(), sink=sys.stdout)


@app.command(short_help="What was, is and will be in force.")
def active(*, as_json: AsJson = False) -> None:
    """Which rules and reference data were, are and will be in force, and who said so."""
    from tachograph.pipeline.rules.activating import run_active
    from tachograph.pipeline.settings import Settings

    run_active(Settings.beside_up(), as_json=as_json, sink=sys.stdout)


@app.command(short_help="What each rule did: matches, signals, time, whether it can fire.")
def stats(
    *,
    url: Annotated[
        Optional[str],  # noqa: UP045 - typer reads the annotation
        typer.Option(
            envvar="TACHO_DOOR_URL",
            help="the door; else that of `tacho up` (4318)",
        ),
    ] = None,
    by: Annotated[str, typer.Option(help="order: signals, matches, time or title")] = "signals",
    as_json: AsJson = False,
) -> None:
    """What each rule in force did: how often asked, matched, said, how long it took, when it last
    matched, and whether it can fire at all.

    TACHO_DOOR_TOKEN holds a token with the role metrics for a door that asks for one.
    """
    from tachograph.pipeline.errors import ConfigError
    from tachograph.pipeline.rules.stats import ORDERS, run_stats
    from tachograph.pipeline.settings import door_beside_up

    door = url or door_beside_up()
    if by not in ORDERS:
        raise ConfigError(f"--by {by}: one of {', '.join(ORDERS)}")
    token = os.environ.get("TACHO_DOOR_TOKEN")
    run_stats(door, token, by=by, as_json=as_json, sink=sys.stdout)


@app.command(short_help="How far the windows of a rule in force have come.")
def state(
    rule: OneRule,
    *,
    group: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads the annotation
        typer.Option(help="only groups with this value, as principal.id=alice", show_default=False),
    ] = None,
    most: Annotated[int, typer.Option(help="groups told of in each place, largest first")] = 3,
    as_json: AsJson = False,
) -> None:
    """How far the windows of a rule in force have come, group by group, and what is missing; as of
    the newest checkpoints of `tacho detect`.
    """
    from tachograph.pipeline.rules.state import run_state
    from tachograph.pipeline.settings import Settings

    settings = Settings.beside_up()
    run_state(rule, group or [], settings, most=most, as_json=as_json, sink=sys.stdout)


@app.command(short_help="How good each rule is, by what people said of its alerts.")
def quality(
    *,
    format_: Annotated[str, typer.Option("--format", help="table, json, ndjson or csv")] = "table",
) -> None:
    """Keep, tune or retire: each rule with the numbers of what people said of its alerts. A program
    gets more columns than a table has room for.
    """
    from tachograph.pipeline.query.command import Question, run_query

    short = (
        "SELECT title, verdict, precision, alerts, open, true_positives AS `true`,"
        " false_positives AS `false`, benign, rule_id FROM tacho.rule_quality"
        " ORDER BY verdict = 'undecided', precision, alerts DESC, rule_id"
    )
    asked = short if format_ == "table" else "rule-quality"
    run_query(Question(asked=asked, format=format_), as_plot=False)


def coverage(
    rules: Beside = None,
    *,
    sources: Annotated[
        bool, typer.Option("--sources", help="what each kind of source can feed")
    ] = False,
    blind: Annotated[
        str | None,
        typer.Option(help="detections that are blind with this source alone", show_default=False),
    ] = None,
    builtin: Builtin = True,
    as_json: AsJson = False,
) -> None:
    """Which ids of the frameworks the rules cover; or what each kind of source can feed, and which
    detections are blind without another one.
    """
    from tachograph.pipeline.rules.listing import run_list
    from tachograph.pipeline.rules.reach import run_reach

    chosen = _sources(rules, None, None, None, builtin=builtin)
    if sources or blind:
        run_reach(chosen, name=blind, as_json=as_json, sink=sys.stdout)
    else:
        run_list(chosen, coverage=True, as_json=as_json, sink=sys.stdout)
