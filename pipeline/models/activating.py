"""`tacho models activate`, `deactivate` and `list`: which models hold, by the log."""

from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec

from tachograph.detectors.behaviour.model import Model, decode
from tachograph.pipeline.clock import Clock, system_us, to_us
from tachograph.pipeline.config_log import (
    CONFIG_TOPIC,
    EVERY_TENANT,
    ConfigLog,
    Said,
    content_hash,
    publish,
)
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.in_force import effective
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.models.model_log import NAMES, NONE, SUBJECT, in_order
from tachograph.pipeline.moments import moment_of, shown, who
from tachograph.pipeline.settings import Settings
from tachograph.schemas.records import Activation

_STAGE = "models"
_WAYS = {False: "live", True: "shadow"}


def read_model(path: Path) -> tuple[Model, bytes]:
    """A model and its file. Raises ConfigError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    try:
        return decode(content), content
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says. `path` None: no model holds from then on."""

    path: Path | None
    shadow: bool = False
    at: str | None = None
    note: str | None = None


def run_activate(
    asked: Asked, settings: Settings, *, sink: TextIO, clock: Clock = system_us
) -> None:
    """Read, publish, say so. Raises ConfigError: then nothing was published."""
    model, content = read_model(asked.path) if asked.path is not None else (None, None)
    from_ = effective(moment_of("--at", asked.at), clock)
    name = content_hash(content) if content is not None else NONE
    writer = Writer(settings)
    writer.partitions(CONFIG_TOPIC)
    publish(writer, _activation(asked, name, from_), content)
    writer.flush()
    way = "in the shadow" if asked.shadow else "in force"
    what = f"model {model.version} ({name[:12]})" if model else "no model"
    sink.write(f"{what}: {way} from {shown(from_)} on.\n")


def _activation(asked: Asked, name: str, from_: datetime) -> Activation:
    return Activation(
        subject=SUBJECT,
        name=NAMES[asked.shadow],
        tenant=EVERY_TENANT,
        content_hash=name,
        effective_from=from_,
        location=f"{CONFIG_TOPIC}/{name}",
        by=who(),
        note=asked.note,
    )


def run_list(settings: Settings, *, as_json: bool, sink: TextIO, clock: Clock = system_us) -> None:
    """Show which models held, hold and will hold, live and in the shadow."""
    with ConfigLog(settings, _STAGE) as config:
        said = config.whole()
        rows = [
            row
            for shadow in (False, True)
            for row in _rows(in_order(said, shadow=shadow), config, clock(), shadow=shadow)
        ]
    if as_json:
        sink.write(msgspec.json.encode(rows).decode() + "\n")
        return
    if not rows:
        sink.write("No model was activated yet: `tacho train` makes one.\n")
    for row in rows:
        note = f"  {row['note']}" if row["note"] else ""
        sink.write(
            f"{row['mark']} {row['from']}  {row['way']:<7} {row['model']}  {row['what']}"
            f"  by {row['by']}{note}\n"
        )


def _rows(
    ordered: list[Said], config: ConfigLog, now_us: int, *, shadow: bool
) -> list[dict[str, Any]]:
    came = [one for one in ordered if to_us(one.activation.effective_from) <= now_us]
    return [
        {
            "mark": "*" if came and one is came[-1] else ("" if one in came else ">") or " ",
            "in_force": bool(came) and one is came[-1],
            "ahead": one not in came,
            "from": shown(one.activation.effective_from),
            "way": _WAYS[shadow],
            "content": one.activation.content_hash,
            **_told(one.activation.content_hash, config),
            "by": one.activation.by,
            "note": one.activation.note,
        }
        for one in ordered
    ]


def _told(name: str, config: ConfigLog) -> dict[str, Any]:
    """In a few words what a content is."""
    if name == NONE:
        return {"model": "-", "what": "no model"}
    content = config.content(name)
    if content is None:
        return {"model": name[:12], "what": "its content is not in the log"}
    try:
        model = decode(content)
    except ValueError as error:
        return {"model": name[:12], "what": str(error)}
    card = model.card
    return {
        "model": model.version,
        "what": f"budget {card.budget_per_agent_day:g} an agent and day, of"
        f" {card.data.get('from')} to {card.data.get('until')}",
    }
