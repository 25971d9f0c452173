"""An alert judged again, and what came of it."""

import os
from collections import Counter
from pathlib import Path
from typing import Any, Final, TextIO

import msgspec

from tachograph.detectors.language.ruleset import RuleSet
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.forward.own_signals import RULE_IDS as OF_OUR_HEALTH
from tachograph.pipeline.reproduce.judging import (
    Status,
    Verdict,
    decided,
    incomplete_again,
    overall,
    rejudged,
)
from tachograph.pipeline.reproduce.reading import Evidence
from tachograph.pipeline.triage.incomplete import RULE_ID as OF_OUR_ALERTS
from tachograph.schemas.alert import Alert, Signal, SignalGroup
from tachograph.schemas.identity import plain_id

EXIT: Final[dict[Status, int]] = {"same": 0, "different": 1, "partial": 3}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of an alert."""

    alert_id: str
    revision: int
    title: str
    result: Status
    differences: list[str]
    signals: list[Verdict]


def asked(alert_id: str, paths: list[Path], *, witness: bool) -> Report:
    """Read, judge, compare. Raises TachoError."""
    from tachograph.detectors.prepare import Preparation
    from tachograph.pipeline.query.place import served
    from tachograph.pipeline.rules.loading import Sources
    from tachograph.pipeline.settings import Settings, paths_of
    from tachograph.pipeline.store.clickhouse import Connection

    settings = Settings.beside_up()
    # As `detect` is started with.
    known = Sources(
        paths=[*paths_of(os.environ, "TACHO_RULES"), *paths],
        tuning=next(iter(paths_of(os.environ, "TACHO_TUNING")), None),
        pipelines=paths_of(os.environ, "TACHO_PIPELINES"),
    ).rules()
    columns = Preparation(known.columns, known.fields, known.reference).reads
    with served(settings) as clickhouse, Connection(clickhouse, reads_only=True) as connection:
        evidence = Evidence(connection, columns)
        alert = evidence.alert(alert_id)
        if alert is None:
            raise ConfigError(
                f"no alert {alert_id} is stored, or its payload was deleted; give the whole id, as"
                " `tacho alert` shows it"
            )
        stored = evidence.signals(alert)
        verdicts = [
            verdict_on(signal, evidence, known, witness=witness) for signal in stored.values()
        ]
    return compared(alert, stored, verdicts)


def verdict_on(signal: Signal, evidence: Evidence, rules: RuleSet, *, witness: bool) -> Verdict:
    """One signal judged again from what is stored of it, or from its witness alone."""
    if signal.rule_id in OF_OUR_HEALTH:
        return decided(signal, None if witness else evidence.decision(signal))
    if signal.rule_id == OF_OUR_ALERTS:
        alerts = [] if witness else evidence.alerts_from(signal.event_time, signal.tenant)
        return incomplete_again(signal, alerts)
    return rejudged(signal, None if witness else evidence.events(signal), rules)


def compared(alert: Alert, stored: dict[str, Signal], verdicts: list[Verdict]) -> Report:
    """What the verdicts amount to, and whether they make this very alert."""
    result = overall(verdicts)
    differences = [f"{one.title}: {one.why}" for one in verdicts if one.why]
    gone = [name for name in alert.signal_ids if name not in stored]
    if gone:
        differences.append(
            f"{len(gone)} of {len(alert.signal_ids)} signals are not stored, or gone"
        )
        result = "partial" if result == "same" else result
    standing = [stored[one.signal_id] for one in verdicts if one.status != "different"]
    told = amounts_to(alert, standing)
    if told and result != "partial":
        result = "different"
    return Report(
        alert_id=alert.alert_id,
        revision=alert.revision,
        title=alert.title,
        result=result,
        differences=[*differences, *told],
        signals=verdicts,
    )


def amounts_to(alert: Alert, signals: list[Signal]) -> list[str]:
    """How the alert that these signals amount to differs from the one that was told."""
    from tachograph.pipeline.triage.entry import apply, fresh
    from tachograph.pipeline.triage.judgement import alert_of
    from tachograph.pipeline.triage.policy import Policy

    if not signals:
        return ["no signal of it stands"]
    entry = None
    for group in _groups(alert, signals):
        entry = apply(entry or fresh(group), group)
    name = alert.versions.get("policy", "default/").rpartition("/")[0]
    again = alert_of(entry, Policy(name=name)) if entry else None
    if again is None:
        return ["its signals make no alert"]
    names = ("alert_id", "entity", "severity", "title")
    return [
        f"{name}: {getattr(alert, name)} → {getattr(again, name)}"
        for name in names
        if getattr(again, name) != getattr(alert, name)
    ]


def _groups(alert: Alert, signals: list[Signal]) -> list[SignalGroup]:
    """One group a rule, as large as the alert says it was."""
    counts = Counter[str]()
    silent = {hit.rule_id: hit.suppressed for hit in alert.rules if hit.suppressed}
    for hit in alert.rules:
        counts[hit.rule_id] += hit.count
    found = []
    for rule_id in sorted({signal.rule_id for signal in signals}):
        mine = [signal for signal in signals if signal.rule_id == rule_id]
        found.append(
            SignalGroup(
                group_id=plain_id(alert.alert_id, rule_id),
                revision=1,
                tenant=alert.tenant,
                entity=alert.entity,
                entity_type=mine[0].entity_type,
                bucket_start=mine[0].bucket_start,
                bucket_s=3600,
                rule_id=rule_id,
                count=max(counts[rule_id], len(mine)),
                first_seen=min(one.event_time for one in mine),
                last_seen=max(one.event_time for one in mine),
                samples=mine,
                suppressed=silent.get(rule_id),
            )
        )
    return found


def as_json(report: Report, sink: TextIO) -> None:
    """For a program."""
    sink.write(msgspec.json.encode(report).decode() + "\n")


_WORDS: Final[dict[Status, str]] = {
    "same": "reproduced: the same alert",
    "partial": "partial: too little is left to tell all of it",
    "different": "DIFFERENT: judged again it is not this alert",
}


def as_text(report: Report, sink: TextIO) -> None:
    """For a person."""
    from tachograph.pipeline.plain_text import safe

    lines: list[Any] = [f"{report.alert_id}  {safe(report.title, 120).plain}"]
    for one in report.signals:
        title = safe(one.title, 70).plain
        lines.append(f"  {one.status:<9}  {one.kind:<11} {title} (from {one.judged_from})")
        if one.why:
            lines.append(f"             {safe(one.why, 160).plain}")
    own = {f"{one.title}: {one.why}" for one in report.signals}
    lines += [f"  {safe(said, 160).plain}" for said in report.differences if said not in own]
    lines.append(_WORDS[report.result])
    sink.write("\n".join(lines) + "\n")
