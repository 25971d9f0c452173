"""`tacho rules activate` and `tacho rules active`: what is in force, by the log."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec

from tachograph.detectors.in_force import Subject
from tachograph.detectors.language.bundle import Bundle, bundle_of
from tachograph.detectors.language.compiled import RuleErrors
from tachograph.detectors.reference.reference import Reference
from tachograph.pipeline.clock import Clock, system_us, to_us
from tachograph.pipeline.config_log import CONFIG_TOPIC, ConfigLog, Said
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.in_force import (
    BEGINNING,
    Content,
    activate,
    effective,
    ours,
    timeline_of,
)
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.moments import moment_of, shown, who
from tachograph.pipeline.reference import reference_in_force
from tachograph.pipeline.settings import Settings

_STAGE = "rules"
# How a line begins: in force now, still ahead.
_MARKS = {(True, False): "*", (False, True): ">", (False, False): " "}


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    paths: list[Path] = []
    builtin: bool = True
    tuning: Path | None = None
    pipelines: list[Path] = []
    reference: list[Path] = []
    at: str | None = None
    note: str | None = None


def run_activate(
    asked: Asked, settings: Settings, *, sink: TextIO, clock: Clock = system_us
) -> None:
    """Compile, publish, say so. Raises ConfigError: then nothing was published, and what is in
    force stays.
    """
    content, rules = _compiled(asked, settings)
    from_ = effective(moment_of("--at", asked.at), clock)
    writer = Writer(settings)
    writer.partitions(CONFIG_TOPIC)
    subjects = _news(_said(settings), content, from_)
    if not subjects:
        sink.write(f"Nothing to do: at {shown(from_)} just these rules are in force.\n")
        return
    activate(writer, content, subjects, from_=from_, by=who(), note=asked.note)
    writer.flush()
    hashes = content.hashes()
    what = " and ".join(f"{subject} {hashes[subject][:12]}" for subject in subjects)
    sink.write(f"{what}: in force from {shown(from_)} on ({rules} rules).\n")


def _compiled(asked: Asked, settings: Settings) -> tuple[Content, int]:
    reference = reference_in_force(settings.home, asked.reference)
    try:
        bundle = bundle_of(
            asked.paths, builtin=asked.builtin, tuning=asked.tuning, pipelines=asked.pipelines
        )
        rules = bundle.compile(reference=reference)
    except RuleErrors as error:
        raise ConfigError(f"nothing was activated, what is in force stays: {error}") from error
    return Content.of(bundle, reference), len(rules.rules)


def _news(said: Sequence[Said], content: Content, from_: datetime) -> list[Subject]:
    """Of the contents, those that would not be in force by then anyway."""
    timeline = timeline_of(said)
    hashes = content.hashes()
    if timeline is None:
        return list(hashes)
    then = timeline.at(to_us(from_))
    return [subject for subject, name in hashes.items() if getattr(then, subject) != name]


def run_active(
    settings: Settings, *, as_json: bool, sink: TextIO, clock: Clock = system_us
) -> None:
    """Show what was, is and will be in force, in the order of time."""
    with ConfigLog(settings, _STAGE) as config:
        said = sorted(ours(config.whole()), key=_order)
        now = _now_in_force(said, clock)
        rows = [_row(one, config, clock) | {"in_force": one in now} for one in said]
    if as_json:
        sink.write(msgspec.json.encode(rows).decode() + "\n")
        return
    if not rows:
        sink.write("Nothing was activated yet: `tacho detect` does so when it starts.\n")
    for row in rows:
        note = f"  {row['note']}" if row["note"] else ""
        sink.write(
            f"{_MARKS[row['in_force'], row['ahead']]} {row['from']:<20}  {row['subject']:<9}"
            f" {row['content'][:12]}  {row['what']}  by {row['by']}{note}\n"
        )


def _order(one: Said) -> tuple[datetime, int]:
    return one.activation.effective_from, one.offset


def _now_in_force(said: Sequence[Said], clock: Clock) -> list[Said]:
    """Of ordered activations the last of each subject whose time has come."""
    came = [one for one in said if to_us(one.activation.effective_from) <= clock()]
    return list({one.activation.subject: one for one in came}.values())


def _row(one: Said, config: ConfigLog, clock: Clock) -> dict[str, Any]:
    activation = one.activation
    return {
        "from": "the beginning"
        if activation.effective_from <= BEGINNING
        else shown(activation.effective_from),
        "ahead": to_us(activation.effective_from) > clock(),
        "subject": activation.subject,
        "content": activation.content_hash,
        "what": _what(activation.subject, config.content(activation.content_hash)),
        "by": activation.by,
        "note": activation.note,
        "said": shown(one.at),
    }


def _what(subject: str, content: bytes | None) -> str:
    """In a few words what a content is."""
    if content is None:
        return "its content is not in the log"
    try:
        if subject == "rules":
            bundle = Bundle.decode(content)
            return f"{len(bundle.rules)} files{'' if bundle.builtin else ', without the shipped'}"
        return f"version {Reference.decode(content).version}"
    except ValueError as error:
        return str(error)


def _said(settings: Settings) -> list[Said]:
    with ConfigLog(settings, _STAGE) as config:
        return config.whole()
