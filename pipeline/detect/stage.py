"""`detect`: action batches in, signals, signal groups and contexts out.

What matches a rule whose groups lie in several partitions goes out to agent.matches, to the place
of its group, and is judged by whichever process of this stage owns that.

Order of every round, which is what makes `kill -9` harmless: read, judge, send, wait until all of
it is acknowledged, commit. A checkpoint is written only at a point where everything before it was
acknowledged.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from confluent_kafka import Message

from tachograph.detectors.correlation.matched import chain_of
from tachograph.detectors.language import logsources
from tachograph.detectors.language.ruleset import RuleErrors, RuleSet, load
from tachograph.detectors.partition import Found
from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US, to_datetime
from tachograph.pipeline.detect.checkpoints import Checkpoints
from tachograph.pipeline.detect.judges import ACTIONS, ActionJudge, Judge, MatchJudge
from tachograph.pipeline.detect.matches import TOPIC, Matches
from tachograph.pipeline.detect.shard import Shard
from tachograph.pipeline.errors import ConfigError, Refused
from tachograph.pipeline.health import HealthReporter
from tachograph.pipeline.kafka.generations import Generations
from tachograph.pipeline.kafka.reader import Place, Reader
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.reference import reference_in_force
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER

log = get("detect")

STAGE = "detect"
GROUP = "tacho.detect"
SOURCE = ACTIONS
MATCHES = TOPIC
# Topics besides whose records have their place by a key.
PLACED = ("agent.checkpoints", "agent.signal_groups")
READ_RECORDS = 64
READ_WAIT_S = 0.1
CHECKPOINT_EVERY_S = 15.0


def rules_in_force(home: Path) -> RuleSet:
    """The shipped pack and what TACHO_RULES names (paths, separated as PATH is), fitted by what
    TACHO_PIPELINES names, above the reference data in force.
    """
    tuning = os.environ.get("TACHO_TUNING")
    reference = reference_in_force(home)
    try:
        rules = load(
            _paths("TACHO_RULES"),
            builtin=True,
            tuning=Path(tuning) if tuning else None,
            pipelines=_paths("TACHO_PIPELINES"),
            reference=reference,
        )
    except RuleErrors as error:
        raise ConfigError(str(error)) from error
    for line in logsources.in_words(rules.skipped):
        log.warning("rules of other logs", rules=line)
    return rules


def _paths(name: str) -> list[Path]:
    return [Path(part) for part in os.environ.get(name, "").split(os.pathsep) if part]


class Detect:
    """The running stage: the shards of the partitions it owns, one reader, one writer."""

    def __init__(self, settings: Settings, rules: RuleSet) -> None:
        self._rules = rules
        chain = chain_of(rules.correlations)
        self._across = any(rule.across for rule in chain)
        # Some rest on groups across partitions: what their places send has ticks, too.
        self._chained = any(
            step.inner is not None and step.inner.across for rule in chain for step in rule.steps
        )
        self._shards: dict[Place, Shard] = {}
        self._saved_s: dict[Place, float] = {}
        self._writer = Writer(settings)
        self._generations = Generations(settings, STAGE, self._writer, [SOURCE, MATCHES, *PLACED])
        self._matches = Matches(self._writer, self._generations.counts[MATCHES])
        self._checkpoints = Checkpoints(settings, STAGE, self._writer)
        self._health = HealthReporter(settings, STAGE)
        self._reader = Reader(
            settings, GROUP, [SOURCE, MATCHES], on_assign=self._take_over, on_revoke=self._hand_over
        )

    def _take_over(self, places: list[Place]) -> Mapping[Place, int]:
        committed = self._reader.committed(places)
        for place in places:
            self._shards[place] = self._recovered(place, committed.get(place))
        return {place: self._shards[place].next_offset for place in places}

    def _recovered(self, place: Place, committed: int | None) -> Shard:
        """The shard as the log has it: newest checkpoint, else everything that is still kept."""
        earliest, end = self._reader.bounds(place)
        if committed is not None and committed < earliest:
            # Starting at an offset of our own, the client would not say it.
            raise Refused(
                f"{place[0]}/{place[1]}: the committed offset {committed} is no longer kept, the"
                f" earliest is {earliest}; reset group {GROUP} deliberately to go on"
            )
        muted_until = committed or 0
        judge, start = self._state(place, earliest, muted_until)
        return Shard(
            place,
            judge,
            start=start,
            muted_until=muted_until,
            # The owner before had at most one reading in hand when it went.
            careful_until=min(max(muted_until, earliest) + READ_RECORDS, end),
        )

    def _state(self, place: Place, earliest: int, until: int) -> tuple[Judge, int]:
        """A judge with the newest state up to an offset, and the next offset it is to see."""
        judge = self._new_judge(place)
        kept = self._checkpoints.load(place, until=until)
        if kept is not None and kept[0] >= earliest:
            try:
                judge.load(kept[1])
            except ValueError as error:
                log.warning("checkpoint is passed over", place=list(place), error=str(error))
                judge = self._new_judge(place)
            else:
                log.info("state from checkpoint", place=list(place), offset=kept[0])
                return judge, kept[0]
        log.info("state from the earliest record kept", place=list(place), offset=earliest)
        return judge, earliest

    def _new_judge(self, place: Place) -> Judge:
        if place[0] == SOURCE:
            return ActionJudge(self._rules)
        return MatchJudge(self._rules, SOURCE)

    def _hand_over(self, places: list[Place]) -> None:
        for place in places:
            shard = self._shards.pop(place, None)
            self._saved_s.pop(place, None)
            self._matches.lost(place)
            if shard is not None and shard.changed and shard.settled:
                self._save(shard)
        self._writer.flush()

    def _save(self, shard: Shard) -> None:
        self._checkpoints.save(shard.place, shard.next_offset, self._rules.rules_hash, shard.dump())
        self._saved_s[shard.place] = time.monotonic()

    def round(self) -> int:
        """One round; the number of records read. Raises RetryLater or Refused: then nothing is
        committed.
        """
        self._generations.check()
        messages = self._reader.read(READ_RECORDS, READ_WAIT_S)
        if not messages:
            self._tick()
            self._checkpoint_due()
            return 0
        places = _by_place(messages)
        with metrics.BATCH_SECONDS.labels(STAGE).time():
            for place, records in places.items():
                self._judge(self._shards[place], records)
            self._writer.flush()
            self._tick()
            self._commit(places)
        for place, records in places.items():
            metrics.RECORDS_READ.labels(STAGE, place[0]).inc(len(records))
        self._checkpoint_due()
        return len(messages)

    def _judge(self, shard: Shard, records: list[Message]) -> None:
        before = shard.judge.actions
        for found in shard.process(records):
            self._emit(found)
        metrics.ACTIONS.labels(STAGE).inc(shard.judge.actions - before)
        repeated, lost = shard.news()
        metrics.DUPLICATES.labels(STAGE).inc(repeated)
        for kind, count in lost.items():
            metrics.EVICTED.labels(STAGE, kind).inc(count)

    def _tick(self) -> None:
        """All that was sent is acknowledged; the ticks themselves go with the next flush."""
        if self._across:
            topics = {SOURCE, MATCHES} if self._chained else {SOURCE}
            shards = [shard for place, shard in self._shards.items() if place[0] in topics]
            self._matches.tick(shards, self._generations.counts)

    def _commit(self, places: Iterable[Place]) -> None:
        """Commit what was judged; a shard that is still replaying leaves its offset where it is."""
        shards = [shard for place in places if not (shard := self._shards[place]).muted]
        self._reader.commit({shard.place: shard.next_offset for shard in shards})
        for shard in shards:
            shard.committed = shard.next_offset

    def _emit(self, found: Found) -> None:
        for signal in found.signals:
            metrics.SIGNALS.labels(signal.severity, signal.change).inc()
            self._writer.send(
                "agent.signals",
                codec.encode(signal),
                key=signal.signal_id.encode(),
                headers={RECORD_HEADER: b"signal"},
            )
        for group in found.groups:
            metrics.SIGNAL_GROUPS.inc()
            self._send_to_triage(
                f"{group.tenant}/{group.entity}", b"signal_group", codec.encode(group)
            )
        for rows in found.matches:
            self._matches.send(rows)
        for context in found.contexts:
            key = f"{context.tenant}/{context.entity}"
            self._send_to_triage(key, b"context", codec.encode(context))

    def _send_to_triage(self, key: str, record: bytes, payload: bytes) -> None:
        headers = {RECORD_HEADER: record}
        self._writer.send("agent.signal_groups", payload, key=key.encode(), headers=headers)

    def _checkpoint_due(self) -> None:
        now_s = time.monotonic()
        due = [
            shard
            for shard in self._shards.values()
            if shard.changed
            and shard.settled
            and now_s - self._saved_s.setdefault(shard.place, now_s) >= CHECKPOINT_EVERY_S
        ]
        for shard in due:
            self._save(shard)
        if due:
            self._writer.flush()
        self._observe()

    def _observe(self) -> None:
        lag = sum(self._reader.lag().values())
        metrics.LAG.labels(STAGE, SOURCE).set(lag)
        stalled = {
            place for shard in self._shards.values() for place in shard.judge.ticks.stalled()
        }
        metrics.STALLED_PARTITIONS.labels(STAGE).set(len(stalled))
        marks = [shard.judge.ticks.watermark_us() for shard in self._shards.values()]
        reached = [mark for mark in marks if mark is not None]
        if reached:
            metrics.WATERMARK.labels(STAGE).set(min(reached) / SECOND_US)
        self._health.beat(
            lag=lag,
            watermark=to_datetime(min(reached)) if reached else None,
            status="degraded" if stalled else "ok",
            detail=f"raw partitions without a tick: {sorted(stalled)}" if stalled else None,
        )

    def close(self) -> None:
        """Leave the group; what is owned is checkpointed by `_hand_over`."""
        self._reader.close()
        self._health.close()


def _by_place(messages: Iterable[Message]) -> dict[Place, list[Message]]:
    places: dict[Place, list[Message]] = {}
    for message in messages:
        places.setdefault((message.topic() or "", message.partition() or 0), []).append(message)
    return places


def run(settings: Settings, stop: threading.Event) -> None:
    """Judge until `stop` is set. Blocks. Raises Refused when going on is pointless."""
    rules = rules_in_force(settings.home)
    log.info("rules in force", rules=len(rules.rules), **rules.versions)
    detect = Detect(settings, rules)
    try:
        while not stop.is_set():
            detect.round()
    finally:
        detect.close()
