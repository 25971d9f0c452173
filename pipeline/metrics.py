"""Every metric, with meaning and unit, in one list.

Stages are processes of their own; with PROMETHEUS_MULTIPROC_DIR set (`tacho up` does) they share
a folder of memory-mapped counters and any of them can show the sum. Without it a process shows
its own.
"""

import os
from pathlib import Path
from typing import Any, Final

from prometheus_client import REGISTRY as OWN_REGISTRY
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

LATENCY_BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

RECORDS_READ = Counter("tacho_records_read", "records a stage has read", ["stage", "topic"])
ACTIONS = Counter("tacho_actions", "actions a stage has handled", ["stage"])
ACTIONS_LATE = Counter("tacho_actions_late", "actions later than the allowed lateness", ["stage"])
ACTIONS_FAR = Counter("tacho_actions_far", "actions dated beyond the stated bounds", ["stage"])
DUPLICATES = Counter("tacho_duplicates", "records known already and counted once", ["stage"])
DROPPED = Counter("tacho_dropped", "what was dropped, by stage and reason", ["stage", "reason"])
EVICTED = Counter("tacho_evicted", "state evicted at a limit, by kind", ["stage", "kind"])
DEAD_LETTERS = Counter("tacho_dead_letters", "input that could not be used", ["stage", "reason"])
REDACTIONS = Counter("tacho_redactions", "values replaced by tokens, by type", ["type"])
SIGNALS = Counter("tacho_signals", "signals emitted", ["severity", "change"])
SHADOW_SIGNALS = Counter(
    "tacho_shadow_signals", "signals of a model that is only tried", ["severity", "change"]
)
SIGNAL_GROUPS = Counter("tacho_signal_groups", "signal group records emitted", [])
ALERTS = Counter("tacho_alerts", "alert revisions emitted", ["severity", "status"])
DIRECTIVES = Counter("tacho_directives", "directives given to agents", ["kind", "dry_run"])
CAPTURES = Counter("tacho_captures", "capture requests that ended, by outcome", ["outcome"])
ROWS_STORED = Counter("tacho_rows_stored", "rows acknowledged by ClickHouse", ["table"])
LEAVES = Counter("tacho_leaves", "leaves of the evidence trees, by what they say", ["kind"])
TREE_HEADS = Counter("tacho_tree_heads", "heads of evidence trees signed", [])
RETRIES = Counter("tacho_retries", "calls that had to be made again", ["stage", "what"])
DELIVERED = Counter("tacho_delivered", "alert records a destination acknowledged", ["destination"])
HELD_BACK = Counter(
    "tacho_held_back",
    "alert records not sent, by destination and reason",
    ["destination", "reason"],
)
OPINIONS = Counter("tacho_opinions", "second opinions on alerts, by verdict", ["verdict"])
OPINION_TOKENS = Counter("tacho_opinion_tokens", "tokens that second opinions cost", [])
HTTP_REQUESTS = Counter("tacho_http_requests", "requests at the door", ["route", "status"])
WATCHERS = Gauge("tacho_feed_watchers", "clients on the alert feed", multiprocess_mode="livesum")
# Of each rule, up to a number of them (see detect.rule_metrics).
_RULE = ["rule", "title"]
RULE_EVALUATIONS = Counter("tacho_rule_evaluations", "actions a rule was asked of", _RULE)
RULE_CANDIDATES = Counter(
    "tacho_rule_candidates", "actions left for the dear part of a rule's conditions", _RULE
)
RULE_MATCHES = Counter("tacho_rule_matches", "actions that matched a rule, or a step of it", _RULE)
RULE_SIGNALS = Counter("tacho_rule_signals", "signals of a rule emitted as new", _RULE)
RULE_SECONDS = Counter("tacho_rule_seconds", "time that asking a rule took", _RULE)
RULE_LAST_MATCH = Gauge(
    "tacho_rule_last_match_seconds",
    "event time of the newest action that matched, seconds since the epoch",
    _RULE,
    multiprocess_mode="max",
)
RULE_CANNOT_FIRE = Gauge(
    "tacho_rule_cannot_fire",
    "1: no action has carried a field that it needs, since the start or for half a day",
    _RULE,
    multiprocess_mode="livemin",
)
LAG = Gauge(
    "tacho_lag_records", "records not read yet", ["stage", "topic"], multiprocess_mode="livesum"
)
WATERMARK = Gauge(
    "tacho_watermark_seconds",
    "observed time that every process has reached, seconds since the epoch",
    ["stage"],
    multiprocess_mode="livemin",
)
STALLED_PARTITIONS = Gauge(
    "tacho_stalled_raw_partitions",
    "raw partitions without a tick for a minute: windows stay open",
    ["stage"],
    multiprocess_mode="livemax",
)
BATCH_SECONDS = Histogram(
    "tacho_batch_seconds", "time of one batch, input to acknowledged", ["stage"],
    buckets=LATENCY_BUCKETS_S,
)  # fmt: skip
OPINION_SECONDS = Histogram(
    "tacho_opinion_seconds", "from asking for a second opinion to its answer",
    buckets=LATENCY_BUCKETS_S,
)  # fmt: skip
ALERT_LATENCY_SECONDS = Histogram(
    "tacho_alert_latency_seconds",
    "from the event time of the alert's last action to the alert acknowledged",
    buckets=LATENCY_BUCKETS_S,
)


def registry() -> CollectorRegistry:
    """What /metrics shows: all stages of this machine when they share a folder, else this
    process.
    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    if not folder or not Path(folder).is_dir():
        return OWN_REGISTRY
    _forget_the_dead(Path(folder))
    shared = CollectorRegistry()
    _Begun(shared)  # type: ignore[no-untyped-call]
    return shared


class _Begun(MultiProcessCollector):
    """Passes over a file that its process is only just making: it is empty for a moment."""

    def collect(self) -> Any:
        """See MultiProcessCollector."""
        files = [str(path) for path in Path(self._path).glob("*.db") if _size_bytes(path)]
        return self.merge(files, accumulate=True)  # type: ignore[no-untyped-call]


def _size_bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _forget_the_dead(folder: Path) -> None:
    """What a process that is gone said of itself, its lag say, is nobody's lag any more; what it
    counted stays counted.
    """
    for pid in {path.stem.rpartition("_")[2] for path in folder.glob("gauge_live*_*.db")}:
        if pid.isdecimal() and not _lives(int(pid)):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def exposition() -> bytes:
    """The Prometheus text format."""
    return generate_latest(registry())
