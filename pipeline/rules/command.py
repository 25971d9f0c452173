"""`tacho rules …`: the verbs of rule authors.

What a verb needs is imported when it runs, so that help comes at once.
"""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

app = typer.Typer(
    help="Write rules: start, check, test, list and show them.",
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
Beside = Annotated[
    Optional[list[Path]],  # noqa: UP045 - typer reads the annotation
    typer.Option("--rules", help="rule files or folders beside the shipped ones"),
]


@app.command()
def check(
    paths: Paths = None,
    *,
    tuning: Tuning = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="rules for logs of other kinds: any field may be there")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Everything that is wrong in rule files, at once, as file:line: reason; exit 1 on errors."""
    from tachograph.pipeline.rules.checking import run_check

    raise typer.Exit(run_check(paths or [], tuning, raw=raw, as_json=as_json, sink=sys.stdout))


@app.command("test")
def judge_samples(
    paths: Paths = None,
    *,
    tuning: Tuning = None,
    junit: Annotated[
        Path | None, typer.Option(help="write a JUnit report for CI", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Judge the samples inside rule files; exit 1 when one comes out wrong."""
    from tachograph.pipeline.rules.testing import run_test

    raise typer.Exit(run_test(paths or [], tuning, junit=junit, as_json=as_json, sink=sys.stdout))


@app.command()
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
    from tachograph.pipeline.rules.starting import KINDS, run_new

    title = title or typer.prompt("What does it find")
    kind = kind or typer.prompt(f"Kind ({', '.join(KINDS)})", default=KINDS[0])
    typer.echo(run_new(title, kind, level, out))


@app.command("list")
def list_rules(
    rules: Beside = None,
    *,
    builtin: Annotated[bool, typer.Option(help="--no-builtin leaves the shipped rules out")] = True,
    coverage: Annotated[
        bool, typer.Option("--coverage", help="which ids of the frameworks the rules cover")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """The rules there are, or the map of the frameworks that they cover."""
    from tachograph.pipeline.rules.listing import run_list

    run_list(rules or [], builtin=builtin, coverage=coverage, as_json=as_json, sink=sys.stdout)


@app.command()
def show(
    rule: Annotated[str, typer.Argument(help="id or name of a rule, or how it begins")],
    *,
    rules: Beside = None,
    tuning: Tuning = None,
    as_json: AsJson = False,
) -> None:
    """One rule: what it says of itself, its knobs and their values, what it cites."""
    from tachograph.pipeline.rules.showing import run_show

    run_show(rule, rules or [], tuning, as_json=as_json, sink=sys.stdout)
