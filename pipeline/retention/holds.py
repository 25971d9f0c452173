"""Legal holds: what must not go while they last, said on agent.config and kept in ClickHouse."""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TextIO

import msgspec

from tachograph.pipeline.clock import Clock, system_us, to_datetime
from tachograph.pipeline.config_log import CONFIG_TOPIC, EVERY_TENANT, ConfigLog, publish
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.moments import shown, who
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.schemas.codec import canonical
from tachograph.schemas.identity import plain_id
from tachograph.schemas.records import Activation

log = get("holds")

SUBJECT = "hold"
HOLDS_TABLE = "holds_log"
# Their ids stand in the conditions of the tables.
MAX_HOLDS = 500
MAX_IDS = 1_000
MAX_ID_CHARS = 500
_WHOLE_ID = re.compile(r"[0-9a-f]{32}")
_STAGE = "holds"


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """One word on a hold: that it is, or that it is over. The newest of a name counts."""

    name: str
    alerts: list[str] = []
    agents: list[str] = []
    reason: str
    by: str
    at: datetime
    released: bool = False


class Held(msgspec.Struct, frozen=True):
    """Whatever any hold names."""

    alerts: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()


def newest(words: Iterable[Hold]) -> dict[str, Hold]:
    """The newest word on each hold, by name. One that came twice counts once."""
    found: dict[str, Hold] = {}
    for word in sorted(words, key=lambda word: (word.at, word.released)):
        found[word.name] = word
    return found


def held(words: Iterable[Hold]) -> Held:
    """What must not go."""
    lasting = [hold for hold in newest(words).values() if not hold.released]
    alerts = sorted({alert for hold in lasting for alert in hold.alerts})
    agents = sorted({agent for hold in lasting for agent in hold.agents})
    return Held(tuple(alerts), tuple(agents))


def of_activation(activation: Activation) -> Hold | None:
    """The word that an activation says; None when it says none."""
    if activation.subject != SUBJECT:
        return None
    try:
        return msgspec.json.decode(activation.content or "", type=Hold)
    except msgspec.MsgspecError as error:
        log.warning("hold cannot be read", name=activation.name, reason=type(error).__name__)
        return None


def in_log(settings: Settings) -> list[Hold]:
    """Words on holds in agent.config. Raises RetryLater, Refused."""
    Writer(settings).partitions(CONFIG_TOPIC)
    with ConfigLog(settings, _STAGE) as config:
        said = [of_activation(one.activation) for one in config.whole()]
    return [hold for hold in said if hold is not None]


def in_table(connection: Connection) -> list[Hold]:
    """Words on holds in ClickHouse. Raises RetryLater, Refused."""
    rows = connection.rows(f"SELECT DISTINCT record FROM tacho.{HOLDS_TABLE}")  # noqa: S608
    return [msgspec.json.decode(record, type=Hold) for (record,) in rows]


def say(settings: Settings, hold: Hold) -> None:
    """Put a word on a hold into the log. Raises RetryLater, Refused."""
    content = canonical(hold).decode()
    writer = Writer(settings)
    activation = Activation(
        subject="hold", name=hold.name, tenant=EVERY_TENANT, content_hash=plain_id(content),
        effective_from=hold.at, content=content, by=hold.by, note=hold.reason,
    )  # fmt: skip
    publish(writer, activation)
    writer.flush()


def run_add(
    name: str,
    settings: Settings,
    known: Iterable[Hold],
    *,
    ids: tuple[list[str], list[str]],
    reason: str,
    sink: TextIO,
    clock: Clock = system_us,
) -> None:
    """Say a hold; `ids` are alerts and agents. Raises ConfigError: then nothing was said."""
    alerts, agents = ids
    lasting = newest(known)
    if not alerts and not agents:
        raise ConfigError("say what is held: --alert ID, --agent ID")
    if part := next((one for one in alerts if not _WHOLE_ID.fullmatch(one)), None):
        # A part of an id would hold nothing, and nobody would know.
        raise ConfigError(f"{part!r} is no id of an alert: give all 32 digits of it")
    if len(alerts) + len(agents) > MAX_IDS or any(len(i) > MAX_ID_CHARS for i in alerts + agents):
        raise ConfigError(f"a hold names at most {MAX_IDS} ids of {MAX_ID_CHARS} characters")
    if name in lasting:
        raise ConfigError(f"{name} was said already; names are given once")
    if sum(not hold.released for hold in lasting.values()) >= MAX_HOLDS:
        raise ConfigError(f"there are {MAX_HOLDS} holds; release some first")
    at = to_datetime(clock())
    hold = Hold(name=name, alerts=alerts, agents=agents, reason=reason, by=who(), at=at)
    say(settings, hold)
    sink.write(f"{name}: held from {shown(at)} on, until it is released.\n")


def run_release(
    name: str,
    settings: Settings,
    known: Iterable[Hold],
    *,
    reason: str,
    sink: TextIO,
    clock: Clock = system_us,
) -> None:
    """Say that a hold is over. Raises ConfigError."""
    hold = newest(known).get(name)
    if hold is None or hold.released:
        raise ConfigError(f"no hold {name}; `tacho hold list` shows those there are")
    at = to_datetime(clock())
    over = msgspec.structs.replace(hold, released=True, reason=reason, by=who(), at=at)
    say(settings, over)
    sink.write(f"{name}: released {shown(at)}.\n")


def run_list(words: Iterable[Hold], *, past: bool, as_json: bool, sink: TextIO) -> None:
    """Show holds, and with `past` those that are over."""
    found = [hold for hold in newest(words).values() if past or not hold.released]
    if as_json:
        sink.write(msgspec.json.encode(found).decode() + "\n")
        return
    if not found:
        sink.write("Nothing is held.\n")
    for hold in found:
        what = ", ".join(
            [*(f"alert={a}" for a in hold.alerts), *(f"agent={a}" for a in hold.agents)]
        )
        state = "over " if hold.released else "holds"
        sink.write(f"{state} {hold.name}: {what}; {shown(hold.at)} {hold.by}: {hold.reason}\n")


def row_of(hold: Hold) -> dict[str, Any]:
    """The word as a row of ClickHouse."""
    return {
        "name": hold.name, "at": hold.at, "by": hold.by, "released": hold.released,
        "reason": hold.reason, "record": canonical(hold).decode(),
    }  # fmt: skip
