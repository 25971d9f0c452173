"""What people say about alerts: written to agent.dispositions, from where `store` joins it into
tacho.alerts. The log keeps every word; the newest of each kind holds.
"""

import time
from collections.abc import Callable
from typing import Any, Literal, TextIO, get_args

import msgspec

from tachograph.pipeline import log as logs
from tachograph.pipeline.clock import Clock, system_us, to_datetime
from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.investigate import ask
from tachograph.pipeline.investigate.ask import Row
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.moments import who
from tachograph.pipeline.query.place import served
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import Disposition

TOPIC = "agent.dispositions"
Verdict = Literal["true_positive", "false_positive", "benign", "duplicate"]
VERDICTS: tuple[str, ...] = get_args(Verdict)
MAX_TEXT_CHARS = 4_000
MAX_ALERTS = 500
BROKER_WITHIN_S = 3.0
STORED_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.5
HEADERS = {RECORD_HEADER: b"disposition", VERSION_HEADER: b"1"}
_DONE = {
    "close": "closed", "reopen": "reopened", "assign": "assigned", "note": "noted",
    "acknowledge": "acknowledged",
}  # fmt: skip


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of one or several alerts."""

    action: Literal["close", "reopen", "assign", "note", "acknowledge"]
    disposition: str | None = None
    assignee: str | None = None
    note: str | None = None
    by: str | None = None


def run_say(
    prefixes: list[str],
    word: Word,
    settings: Settings,
    *,
    sink: TextIO,
    clock: Clock = system_us,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Say it of each alert, and wait until the store shows it. Raises TachoError: then nothing was
    said, or what was said is in the log and not stored yet.
    """
    logs.configure()
    _check(word, prefixes)
    with served(settings) as place, Reader(place) as reader:
        alerts = _named(reader, prefixes)
        said = [record(row, word, clock) for row in alerts]
        send(said, settings)
        is_stored = _stored(reader, said, sleep)
    done = _DONE[word.action]
    sink.writelines(f"{done} {row['alert_id']}  {ask.plain(row['title'])}\n" for row in alerts)
    if not is_stored:
        sink.write(
            f"in {TOPIC}, but not in ClickHouse yet: is `tacho store` running? It will be read.\n"
        )


def _check(word: Word, prefixes: list[str]) -> None:
    problem = problem_of(word)
    if problem:
        raise ConfigError(f"--{problem}")
    if len(prefixes) > MAX_ALERTS:
        raise ConfigError(f"at most {MAX_ALERTS} alerts at a time")


def problem_of(word: Word) -> str:
    """Why a word cannot be said; empty: it can."""
    if word.action == "close" and word.disposition not in VERDICTS:
        return f"disposition: say which, {', '.join(VERDICTS)}"
    if word.action == "assign" and word.assignee is None:
        return "assignee: say who"
    if word.action == "note" and word.note is None:
        return "note: say something"
    for name in ("note", "assignee", "by"):
        text = getattr(word, name)
        if text is not None and not 0 < len(text.strip()) <= MAX_TEXT_CHARS:
            return f"{name}: say something, in at most {MAX_TEXT_CHARS:,} characters"
    return ""


def _named(reader: Reader, prefixes: list[str]) -> list[Row]:
    """The alerts that are meant, asked for at once. Raises ConfigError where one is not clear."""
    rows = reader.rows(
        "SELECT alert_id, tenant, title FROM tacho.alerts WHERE arrayExists("
        "prefix -> startsWith(alert_id, prefix), {prefixes:Array(String)}) LIMIT 10000",
        {"prefixes": prefixes},
    )
    named = []
    for prefix in dict.fromkeys(prefixes):
        fitting = [row for row in rows if row["alert_id"].startswith(prefix)]
        exact = [row for row in fitting if row["alert_id"] == prefix]
        if len(fitting) != 1 and not exact:
            ask.one(reader, "alert", prefix)  # says what is wrong
        named.append((exact or fitting)[0])
    return named


def record(row: Row, word: Word, clock: Clock) -> Disposition:
    """A word on the alert of this row."""
    told: dict[str, Any] = msgspec.structs.asdict(word)
    by = told.pop("by") or who()
    return Disposition(
        alert_id=row["alert_id"], tenant=row["tenant"], by=by, at=to_datetime(clock()), **told
    )


def send(said: list[Disposition], settings: Settings) -> None:
    """Write what was said, and wait until the broker has it. Raises RetryLater, Refused."""
    writer = Writer(settings)
    try:
        writer.partitions(TOPIC, BROKER_WITHIN_S)
    except RetryLater as error:
        raise RetryLater(
            f"no broker at {settings.kafka.bootstrap} ({error}): what people say goes through"
            f" {TOPIC}; start `tacho up`, or set KAFKA_BOOTSTRAP_SERVERS"
        ) from error
    for one in said:
        writer.send(TOPIC, codec.encode(one), key=key_of(one), headers=HEADERS)
    writer.flush()


def key_of(said: Disposition) -> bytes:
    """The key of its record: what is said of one alert stays in order."""
    return f"{said.tenant}/{said.alert_id}".encode()


def stored(reader: Reader, said: list[Disposition]) -> bool:
    """Whether the store has all of it."""
    [row] = reader.rows(
        "SELECT uniqExact(alert_id) AS n FROM tacho.dispositions WHERE at >= toDateTime64("
        "{at:String}, 6, 'UTC') AND alert_id IN {ids:Array(String)}",
        {"at": min(one.at for one in said).strftime("%Y-%m-%d %H:%M:%S.%f"),
         "ids": [one.alert_id for one in said]},
    )  # fmt: skip
    return int(row["n"]) == len({one.alert_id for one in said})


def _stored(reader: Reader, said: list[Disposition], sleep: Callable[[float], None]) -> bool:
    """Whether the store has all of it, given a moment to read it."""
    looks = int(STORED_WITHIN_S / _LOOK_EVERY_S)
    for look in range(looks):
        if stored(reader, said):
            return True
        if look < looks - 1:
            sleep(_LOOK_EVERY_S)
    return False
