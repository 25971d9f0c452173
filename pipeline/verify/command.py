"""`tacho verify`."""

from pathlib import Path
from typing import Annotated

import typer


def verify(
    *,
    heads: Annotated[
        Path | None,
        typer.Option(help="the notary's file of tree heads (TACHO_TREE_HEADS_FILE)"),
    ] = None,
    keys: Annotated[
        Path | None, typer.Option(help="its public keys; else notary_keys.ndjson in TACHO_HOME")
    ] = None,
    deletions: Annotated[
        Path | None, typer.Option(help="signed deletions; else deletions.ndjson in TACHO_HOME")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="do not ask the broker for heads and newer records")
    ] = False,
    logs_only: Annotated[
        bool,
        typer.Option("--logs-only", help="leave out what tacho.alerts and tacho.agent_state show"),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="one JSON object for a program")] = False,
) -> None:
    """Are alerts, captured state, directives and dispositions in ClickHouse what was notarized?

    Exit 0: all holds. 1: a row was changed, removed, added or moved, and which. 2: it cannot be
    told, as without heads from outside ClickHouse.
    """
    from tachograph.pipeline.notarize.heads import heads_file
    from tachograph.pipeline.notarize.keys import RING_FILE, read_ring
    from tachograph.pipeline.query.place import served
    from tachograph.pipeline.retention.keeper import DELETIONS_FILE
    from tachograph.pipeline.settings import Settings
    from tachograph.pipeline.store.clickhouse import Connection
    from tachograph.pipeline.verify.check import Sources, check
    from tachograph.pipeline.verify.findings import EXIT_CODES, text_of
    from tachograph.pipeline.verify.kafka import answering

    settings = Settings.beside_up()
    sources = Sources(
        heads=heads or heads_file(settings.home),
        deletions=deletions or settings.home / DELETIONS_FILE,
        ring=read_ring(keys or settings.home / RING_FILE),
        kafka=None if offline else answering(settings),
        shown=not logs_only,
    )
    with (
        served(settings) as clickhouse,
        Connection(clickhouse, reads_only=True, answer_timeout_s=ANSWER_TIMEOUT_S) as connection,
    ):
        report = check(connection, sources)
    if sources.kafka is None:
        report.notes.append("no broker was asked: heads are those of the file alone")
    typer.echo(report.as_json().decode() if as_json else text_of(report))
    raise typer.Exit(EXIT_CODES[report.verdict])


# A piece of a log is read at a time, but the server may have others to serve.
ANSWER_TIMEOUT_S = 120
