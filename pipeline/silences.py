"""Silences on agent.config: said, read back, listed, ended before their time."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, TextIO

import msgspec

from tachograph.detectors.silences import MAX_SILENCES, Silence, Silences
from tachograph.pipeline.clock import Clock, system_us, to_datetime
from tachograph.pipeline.config_log import CONFIG_TOPIC, ConfigLog, Said, content_hash, publish
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.moments import moment_of, shown, who
from tachograph.pipeline.settings import Settings
from tachograph.schemas.codec import canonical
from tachograph.schemas.records import Activation

log = get("silences")

SUBJECT = "silence"
# So far ahead a silence begins or is ended, that every process has read it by then.
AHEAD = timedelta(seconds=10)
USUALLY = timedelta(seconds=15)
_STAGE = "silences"
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


class SilenceLog:
    """The silences that a log says, by name; the newest word on each holds."""

    def __init__(self) -> None:
        self._known: dict[str, Silence] = {}
        # As detectors ask them; another object once something changes.
        self.silences = Silences()

    def note(self, said: Iterable[Said]) -> None:
        """Take in activations, in the order of the log."""
        found = [one for one in said if one.activation.subject == SUBJECT]
        for one in found:
            try:
                silence = _read(one.activation)
            except ValueError as error:
                # It hides nothing then, which is the safe side.
                log.warning("silence passed over", name=one.activation.name, reason=str(error))
                continue
            self._known[silence.name] = silence
        if found:
            self.silences = Silences(self._known.values())

    @property
    def all(self) -> list[Silence]:
        """By the time of their end."""
        return sorted(self._known.values(), key=lambda one: (one.ends, one.name))


def _read(activation: Activation) -> Silence:
    try:
        return msgspec.json.decode(activation.content or "", type=Silence)
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says of a new silence."""

    name: str
    owner: str
    reason: str
    for_: str | None = None
    until: str | None = None
    starts: str | None = None
    tenant: str = "*"
    rule: str = "*"
    entity: str = "*"
    fields: list[str] = []


def run_add(asked: Asked, settings: Settings, *, sink: TextIO, clock: Clock = system_us) -> None:
    """Say a silence. Raises ConfigError: then nothing was said."""
    now = to_datetime(clock())
    silence = _made(asked, now)
    known = _silences(settings)
    if silence.name in {one.name for one in known}:
        raise ConfigError(f"{silence.name} was said already; names are given once")
    if sum(one.ends > now for one in known) >= MAX_SILENCES:
        raise ConfigError(f"there are {MAX_SILENCES} silences in force; end some first")
    _publish(settings, silence, asked.reason)
    sink.write(f"{silence.name}: from {shown(silence.starts)} until {shown(silence.ends)}.\n")


def run_end(name: str, settings: Settings, *, sink: TextIO, clock: Clock = system_us) -> None:
    """End a silence before its time: what it silenced stays so. Raises ConfigError."""
    at = to_datetime(clock()) + USUALLY
    silence = next((one for one in _silences(settings) if one.name == name), None)
    if silence is None:
        raise ConfigError(f"no silence {name}; `tacho silence list` shows those there are")
    if silence.ends <= at:
        raise ConfigError(f"{name} is over at {shown(silence.ends)}")
    ended = msgspec.structs.replace(silence, ends=max(at, silence.starts), ended_by=who())
    _publish(settings, ended, silence.reason)
    sink.write(f"{name}: ends {shown(ended.ends)}.\n")


def run_list(
    settings: Settings, *, past: bool, as_json: bool, sink: TextIO, clock: Clock = system_us
) -> None:
    """Show the silences that hold or are ahead; `past`: those that are over, too."""
    now = to_datetime(clock())
    found = [one for one in _silences(settings) if past or one.ends > now]
    if as_json:
        rows = [msgspec.to_builtins(one) | {"state": _state(one, now)} for one in found]
        sink.write(msgspec.json.encode(rows).decode() + "\n")
        return
    if not found:
        sink.write("Nothing is silenced.\n")
    for one in found:
        ended = f"; ended by {one.ended_by}" if one.ended_by else ""
        sink.write(
            f"{_state(one, now):<6} {one.name}: {_scope(one)}; {shown(one.starts)} to"
            f" {shown(one.ends)}; {one.owner}: {one.reason}{ended}\n"
        )


def _state(silence: Silence, now: datetime) -> str:
    if now >= silence.ends:
        return "over"
    return "holds" if now >= silence.starts else "ahead"


def _scope(silence: Silence) -> str:
    parts: dict[str, Any] = {
        "tenant": silence.tenant,
        "rule": silence.rule,
        "entity": silence.entity,
        **silence.fields,
    }
    return ", ".join(f"{name}={value}" for name, value in parts.items() if value != "*")


def _made(asked: Asked, now: datetime) -> Silence:
    starts = moment_of("--from", asked.starts) or now + USUALLY
    if starts < now + AHEAD:
        earliest = shown(now + AHEAD)
        raise ConfigError(f"--from {asked.starts}: at {earliest} at the earliest, so that all know")
    if (asked.for_ is None) == (asked.until is None):
        raise ConfigError("say how long: --for 4h, or --until TIME")
    ends = moment_of("--until", asked.until) or starts + _length(asked.for_ or "")
    fields = dict(_pair(text) for text in asked.fields)
    plain = {
        "name": asked.name, "owner": asked.owner, "reason": asked.reason, "starts": starts,
        "ends": ends, "tenant": asked.tenant, "rule": asked.rule, "entity": asked.entity,
        "fields": fields,
    }  # fmt: skip
    try:
        return msgspec.convert(plain, Silence)
    except msgspec.ValidationError as error:
        raise ConfigError(f"silence {asked.name}: {error}") from error


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--field {text}: write field=value")
    return name, value


def _length(text: str) -> timedelta:
    number, unit = text[:-1], text[-1:]
    if unit not in _UNITS or not number.isdecimal() or len(number) > 4 or not int(number):
        raise ConfigError(f"--for {text}: write it as 30m, 4h or 2d")
    return timedelta(**{_UNITS[unit]: int(number)})


def _silences(settings: Settings) -> list[Silence]:
    known = SilenceLog()
    Writer(settings).partitions(CONFIG_TOPIC)
    with ConfigLog(settings, _STAGE) as config:
        known.note(config.whole())
    return known.all


def _publish(settings: Settings, silence: Silence, note: str) -> None:
    content = canonical(silence)
    writer = Writer(settings)
    writer.partitions(CONFIG_TOPIC)
    activation = Activation(
        subject="silence",
        name=silence.name,
        tenant=silence.tenant,
        content_hash=content_hash(content),
        effective_from=silence.starts,
        content=content.decode(),
        by=who(),
        note=note,
    )
    publish(writer, activation)
    writer.flush()
