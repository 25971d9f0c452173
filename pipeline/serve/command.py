"""`tacho serve`: the HTTP door and the alert feed."""

from pathlib import Path
from typing import Annotated, Optional

import msgspec
import typer


def serve(
    *,
    host: Annotated[
        Optional[str],  # noqa: UP045 - typer reads the annotation
        typer.Option(help="address to listen on (127.0.0.1); any other asks for tokens"),
    ] = None,
    port: Annotated[Optional[int], typer.Option(min=0, max=65_535, help="port (4318)")] = None,  # noqa: UP045
    tls_cert: Annotated[Optional[Path], typer.Option(help="certificate chain, PEM")] = None,  # noqa: UP045
    tls_key: Annotated[Optional[Path], typer.Option(help="its private key, PEM")] = None,  # noqa: UP045
    tls_client_ca: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="let only clients in that have a certificate of this CA, PEM"),
    ] = None,
    tokens_file: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="file of bearer tokens: lines of token, principal, tenant, roles"),
    ] = None,
    watchers: Annotated[int, typer.Option(min=0, help="places at the alert feed")] = 100,
) -> None:
    """The HTTP door: OTLP traces and logs, native actions and state in; alerts, health and
    metrics out.
    """
    import threading

    from tachograph.pipeline.runner import run_process
    from tachograph.pipeline.serve.options import DoorOptions
    from tachograph.pipeline.serve.stage import run
    from tachograph.pipeline.settings import Settings

    settings = Settings.from_env()
    found = DoorOptions.from_env(settings)
    options = msgspec.structs.replace(
        found,
        host=host or found.host,
        port=found.port if port is None else port,
        tls_cert=tls_cert or found.tls_cert,
        tls_key=tls_key or found.tls_key,
        tls_client_ca=tls_client_ca or found.tls_client_ca,
        tokens_file=tokens_file or found.tokens_file,
        limits=msgspec.structs.replace(found.limits, watchers=watchers),
    )

    def stage(given: Settings, stop: threading.Event) -> None:
        run(given, stop, options=options)

    run_process("serve", stage, settings)
