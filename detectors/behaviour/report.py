"""What is out of line, as signals that explain themselves in words and numbers."""

from typing import Any, NamedTuple

import msgspec

from tachograph.detectors.behaviour.agents import Identity
from tachograph.detectors.behaviour.baselines import busier
from tachograph.detectors.behaviour.calibration import Calibration
from tachograph.detectors.behaviour.closed import Judged
from tachograph.detectors.behaviour.crossing import Crossing
from tachograph.detectors.behaviour.features import (
    ACTS,
    ADDED_UP,
    FEATURE_SET,
    FEATURES,
    JUDGEMENTS,
    NAMES,
    PANE_US,
    Finding,
    Scale,
)
from tachograph.detectors.behaviour.hands import CLOCKWORK, HAND
from tachograph.detectors.behaviour.levels import OCTAVE, amount_of
from tachograph.detectors.behaviour.shared import CREDENTIAL, PERSON, PRINCIPAL
from tachograph.detectors.language.rule import MICROS
from tachograph.detectors.signals import ALERT_BUCKET_S, at
from tachograph.schemas.alert import Observable, Reason, Severity, Signal, Witness
from tachograph.schemas.identity import plain_id

BUCKET_US = ALERT_BUCKET_S * MICROS
# So many times what was the most before is grave.
_HIGH_TIMES = 16
_CONFIDENCE = 60


class Said(msgspec.Struct, frozen=True):
    """What is said of one window. `held`: what only the witness tells, to be judged again by."""

    finding: Finding
    severity: Severity
    text: str
    fields: dict[str, str]
    scores: dict[str, float]
    held: dict[str, str] = {}


class Reporter:
    """Makes signals of one calibration."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._version = calibration.version()

    def out_of_line(self, who: Identity, crossing: Crossing, revision: int) -> Signal:
        """One feature of one window."""
        judged, place, feature = crossing.judged, crossing.place, crossing.feature
        scale, asked, known = judged.scale(place), FEATURES[feature], judged.known
        amount = int(judged.closed.amounts[place, feature])
        judgement = int(judged.judgement[place])
        usual = amount_of(float(known.centre[place, feature])) * asked.grain
        most = amount_of(float(known.highest[place, feature])) * asked.grain
        at_large = self._at_large(int(judged.closed.scales[place]), feature)
        score = int(judged.scores[place, feature])
        p_value = self._calibration.p_value(judgement, feature, score)
        times = _times(amount, max(usual, most), asked.grain)
        said = Said(
            asked.finding,
            grave(amount, max(usual, most), asked.grain),
            f"{titled(asked.finding, who)}: {_in_words(crossing, at_large)}",
            {
                "feature": asked.name,
                "judged_by": JUDGEMENTS[judgement],
                "observed": str(amount),
                "expected": f"{judged.expected(place, feature):.6g}",
                "usual": f"{usual:.6g}",
                "usual_at_large": f"{at_large:.6g}",
                **_beside_peers(crossing),
                "most_before": f"{most:.6g}",
                "windows_known": str(int(judged.own[place])),
                "p_value": f"{p_value:.3g}",
                "times_the_most": f"{times:.3g}",
            },
            {**_shares(judged, place), asked.name: float(amount), "p_value": p_value},
            _held_against(crossing),
        )
        return self._signal(who, judged.row(place), scale, said, revision)

    def _at_large(self, scale: int, feature: int) -> float:
        """The amount that is usual for agents that nothing is known of."""
        level = float(self._calibration.centre[scale][feature])
        return amount_of(level) * FEATURES[feature].grain

    def too_fast(self, who: Identity, judged: Judged, place: int, revision: int) -> Signal:
        """A window that holds more than a hand can do."""
        scale, row = judged.scale(place), judged.row(place)
        needed_ms, there_ms = row["needed_ms"], scale.span_us // 1000
        said = Said(
            HAND,
            "high",
            f"{titled(HAND, who)}: {row['deeds']:,} deeds by hand in {scale.name} would take a "
            f"practised person {needed_ms / 1000:,.0f} s at the least",
            {
                "observed": str(row["deeds"]),
                "needed_ms": str(needed_ms),
                "there_ms": str(there_ms),
            },
            {"needed_share": needed_ms / there_ms, "deeds": float(row["deeds"])},
        )
        return self._signal(who, row, scale, said, revision)

    def too_regular(self, who: Identity, judged: Judged, place: int, revision: int) -> Signal:
        """A window whose actions come as a clock's do."""
        scale, row = judged.scale(place), judged.row(place)
        panes = row["last_us"] // PANE_US - row["first_us"] // PANE_US + 1
        # Variance over mean.
        spread = row["squared"] / row["acts"] - row["acts"] / panes
        said = Said(
            CLOCKWORK,
            "medium",
            f"{titled(CLOCKWORK, who)}: {row['acts']:,} calls over {panes} windows of 10 s, as "
            f"many in each: their counts vary {spread:.2f} times as much as those of chance",
            {"observed": str(row["acts"]), "panes": str(panes), "variance": f"{spread:.4f}"},
            {"dispersion": spread, "acts": float(row["acts"])},
        )
        return self._signal(who, row, scale, said, revision)

    def _signal(
        self, who: Identity, row: dict[str, Any], scale: Scale, said: Said, revision: int
    ) -> Signal:
        return signal_of(who, row, scale, said, Versions(self._version, revision))


def grave(amount: int, most: float, grain: int) -> Severity:
    """How grave so much is, where there never was more than `most`."""
    return "high" if _times(amount, most, grain) >= _HIGH_TIMES else "medium"


def _times(amount: int, most: float, grain: int) -> float:
    return (amount + grain) / (most + grain)


class Versions(NamedTuple):
    """`judge`: the calibration or model that says it; `name`: what that is called in witnesses."""

    judge: str
    revision: int
    name: str = "calibration"
    shadow: bool = False


def signal_of(who: Identity, row: dict[str, Any], scale: Scale, said: Said, by: Versions) -> Signal:
    """What is said of a window, as a signal."""
    finding, last_us = said.finding, int(row["last_us"])
    bucket_us = last_us - last_us % BUCKET_US
    named = [who.tenant, finding.rule_id, by.judge, who.partition_key, who.agent, who.hand]
    named += [who.facet] if who.facet else []
    ids = [one for one in row["ids"] if one]
    user = who.agent if who.facet in (PRINCIPAL, PERSON) else row["principal_id"]
    beside = ["shadow"] if by.shadow else []
    return Signal(
        signal_id=plain_id(*named, said.fields.get("feature", ""), str(bucket_us), *beside),
        revision=by.revision,
        change="new",
        tenant=who.tenant,
        rule_id=finding.rule_id,
        rule_version=by.judge,
        title=titled(finding, who),
        severity=said.severity,
        confidence=_CONFIDENCE,
        kind="anomaly",
        risk_category=finding.risk_category,
        frameworks=finding.tags,
        event_time=at(last_us),
        event_ids=ids,
        event_count=max(int(row["acts"]), 1),
        entity=who.agent,
        bucket_start=at(bucket_us),
        agent_id=None if who.facet else who.agent_id or None,
        agent_name=who.agent_name or None,
        principal_id=user,
        session_id=row["session_id"],
        trace_id=row["trace_id"],
        environment=row["environment"],
        tool_name=row["tool_name"],
        partition_key=who.partition_key or None,
        group=_group(who),
        scores=said.scores,
        reason=Reason(text=said.text, fields=said.fields | {"window": scale.name}),
        observables=[Observable(type="user", value=user)] if user else [],
        witness=_witness(row, scale, said, ids, by),
        runbook=finding.runbook,
        owner_team="soc",
        synthetic=bool(row["synthetic"]),
        replay=bool(row["replay"]),
        shadow=by.shadow,
    )


def titled(finding: Finding, who: Identity) -> str:
    """The title, of an agent or of what is shared."""
    if who.facet == PERSON:
        return finding.title.replace("that the session claims", "in whose name it is")
    whose = f"the {who.facet}'s" if who.facet else "the agent's"
    return finding.title.replace("the agent's", whose)


def _group(who: Identity) -> dict[str, str]:
    if who.facet:
        name = "credential.id" if who.facet == CREDENTIAL else "principal.id"
        return {name: who.agent}
    return {"session.id": who.hand} if who.hand else {}


def _witness(
    row: dict[str, Any], scale: Scale, said: Said, ids: list[str], by: Versions
) -> Witness:
    return Witness(
        events=[{"event_id": one} for one in ids],
        window=said.fields
        | said.held
        | {
            "window": f"{scale.name}@{row['window']}",
            "first_us": str(row["first_us"]),
            "last_us": str(row["last_us"]),
        },
        versions={by.name: by.judge, "features": str(FEATURE_SET)},
        partial=int(row["acts"]) > len(ids),
    )


def _shares(judged: Judged, place: int) -> dict[str, float]:
    """What every feature of the window adds, in spreads above what is usual."""
    return {
        f"score_{name}": int(score) / OCTAVE
        for name, score in zip(NAMES, judged.scores[place], strict=True)
        if score > 0
    }


def _held_against(crossing: Crossing) -> dict[str, str]:
    """The bar, and of a window that is judged alone what makes its score (see scores_of)."""
    judged, place, feature = crossing.judged, crossing.place, crossing.feature
    held = {"bar": str(crossing.bar)}
    if judged.judgement[place] == ADDED_UP:
        return held
    known = judged.known
    more = busier(judged.closed.levels, known)[place, feature]
    return held | {
        "level": str(int(known.usual[place, feature] + more)),
        "spread": str(int(known.spread[place, feature])),
    }


def _beside_peers(crossing: Crossing) -> dict[str, str]:
    """What is usual for the agent's peers, where so many are known."""
    if (peers := crossing.peers) is None:
        return {}
    usual = amount_of(float(peers.centre)) * FEATURES[crossing.feature].grain
    return {"peers": peers.kind, "peers_known": str(peers.agents), "usual_of_peers": f"{usual:.6g}"}


def _in_words(crossing: Crossing, at_large: float) -> str:
    """What was observed, and what it was held against."""
    judged, place, feature = crossing.judged, crossing.place, crossing.feature
    asked, known = FEATURES[feature], judged.known
    beside = f"{at_large:,.3g} for agents at large"
    if (peers := crossing.peers) is not None:
        of_peers = amount_of(float(peers.centre)) * asked.grain
        beside = f"{of_peers:,.3g} for {peers.agents:,} peers, {peers.kind}; {beside}"
    acts, amount = judged.closed.amounts[place, [ACTS, feature]].tolist()
    usual = amount_of(float(known.centre[place, feature])) * asked.grain
    most = amount_of(float(known.highest[place, feature])) * asked.grain
    after = ", after others like it" if judged.judgement[place] == ADDED_UP else ""
    told = f"its {acts:,} acts bring {judged.expected(place, feature):,.3g}, "
    return (
        f"{amount:,} {asked.unit} ({asked.name}) in {judged.scale(place).name}{after}, "
        f"where {told if asked.of_acts else ''}{usual:,.3g} is usual "
        f"({beside}) and {most:,.3g} was the most, "
        f"{_rests_on(int(judged.own[place]))}"
    )


def _rests_on(windows: int) -> str:
    if not windows:
        return "by the measure of all agents, for nothing is known of this one"
    return f"by {windows:,} windows of its own"
