"""`tacho directive …`: tell an agent something by hand, and take it back."""

import secrets
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Optional, TextIO

import typer

from tachograph.pipeline.errors import ConfigError
from tachograph.schemas.codec import encode
from tachograph.schemas.records import Directive, DirectiveKind

KINDS: dict[str, DirectiveKind] = {
    "capture": "capture",
    "throttle": "throttle",
    "require_approval": "require_approval",
    "quarantine": "quarantine",
}
MAX_HELD = timedelta(days=1)
# A release is known for as long as what it ends can be.
_RELEASE = MAX_HELD
app = typer.Typer(
    help="Tell an agent to slow down, ask first, stop or say what it is, and take it back.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
def issue(  # noqa: PLR0913 - an argument for each option
    kind: Annotated[str, typer.Argument(help=f"one of {', '.join(KINDS)}")],
    agent: Annotated[str, typer.Argument(help="its agent_id")],
    *,
    reason: Annotated[str, typer.Option(help="why; the agent is told")],
    minutes: Annotated[int, typer.Option("--minutes", min=1, max=1_440, help="how long")] = 15,
    session: Annotated[Optional[str], typer.Option(help="only this session")] = None,  # noqa: UP045
    tool: Annotated[Optional[str], typer.Option(help="only tools of this pattern")] = None,  # noqa: UP045
    per_minute: Annotated[
        Optional[int],  # noqa: UP045 - typer reads the annotation
        typer.Option(min=0, help="calls a minute under a throttle"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="told, not done")] = False,
    tenant: Annotated[Optional[str], typer.Option(help="whose agent")] = None,  # noqa: UP045
) -> None:
    """Tell an agent, by hand, what a policy would."""
    if kind not in KINDS:
        raise ConfigError(f"{kind!r} is none of {', '.join(KINDS)}")
    scope = {"tool": tool} if tool else {}
    if per_minute is not None:
        scope["per_minute"] = str(per_minute)
    held = timedelta(minutes=minutes)
    made = _directive(KINDS[kind], agent, reason, held, tenant, session=session, scope=scope)
    _give(made, dry_run=dry_run, sink=sys.stdout)


@app.command()
def release(
    agent: Annotated[str, typer.Argument(help="its agent_id")],
    *,
    reason: Annotated[str, typer.Option(help="why; the agent is told")],
    directive: Annotated[
        Optional[str],  # noqa: UP045 - typer reads the annotation
        typer.Option(help="only this one; else all that the agent was told"),
    ] = None,
    session: Annotated[Optional[str], typer.Option(help="only what holds this session")] = None,  # noqa: UP045
    tenant: Annotated[Optional[str], typer.Option(help="whose agent")] = None,  # noqa: UP045
) -> None:
    """End what an agent was told before now."""
    scope = {"directive_id": directive} if directive else {}
    made = _directive("release", agent, reason, _RELEASE, tenant, session=session, scope=scope)
    _give(made, dry_run=False, sink=sys.stdout)


def _directive(
    kind: DirectiveKind,
    agent: str,
    reason: str,
    holds: timedelta,
    tenant: str | None,
    *,
    session: str | None,
    scope: dict[str, str],
) -> Directive:
    now = datetime.now(UTC)
    return Directive(
        directive_id=secrets.token_hex(16),
        tenant=tenant or "",
        kind=kind,
        agent_id=agent,
        session_id=session,
        scope=scope,
        reason=reason,
        issued_at=now,
        expires_at=now + holds,
    )


def _give(directive: Directive, *, dry_run: bool, sink: TextIO) -> None:
    """Sign it and write it where triage does. Raises TachoError."""
    import msgspec

    from tachograph.pipeline.control.keys import signer
    from tachograph.pipeline.kafka.writer import Writer
    from tachograph.pipeline.settings import Settings
    from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER

    settings = Settings.beside_up()
    owned = msgspec.structs.replace(
        directive, tenant=directive.tenant or settings.tenant, dry_run=dry_run
    )
    writer = Writer(settings)
    writer.send(
        "agent.control",
        encode(signer(settings.home).signed(owned)),
        key=f"{owned.tenant}/{owned.agent_id}".encode(),
        headers={RECORD_HEADER: b"directive", VERSION_HEADER: b"1"},
    )
    writer.flush()
    sink.write(f"{owned.directive_id} {owned.kind} {owned.agent_id}\n")
