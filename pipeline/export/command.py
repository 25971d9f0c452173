"""`tacho export`."""

from pathlib import Path
from typing import Annotated, Optional

import typer


def export(
    *,
    alert: Annotated[
        Optional[list[str]],  # noqa: UP045 - typer reads the annotation
        typer.Option(help="id of an alert; may be given more than once", show_default=False),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="alerts updated since then", show_default=False)
    ] = None,
    until: Annotated[str | None, typer.Option(help="and before then", show_default=False)] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="a new folder, or a .zip file")],
    heads: Annotated[
        Path | None,
        typer.Option(help="the notary's file of tree heads (TACHO_TREE_HEADS_FILE)"),
    ] = None,
) -> None:
    """Alerts and what belongs to them, with proofs that a third party checks by itself."""
    from tachograph.pipeline.clock import system_us, to_datetime
    from tachograph.pipeline.errors import ConfigError, Refused
    from tachograph.pipeline.export.bundle import bundle_of, write
    from tachograph.pipeline.export.select import alerts_since, records_of
    from tachograph.pipeline.moments import moment_of
    from tachograph.pipeline.notarize.heads import heads_file
    from tachograph.pipeline.notarize.keys import RING_FILE, read_ring
    from tachograph.pipeline.query.place import served
    from tachograph.pipeline.settings import Settings
    from tachograph.pipeline.store.clickhouse import Connection
    from tachograph.pipeline.verify.anchors import anchors
    from tachograph.pipeline.verify.findings import Report, text_of
    from tachograph.pipeline.verify.kafka import answering

    begin, end = moment_of("--since", since), moment_of("--until", until)
    if bool(alert) == (begin is not None):
        raise ConfigError("give --alert, or --since: which alerts the bundle is of")
    settings = Settings.beside_up()
    ring, found = read_ring(settings.home / RING_FILE), Report()
    trees = anchors(heads or heads_file(settings.home), answering(settings), ring, found)
    if found.findings:
        raise Refused(f"the tree heads do not hold, nothing is exported:\n{text_of(found)}")
    with (
        served(settings) as clickhouse,
        Connection(clickhouse, reads_only=True, answer_timeout_s=120) as connection,
    ):
        chosen = alert or (alerts_since(connection, begin, end) if begin else [])
        asked = f"alerts {', '.join(alert)}" if alert else f"alerts since {since}"
        made = bundle_of(
            connection, records_of(connection, chosen), trees, ring,
            asked=asked, at=to_datetime(system_us()),
        )  # fmt: skip
    write(made, out)
    typer.echo(f"{out}: {made.records} records of {len(chosen)} alert(s), with their proofs.")
    if made.newer:
        typer.echo(f"{made.newer} records were left out: no signed head covers them yet.", err=True)
