"""One drill: the attack is posted, the feed is watched, and what came of it is written to the log.

What came of it is a record of `agent.health`, as any decision about our own health: the monitor of
`forward` makes an alert of a drill that was missed, and reads of the next one that went well.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import httpx
import msgspec

from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.pipeline.drill.attack import Attack, attack
from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.forward.monitor import DRILL
from tachograph.pipeline.health import HEADERS, HEALTH_TOPIC, record_key
from tachograph.pipeline.serve.alerts_client import AlertsClient, Query
from tachograph.pipeline.tls import door_tls
from tachograph.schemas import codec
from tachograph.schemas.records import Health

POST_S = 10.0
_NDJSON = {"content-type": "application/x-ndjson"}


class Door(msgspec.Struct, frozen=True):
    """Where telemetry goes in and alerts come out."""

    url: str
    token: str | None = None


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of one drill. `after_s`: from the post to its alert; `missed`: why none came."""

    drill_id: str
    rule_id: str
    title: str
    at: datetime
    after_s: float | None = None
    alert_id: str = ""
    missed: str = ""

    def decision(self, tenant: str) -> Health:
        """What the monitor reads: counted from when the attack was sent."""
        return Health(
            component=DRILL + self.title,
            tenant=tenant,
            status="silent" if self.missed else "ok",
            at=datetime.now(UTC),
            watermark=self.at,
            detail=f"{self.missed or 'was an alert'} (drill {self.drill_id})",
        )


def drilled(rule: Rule, rules: RuleSet, door: Door, within_s: float) -> Outcome:
    """Send the rule's attack and wait for its alert. A door that is away, or takes nothing, has
    missed it. Raises ConfigError for a rule that cannot be drilled, Refused when the door says no.
    """
    drill_id = secrets.token_hex(4)
    at = datetime.now(UTC)
    made = attack(rule, rules, drill_id, at)

    def outcome(**what: object) -> Outcome:
        fixed = {"drill_id": drill_id, "rule_id": made.rule_id, "title": made.title, "at": at}
        return msgspec.convert({**fixed, **what}, Outcome)

    try:
        with _seen(made, door) as seen:
            begin_s = time.monotonic()
            _post(door, "/v1/state", made.state)
            _post(door, "/v1/actions", b"\n".join(made.lines))
            alert_id = seen(begin_s + within_s)
            after_s = time.monotonic() - begin_s
    except RetryLater as error:
        return outcome(missed=str(error))
    if alert_id is None:
        return outcome(missed=f"no alert within {within_s:g} s")
    return outcome(after_s=round(after_s, 2), alert_id=alert_id)


def told(outcome: Outcome, tenant: str, send: Callable[..., None]) -> None:
    """Write it to the log. `send` is that of a Writer."""
    decision = outcome.decision(tenant)
    key = record_key(decision)
    send(HEALTH_TOPIC, codec.encode(decision), key=key, headers=HEADERS)


def _post(door: Door, path: str, body: bytes) -> None:
    headers = _NDJSON | ({"authorization": f"Bearer {door.token}"} if door.token else {})
    try:
        answer = httpx.post(
            f"{door.url.rstrip('/')}{path}",
            content=body,
            headers=headers,
            timeout=POST_S,
            verify=door_tls().context(),
        )
    except httpx.HTTPError as error:
        raise RetryLater(f"no door at {door.url} ({error})") from error
    if answer.status_code in (429, 503):
        raise RetryLater(f"the door took nothing ({answer.status_code})")
    if answer.status_code != 200:
        raise Refused(
            f"the door refused the drill's attack ({answer.status_code}): does TACHO_DOOR_TOKEN"
            " hold a token that may post actions and read alerts?"
        )


@contextmanager
def _seen(made: Attack, door: Door) -> Iterator[Callable[[float], str | None]]:
    """Watches the feed from now on. What is yielded waits until a time of `time.monotonic` for the
    id of the attack's alert, and raises Refused where the feed is not ours any more.
    """
    query: Query = [("rule", made.rule_id)]
    client = AlertsClient(door.url, door.token)
    found: list[str] = []
    refused: list[Refused] = []
    over = threading.Event()

    def watch() -> None:
        try:
            for alert in client.follow(query):
                if made.is_told_by(alert):
                    found.append(str(alert["alert_id"]))
                    return
        except Refused as error:
            refused.append(error)
        except RuntimeError:
            pass  # closed under it, when nobody waits any more
        finally:
            over.set()

    def wait(until_s: float) -> str | None:
        over.wait(max(0.0, until_s - time.monotonic()))
        if refused:
            raise refused[0]
        return found[0] if found else None

    try:
        client.begin(query)
        threading.Thread(target=watch, name="drill-feed", daemon=True).start()
        yield wait
    finally:
        client.close()
