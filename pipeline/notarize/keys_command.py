"""`tacho keys …`. What a verb needs is imported when it runs, so that help comes at once."""

from typing import Annotated

import typer

app = typer.Typer(
    help="Keys that sign tree heads: which there are, and a new one.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("list")
def list_keys(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="the records themselves")] = False,
) -> None:
    """Public keys that ever signed, oldest first; the last one signs now."""
    from tachograph.pipeline.notarize.keys import RING_FILE, read_ring
    from tachograph.pipeline.settings import Settings
    from tachograph.schemas import codec

    path = Settings.from_env().home / RING_FILE
    ring = read_ring(path)
    if not ring.keys:
        typer.echo(f"No key in {path}: the notary makes one when it first starts.", err=True)
    for key in ring.keys:
        if as_json:
            typer.echo(codec.encode(key).decode())
        else:
            typer.echo(f"{key.key_id}  made {key.made_at:%Y-%m-%dT%H:%M:%SZ}  {key.public_key}"
                       f"  vouched for by {key.signed_by}")  # fmt: skip


@app.command()
def rotate() -> None:
    """Make a new signing key, vouched for by the one before it, which is forgotten. What it signed
    stays proved. A notary that runs goes on with the new key at once.
    """
    from tachograph.pipeline.notarize.keys import Keys
    from tachograph.pipeline.settings import Settings

    told = Keys(Settings.from_env().home).rotate()
    typer.echo(f"{told.key_id} signs from now on; {told.signed_by} vouches for it.")
