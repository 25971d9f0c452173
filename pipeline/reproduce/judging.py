"""One signal judged again, and the alert that signals amount to. Pure: what is judged is given.

Rules are judged by the engine of the stream over the signal's events: as they are stored, else as
the witness tells of them. A call that was somebody else's wish is scored by the model from the
features of its witness, a window of behaviour held against the calibration from its own. What
tells of our own health is made again from the decision, or from the alerts that it tells of.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.behaviour import calibration, crowd, hands, swarm
from tachograph.detectors.behaviour.features import FEATURES, JUDGEMENTS, NAMES, SCALES
from tachograph.detectors.behaviour.levels import OCTAVE, level_of
from tachograph.detectors.facts import MAX_SAID_CHARS
from tachograph.detectors.language.fields import FieldMap, UnknownField
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.provenance import model as provenance
from tachograph.detectors.signals import at
from tachograph.pipeline.forward.own_signals import group_of
from tachograph.pipeline.triage import incomplete
from tachograph.pipeline.triage.policy import Policy
from tachograph.schemas.alert import Alert, Signal
from tachograph.schemas.batch import COLUMNS
from tachograph.schemas.records import Health

Status = Literal["same", "partial", "different"]
# Of a score that is stored rounded, and of a p-value.
_CLOSE = 1e-4


class Verdict(msgspec.Struct, frozen=True):
    """What came of one signal. `why`: what differs, or why it cannot be told."""

    signal_id: str
    rule_id: str
    title: str
    kind: str
    status: Status
    judged_from: str
    why: str = ""


def rejudged(signal: Signal, stored: pl.DataFrame | None, rules: RuleSet) -> Verdict:
    """The signal judged again. `stored`: its events as they are stored, None where they are not."""
    if signal.kind == "provenance":
        known = "model" in signal.witness.versions
        return _wish(signal) if known else _followed(signal, stored, rules)
    if signal.kind == "anomaly":
        return _behaviour(signal)
    return _ruled(signal, stored, rules)


def _verdict(signal: Signal, status: Status, judged_from: str, why: str = "") -> Verdict:
    return Verdict(
        signal.signal_id, signal.rule_id, signal.title, signal.kind, status, judged_from, why
    )


def _ruled(signal: Signal, stored: pl.DataFrame | None, rules: RuleSet) -> Verdict:
    source = "witness" if stored is None else "stored actions"
    versions = [rule for rule in rules.rules if rule.meta.rule_id == signal.rule_id]
    rule = next((one for one in versions if one.meta.version == signal.rule_version), None)
    if rule is None:
        now = ", ".join(one.meta.version for one in versions) or "not there"
        why = f"the rule asks something else now: version {signal.rule_version} then, {now} today"
        return _verdict(signal, "partial", source, why)
    rows, cut = (stored, []) if stored is not None else witnessed(signal, rules.fields)
    found = _judged(rules.only([rule]), rows)
    again = found.get(signal.signal_id)
    if again is not None:
        return _compared(signal, again, source)
    if missing := _missing(signal, rows, cut, witness=stored is None):
        return _verdict(signal, "partial", source, missing)
    others = f", though it fires otherwise ({len(found)} times)" if found else ""
    return _verdict(signal, "different", source, f"the rule does not fire on its events{others}")


def _followed(signal: Signal, stored: pl.DataFrame | None, rules: RuleSet) -> Verdict:
    """A judgement of a whole session, made again of all its actions."""
    if stored is None:
        why = "it needs whole sessions, of which not all actions are stored"
        return _verdict(signal, "partial", "witness", why)
    following = msgspec.structs.replace(rules.only([]), follows_sessions=True)
    again = _judged(following, stored).get(signal.signal_id)
    if again is not None:
        return _compared(signal, again, "stored actions")
    return _verdict(signal, "different", "stored actions", "the session is not judged so again")


def decided(signal: Signal, decision: Health | None) -> Verdict:
    """What tells of our own health, made again of the decision as it is stored."""
    if decision is None:
        why = "it needs the decision that it tells of, which is not stored"
        return _verdict(signal, "partial", "witness", why)
    [again] = group_of(decision, 0).samples
    if again.signal_id == signal.signal_id:
        return _compared(signal, again, "stored decision")
    return _verdict(signal, "different", "stored decision", "the decision says something else")


def incomplete_again(signal: Signal, alerts: Iterable[Alert]) -> Verdict:
    """What tells of alerts without their agents' state, made again of the alerts of that hour."""
    for alert in alerts:
        for group in incomplete.told_of(alert, Policy(), alert.updated_at):
            if group.samples[0].signal_id == signal.signal_id:
                return _compared(signal, group.samples[0], "stored alerts")
    why = "it needs the alerts that it tells of, and no stored one gives it by the default policy"
    return _verdict(signal, "partial", "witness", why)


def _judged(rules: RuleSet, rows: pl.DataFrame) -> dict[str, Signal]:
    """What stands once all of the events were seen and nothing comes any more."""
    if rows.is_empty():
        return {}
    detector = WholeDetector(rules)
    standing: dict[str, Signal] = {}
    for found in (detector.process(rows.sort("event_time", "event_id"), [], 0), detector.close(1)):
        for one in found.signals:
            if one.change == "retracted":
                standing.pop(one.signal_id, None)
            else:
                standing[one.signal_id] = one
    return standing


def _compared(was: Signal, now: Signal, source: str) -> Verdict:
    """The same signal by its id; what it says may still differ."""
    names = ("entity", "bucket_start", "event_time", "kind")
    # Words and severities are not part of what a rule asks, and may have been tuned since.
    softer = [] if was.severity == now.severity else ["severity"]
    differing = [name for name in names if getattr(was, name) != getattr(now, name)]
    if differing:
        said = ", ".join(f"{n} {getattr(was, n)} → {getattr(now, n)}" for n in differing)
        return _verdict(was, "different", source, said)
    if softer:
        return _verdict(was, "same", source, f"severity {was.severity} → {now.severity}: tuned")
    return _verdict(was, "same", source)


def _missing(signal: Signal, rows: pl.DataFrame, cut: Sequence[str], *, witness: bool) -> str:
    """Why the evidence may be too little to tell; empty where it is whole."""
    if signal.witness.partial or signal.event_count > rows.height:
        return f"{rows.height} of {signal.event_count} events were kept"
    if cut:
        return f"values were cut at {MAX_SAID_CHARS} characters: {', '.join(cut)}"
    if witness:
        return "the witness tells of the fields that the rule shows, not of all that it asks"
    return ""


def witnessed(signal: Signal, fields: FieldMap) -> tuple[pl.DataFrame, list[str]]:
    """The events as the witness tells of them, and the fields that were cut short there."""
    rows, cut = [], dict[str, None]()
    for fact in signal.witness.events:
        if "event_id" not in fact:
            continue
        row: dict[str, Any] = {
            "tenant": signal.tenant,
            "partition_key": signal.partition_key,
            "agent_id": signal.agent_id,
            "session_id": signal.session_id,
            "principal_id": signal.principal_id,
            "event_id": fact["event_id"],
            "event_time": at(int(fact["time_us"])) if "time_us" in fact else signal.event_time,
            "observed_time": at(int(fact["time_us"])) if "time_us" in fact else signal.event_time,
        }
        said = {name: value for name, value in fact.items() if name not in ("event_id", "time_us")}
        told = {**signal.group, **said}
        for name, value in told.items():
            if len(value) >= MAX_SAID_CHARS:
                cut[name] = None
            _put(row, name, value, fields)
        rows.append(row)
    names = sorted({name for row in rows for name in row} & set(COLUMNS))
    frame = pl.DataFrame(
        [{name: row.get(name) for name in names} for row in rows],
        schema={name: COLUMNS[name] for name in names},
    )
    return frame, list(cut)


def _put(row: dict[str, Any], name: str, value: str, fields: FieldMap) -> None:
    """Set what a rule's field reads. What cannot be set stays absent."""
    try:
        source = fields.source(name)
    except UnknownField:
        return
    if source.attribute is not None:
        row.setdefault("attributes", []).append({"key": source.attribute, "value": value})
    elif source.path is not None:
        row[source.column] = _with_member(row.get(source.column), source.path, value)
    elif source.column in COLUMNS:
        row[source.column] = _typed(value, COLUMNS[source.column])


_KEY = re.compile(r"\['(.*?)'\]")


def _with_member(text: str | None, path: str, value: str) -> str:
    """The JSON object with one more member; `path` as `$['a']['b']`."""
    whole: dict[str, Any] = msgspec.json.decode(text) if text else {}
    inner, keys = whole, _KEY.findall(path)
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
    inner[keys[-1]] = value
    return msgspec.json.encode(whole).decode()


def _typed(value: str, kind: pl.DataType) -> Any:
    if kind == pl.List(pl.String):
        return value.split(", ")
    try:
        if kind == pl.Int64():
            return int(float(value))
        if kind == pl.Float64():
            return float(value)
    except ValueError:
        return None
    if kind == pl.Boolean():
        return value.lower() == "true"
    return value if kind == pl.String() else None


def _wish(signal: Signal) -> Verdict:
    """A call scored again from the features of its witness."""
    model, version = provenance.shipped()
    if signal.rule_version != version:
        why = f"judged by model {signal.rule_version}, this is {version}"
        return _verdict(signal, "partial", "witness", why)
    try:
        features = {name: float(signal.witness.window[name]) for name in model.features}
        features |= {name: float(signal.witness.window[name]) for name in provenance.CAPPED_BY}
    except (KeyError, ValueError):
        return _verdict(signal, "partial", "witness", "the witness does not hold all features")
    score = model.score(features)
    level = model.level(score, features)
    was = signal.scores.get("foreign_wish", -1.0)
    if level == signal.severity and abs(score - was) <= _CLOSE:
        return _verdict(signal, "same", "witness")
    why = f"score {was:.4f} {signal.severity} → {score:.4f} {level or 'not said'}"
    return _verdict(signal, "different", "witness", why)


def _behaviour(signal: Signal) -> Verdict:
    """A window held against the calibration again, from what its witness says of it."""
    honest = calibration.shipped()
    if signal.rule_id == swarm.FINDING.rule_id:
        why = "a swarm needs the windows of all its agents, which one witness does not hold"
        return _verdict(signal, "partial", "witness", why)
    if signal.rule_id == crowd.CROWD_RULE:
        why = "a crowd needs the windows of all its agents, which one witness does not hold"
        return _verdict(signal, "partial", "witness", why)
    if "calibration" not in signal.witness.versions:
        why = "a model of behaviour needs the whole window, which the witness does not hold"
        return _verdict(signal, "partial", "witness", why)
    if signal.rule_version != honest.version():
        why = f"judged by calibration {signal.rule_version}, this is {honest.version()}"
        return _verdict(signal, "partial", "witness", why)
    try:
        if signal.rule_id == hands.HAND.rule_id:
            return _too_fast(signal)
        if signal.rule_id == hands.CLOCKWORK.rule_id:
            return _too_regular(signal)
        return _out_of_line(signal, honest)
    except (KeyError, ValueError, ArithmeticError):
        return _verdict(signal, "partial", "witness", "the witness does not hold the window")


def _out_of_line(signal: Signal, honest: calibration.Calibration) -> Verdict:
    window = signal.witness.window
    told = window["judged_by"]
    judgement, feature = JUDGEMENTS.index(told), NAMES.index(window["feature"])
    score = round(signal.scores[f"score_{window['feature']}"] * OCTAVE)
    again = score if told == JUDGEMENTS[-1] else _score(window, feature)
    # Who is not known or was out of line lately has a higher bar; nobody has a lower one.
    bar = max(int(window["bar"]), int(honest.bars()[judgement, feature]))
    p_value, was = honest.p_value(judgement, feature, again), signal.scores["p_value"]
    if again == score and score >= bar and abs(p_value - was) <= _CLOSE * max(was, p_value):
        return _verdict(signal, "same", "witness")
    parts = [f"score {score / OCTAVE:.4g} → {again / OCTAVE:.4g}"] if again != score else []
    parts += [f"p-value {was:.3g} → {p_value:.3g}"]
    parts += [f"below the bar of {bar / OCTAVE:.4g}"] if again < bar else []
    return _verdict(signal, "different", "witness", ", ".join(parts))


def _score(window: Mapping[str, str], feature: int) -> int:
    """The score of a window that was judged alone, from its amount and what it was held against."""
    amount = np.array([int(window["observed"]) // FEATURES[feature].grain])
    above = int(level_of(amount)[0]) - int(window["level"])
    return above * OCTAVE // int(window["spread"])


def _too_fast(signal: Signal) -> Verdict:
    window = signal.witness.window
    scale = [one.name for one in SCALES].index(window["window"].partition("@")[0])
    needed, there, acts = (int(window[name]) for name in ("needed_ms", "there_ms", "observed"))
    fills = needed * 100 >= there * hands.FILLS_PERCENT[scale]
    if fills and acts >= hands.LEAST_DEEDS[scale]:
        return _verdict(signal, "same", "witness")
    why = f"{needed} ms of work in {there} ms is within what a hand can do"
    return _verdict(signal, "different", "witness", why)


def _too_regular(signal: Signal) -> Verdict:
    window = signal.witness.window
    panes, acts, spread = int(window["panes"]), int(window["observed"]), float(window["variance"])
    even = spread * 100 <= hands.CLOCK_PERCENT + _CLOSE
    if even and panes >= hands.CLOCK_PANES and acts >= hands.CLOCK_ACTS:
        return _verdict(signal, "same", "witness")
    return _verdict(signal, "different", "witness", f"variance {spread} is that of chance")


def overall(verdicts: Sequence[Verdict]) -> Status:
    """What the signals together say of an alert."""
    found = {verdict.status for verdict in verdicts}
    if "different" in found:
        return "different"
    return "partial" if "partial" in found or not verdicts else "same"
