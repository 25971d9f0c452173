"""`tacho query …`. What the verb needs is imported when it runs, so that help comes at once."""

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from tachograph.pipeline.errors import ConfigError


def query(  # noqa: PLR0913 - an argument for each option
    asked: Annotated[
        str | None,
        typer.Argument(
            help="name of a hunt, SQL, or - for SQL on standard input", show_default=False
        ),
    ] = None,
    *,
    list_: Annotated[bool, typer.Option("--list", help="the hunts there are")] = False,
    param: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads the annotation
        typer.Option(
            "-p", "--param", help="name=value, for {name:Type} in the query", show_default=False
        ),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="table, json, ndjson, csv or parquet")
    ] = "table",
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="write here", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="rows that a table shows at most")] = 200,
    plot: Annotated[bool, typer.Option("--plot", help="a curve in the terminal")] = False,
    plot_columns: Annotated[
        str | None,
        typer.Option(help="--plot of SQL: columns x,y or x,y,by", show_default=False),
    ] = None,
    sql: Annotated[bool, typer.Option("--sql", help="print the query of a hunt")] = False,
) -> None:
    """Ask ClickHouse, as a reader: a hunt that ships, or plain SQL over tacho.actions, tacho.alerts
    and the other names (`SHOW TABLES FROM tacho`). Parameters are ClickHouse's own, {name:Type}.
    """
    from tachograph.pipeline.query import command

    if list_:
        command.run_list(format_, sys.stdout)
    elif asked is None:
        raise ConfigError("say what: the name of a hunt (`tacho query --list`), or SQL in quotes")
    elif sql:
        command.run_sql(asked, sys.stdout)
    else:
        question = command.Question(
            asked=asked, params=param or [], format=format_, out=out, limit=limit,
            plot=plot_columns,
        )  # fmt: skip
        command.run_query(question, as_plot=plot or plot_columns is not None)
