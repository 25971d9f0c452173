"""`tacho alerts`: alerts of a door in a terminal. What the verb needs is imported when it runs."""

import os
import sys
from typing import Annotated, Any, Optional

import typer

TOKEN_VARIABLE = "TACHO_DOOR_TOKEN"  # noqa: S105 - the name of a variable
_COLUMNS = (("severity", 13), ("title", 70), ("agent_name", 24), ("session_id", 34))

Values = Annotated[
    Optional[list[str]],  # noqa: UP045 - typer reads the annotation
    typer.Option(show_default=False),
]


def alerts(  # noqa: PLR0913 - an argument for each option
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="then show what comes")] = False,
    limit: Annotated[int, typer.Option("-n", "--limit", min=0, help="stored alerts to show")] = 20,
    severity: Values = None,
    min_severity: Annotated[Optional[str], typer.Option(help="this and above")] = None,  # noqa: UP045
    rule: Values = None,
    risk_category: Values = None,
    tenant: Values = None,
    json_: Annotated[bool, typer.Option("--json", help="a JSON object a line")] = False,
    url: Annotated[
        Optional[str],  # noqa: UP045 - typer reads the annotation
        typer.Option(
            envvar="TACHO_DOOR_URL", help="the door to ask; else that of `tacho up` (4318)"
        ),
    ] = None,
) -> None:
    """Alerts that a door has stored, newest first; with --follow, then those that come.

    TACHO_DOOR_TOKEN holds the token of a door that asks for one.
    """
    from tachograph.pipeline.serve.alerts_client import AlertsClient, Query
    from tachograph.pipeline.settings import door_beside_up
    from tachograph.schemas.alert import SEVERITIES

    severities = list(severity or [])
    if min_severity in SEVERITIES and not severities:
        # The feed has no such filter: the same said in full does for both.
        severities = [s for s in SEVERITIES if SEVERITIES.index(s) >= _rank(str(min_severity))]
    elif min_severity is not None:
        raise typer.BadParameter(f"--min-severity is one of {', '.join(SEVERITIES)}, alone")
    query: Query = [("severity", ",".join(severities))] if severities else []
    given = {"rule": rule, "risk_category": risk_category, "tenant": tenant}
    query += [(name, value) for name, values in given.items() for value in values or []]
    client = AlertsClient(url or door_beside_up(), os.environ.get(TOKEN_VARIABLE))
    try:
        if follow:
            client.begin(query)
        for alert in client.stored(query, limit):
            _show(alert, as_json=json_)
        if follow:
            for alert in client.follow(query):
                _show(alert, as_json=json_)
    except KeyboardInterrupt:
        pass
    finally:
        client.close()


def _rank(severity: str) -> int:
    from tachograph.schemas.alert import SEVERITIES

    return [str(known) for known in SEVERITIES].index(severity)


def _show(alert: dict[str, Any], *, as_json: bool) -> None:
    import msgspec

    from tachograph.pipeline.plain_json import written_to

    if as_json:
        line = written_to(sys.stdout.buffer)(msgspec.json.encode(alert))
        sys.stdout.write(line.decode() + "\n")
    else:
        sys.stdout.write(_line(alert) + "\n")
    sys.stdout.flush()


def _line(alert: dict[str, Any]) -> str:
    """One line for a person: an agent's words are text, never control characters."""
    from tachograph.pipeline.plain_text import safe

    at = str(alert.get("updated_at", ""))[:19]
    cells = [
        safe(str(alert.get(name) or "–"), width).plain.ljust(width) for name, width in _COLUMNS
    ]
    mark = "" if alert.get("status") == "open" else f" [{alert.get('status')}]"
    return f"{at}  {'  '.join(cells).rstrip()}{mark}"
