"""What the stages count, read from the metrics they share: totals, rates and quantiles for the
live view.
"""

import time
from collections.abc import Callable

import msgspec

from tachograph.pipeline import metrics

# From what has been counted so far, the rate over the last samples.
WINDOW_SAMPLES = 8

STAGES = ("serve", "normalize", "detect", "triage", "store", "forward", "notarize")


class StageNumbers(msgspec.Struct, frozen=True):
    """One row of the view."""

    read: float
    rate: float
    lag: float | None


class Numbers(msgspec.Struct, frozen=True):
    """One look at all stages."""

    stages: dict[str, StageNumbers]
    actions: float
    actions_rate: float
    signals: float
    dead_letters: float
    late: float
    dropped: float
    stored: float
    latency_p50_s: float | None
    latency_p99_s: float | None


Totals = dict[tuple[str, str], float]


def _totals() -> tuple[Totals, dict[float, float]]:
    """Sums by (sample name, stage) and the latency histogram's cumulative buckets."""
    totals: Totals = {}
    buckets: dict[float, float] = {}
    for family in metrics.registry().collect():
        for sample in family.samples:
            if sample.name == "tacho_alert_latency_seconds_bucket":
                edge = float(sample.labels["le"])
                buckets[edge] = buckets.get(edge, 0.0) + sample.value
                continue
            key = (sample.name, sample.labels.get("stage", ""))
            totals[key] = totals.get(key, 0.0) + sample.value
    return totals, buckets


def quantile(buckets: dict[float, float], share: float) -> float | None:
    """Upper edge of the bucket in which the share is reached; None without observations."""
    total = max(buckets.values(), default=0.0)
    if total == 0:
        return None
    return next(edge for edge, count in sorted(buckets.items()) if count >= share * total)


class Meter:
    """Turns totals into rates by remembering the last few looks."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._seen: list[tuple[float, Totals]] = []

    def look(self) -> Numbers:
        """Read the metrics now."""
        totals, buckets = _totals()
        self._seen = [*self._seen[-WINDOW_SAMPLES:], (self._now_s(), totals)]
        return Numbers(
            stages={stage: self._stage(stage, totals) for stage in STAGES},
            actions=totals.get(("tacho_actions_total", "normalize"), 0.0),
            actions_rate=self._rate(("tacho_actions_total", "normalize")),
            signals=totals.get(("tacho_signals_total", ""), 0.0),
            dead_letters=_sum(totals, "tacho_dead_letters_total"),
            late=_sum(totals, "tacho_actions_late_total"),
            dropped=_sum(totals, "tacho_dropped_total"),
            stored=_sum(totals, "tacho_rows_stored_total"),
            latency_p50_s=quantile(buckets, 0.5),
            latency_p99_s=quantile(buckets, 0.99),
        )

    def _stage(self, stage: str, totals: Totals) -> StageNumbers:
        name = "tacho_http_requests_total" if stage == "serve" else "tacho_records_read_total"
        key = (name, "" if stage == "serve" else stage)
        lag = totals.get(("tacho_lag_records", stage))
        return StageNumbers(read=totals.get(key, 0.0), rate=self._rate(key), lag=lag)

    def _rate(self, key: tuple[str, str]) -> float:
        (then_s, then), (now_s, now) = self._seen[0], self._seen[-1]
        if now_s <= then_s:
            return 0.0
        return max(0.0, now.get(key, 0.0) - then.get(key, 0.0)) / (now_s - then_s)


def _sum(totals: Totals, name: str) -> float:
    return sum(value for (sample, _), value in totals.items() if sample == name)
