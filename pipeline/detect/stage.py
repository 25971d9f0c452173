"""`detect`: action batches in, signals, signal groups and contexts out.

What matches a rule whose groups lie in several partitions goes out to agent.matches, to the place
of its group, and is judged by whichever process of this stage owns that.

Order of every round, which is what makes `kill -9` harmless: read, note beside the committed offset
what is judged in one go, judge, send, wait until all of it is acknowledged, commit. A checkpoint is
written only at a point where everything before it was acknowledged.
"""

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from confluent_kafka import Message

from tachograph.detectors.behaviour.models import NO_MODELS
from tachograph.detectors.correlation.matched import chain_of
from tachograph.detectors.in_force import FOR_EVER_US
from tachograph.detectors.language import logsources
from tachograph.detectors.language.bundle import bundle_of
from tachograph.detectors.language.compiled import RuleErrors
from tachograph.detectors.partition import Found
from tachograph.detectors.plan import Plan
from tachograph.detectors.silences import Silences
from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US, to_datetime
from tachograph.pipeline.detect.checkpoints import Checkpoints
from tachograph.pipeline.detect.judges import ACTIONS, ActionJudge, Judge, MatchJudge, together
from tachograph.pipeline.detect.matches import TOPIC, Matches
from tachograph.pipeline.detect.rereading import Rereading
from tachograph.pipeline.detect.rule_metrics import RuleMetrics
from tachograph.pipeline.detect.shard import Shard, State
from tachograph.pipeline.detect.stretches import Stretches
from tachograph.pipeline.errors import ConfigError, Refused
from tachograph.pipeline.health import HealthReporter
from tachograph.pipeline.in_force import Content, InForce
from tachograph.pipeline.kafka.generations import Generations
from tachograph.pipeline.kafka.reader import Commitment, Place, Reader, place_of
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.pacing import Pace
from tachograph.pipeline.reference import reference_in_force
from tachograph.pipeline.rule_cache import compile_kept
from tachograph.pipeline.settings import Settings, paths_of
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER

log = get("detect")

STAGE = "detect"
GROUP = "tacho.detect"
SOURCE = ACTIONS
MATCHES = TOPIC
# Topics besides whose records have their place by a key.
PLACED = ("agent.checkpoints", "agent.signal_groups")
# Behind a backlog so much is judged in one round: a judgement has a fixed cost.
READ_BYTES = 8_000_000
READ_RECORDS = 64
READ_WAIT_S = 0.1
CHECKPOINT_EVERY_S = 15.0
# Of large states they are further apart: so many times what the last one cost, at most so long.
CHECKPOINT_REST = 30.0
CHECKPOINTS_APART_S = 10.0
FOLLOW_EVERY_S = 1.0
PRUNE_EVERY_S = 60.0


def declared(home: Path) -> Content:
    """What this process is started with: the shipped pack and what TACHO_RULES names (paths,
    separated as PATH is), fitted by TACHO_PIPELINES and tuned by TACHO_TUNING, above the reference
    data of TACHO_REFERENCE. Raises ConfigError with every problem found.
    """
    tuning = os.environ.get("TACHO_TUNING")
    reference = reference_in_force(home)
    try:
        bundle = bundle_of(
            paths_of(os.environ, "TACHO_RULES"),
            tuning=Path(tuning) if tuning else None,
            pipelines=paths_of(os.environ, "TACHO_PIPELINES"),
        )
        rules = compile_kept(bundle, reference=reference, home=home)
    except RuleErrors as error:
        raise ConfigError(str(error)) from error
    for line in logsources.in_words(rules.skipped):
        log.warning("rules of other logs", rules=line)
    for line in logsources.notes_in_words(rules.notes):
        log.warning("rules not quite as meant", rules=line)
    return Content.of(bundle, reference)


class Detect:
    """The running stage: the shards of the partitions it owns, one reader, one writer."""

    def __init__(self, settings: Settings, plan: Plan, in_force: InForce | None = None) -> None:
        """`in_force`: where changes of the plan come from; it is closed with the stage."""
        self._settings, self._plan, self._in_force = settings, plan, in_force
        self._followed_s = self._pruned_s = time.monotonic()
        self._silences = in_force.silences.silences if in_force is not None else Silences()
        self._models = in_force.models.models if in_force is not None else NO_MODELS
        self._shards: dict[Place, Shard] = {}
        self._rereading: Rereading | None = None
        self._saved_s: dict[Place, float] = {}
        self._writer = Writer(settings)
        self._generations = Generations(settings, STAGE, self._writer, [SOURCE, MATCHES, *PLACED])
        self._matches = Matches(self._writer, self._generations.counts[MATCHES])
        self._checkpoints = Checkpoints(settings, STAGE, self._writer)
        self._health = HealthReporter(settings, STAGE)
        self._rule_metrics = RuleMetrics()
        self._pace, self._saving = Pace(), Pace(rest=CHECKPOINT_REST, longest_s=CHECKPOINTS_APART_S)
        self._reader = Reader(
            settings, GROUP, [SOURCE, MATCHES], on_assign=self._take_over, on_revoke=self._hand_over
        )

    def _take_over(self, places: list[Place]) -> Mapping[Place, int]:
        committed = self._reader.commitments(places)
        for place in places:
            self._shards[place] = self._recovered(place, committed.get(place))
        self._writer.flush()
        return {place: self._shards[place].next_offset for place in places}

    def _recovered(self, place: Place, committed: Commitment | None) -> Shard:
        """The shard as the log has it: newest checkpoint, else everything that is still kept."""
        earliest, end = self._reader.bounds(place)
        if committed is not None and committed.offset < earliest:
            # Starting at an offset of our own, the client would not say it.
            raise Refused(
                f"{place[0]}/{place[1]}: the committed offset {committed.offset} is no longer kept,"
                f" the earliest is {earliest}; reset group {GROUP} deliberately to go on"
            )
        muted_until, note = committed or Commitment(0, "")

        def made(start: int) -> Shard:
            stretches = Stretches.noted(note, start=muted_until, end=end)
            judge = self._judge_of(place)
            return Shard(
                place,
                judge,
                start=start,
                muted_until=muted_until,
                stretches=stretches,
                base=self._generations.of(place[0]).base,
            )

        kept = self._checkpoints.load(place, until=muted_until)
        if kept is not None and kept[0] >= earliest:
            shard = made(kept[0])
            try:
                self._load(shard, kept[1])
            except ValueError as error:
                log.warning("checkpoint is passed over", place=list(place), error=str(error))
            else:
                log.info("state from checkpoint", place=list(place), offset=kept[0])
                return shard
        log.info("state from the earliest record kept", place=list(place), offset=earliest)
        shard = made(earliest)
        # From the first record on it is known by what rules it was judged.
        self._save(shard)
        return shard

    def _load(self, shard: Shard, kept: bytes) -> None:
        """Take up a checkpoint. Raises ValueError when it cannot be used."""
        try:
            state = msgspec.msgpack.decode(kept, type=State)
        except msgspec.DecodeError as error:
            raise ValueError(f"no checkpoint of ours: {error}") from error
        plans = self._in_force.plans_since(state.changes) if self._in_force else []
        made_by = plans[0].timeline if plans else self._plan.timeline
        if made_by.parts_us(state.timeline) < FOR_EVER_US:
            raise ValueError("the rules it was made by are not in the log any more")
        shard.load(state, plans)

    def _judge_of(self, place: Place) -> Judge:
        on_actions = place[0] == SOURCE
        judge: Judge = ActionJudge(self._plan) if on_actions else MatchJudge(self._plan, SOURCE)
        judge.silence(self._silences)
        judge.judge_by(self._models)
        return judge

    def _hand_over(self, places: list[Place]) -> None:
        for place in places:
            shard = self._shards.pop(place, None)
            self._saved_s.pop(place, None)
            self._matches.lost(place)
            if self._rereading is not None and self._rereading.shard is shard:
                self._rereading.close()
                self._rereading = None
            if shard is not None and shard.changed and shard.settled:
                self._save(shard)
        self._writer.flush()

    def _save(self, shard: Shard) -> None:
        rules_hash = self._plan.sets[-1].rules_hash
        self._checkpoints.save(
            shard.place, shard.next_offset, rules_hash, shard.dump(self._changes)
        )
        self._saved_s[shard.place] = time.monotonic()

    def round(self) -> int:
        """One round; the number of records read. Raises RetryLater or Refused: then nothing is
        committed.
        """
        self._generations.check()
        self._follow()
        self._catch_up()
        # Who has something to catch up on has no time to rest.
        gather_s = self._pace.left_s() if self._rereading is None else 0.0
        messages = self._reader.gather(READ_RECORDS, READ_WAIT_S, READ_BYTES, gather_s=gather_s)
        places = _by_place(messages)
        if not places:
            self._tick()
            self._checkpoint_due()
            return len(messages)
        with metrics.BATCH_SECONDS.labels(STAGE).time(), self._pace.working():
            self._begin(places)
            self._judge(places)
            self._writer.flush()
            self._tick()
            self._commit(places)
        for place, records in places.items():
            metrics.RECORDS_READ.labels(STAGE, place[0]).inc(len(records))
        self._checkpoint_due()
        return len(messages)

    @property
    def _changes(self) -> int:
        """How many activations there have been."""
        return self._in_force.changes if self._in_force is not None else 0

    def _follow(self) -> None:
        """Judge by what the log says is in force."""
        now_s = time.monotonic()
        if self._in_force is None or now_s - self._followed_s < FOLLOW_EVERY_S:
            return
        self._followed_s = now_s
        plan = self._in_force.news()
        self._hush(self._in_force)
        self._model(self._in_force)
        if plan is None and now_s - self._pruned_s >= PRUNE_EVERY_S:
            self._pruned_s = now_s
            plan = self._without_past(self._in_force)
        if plan is None:
            return
        log.info("rules in force", periods=len(plan.sets), rules=len(plan.rules.rules))
        self._plan = plan
        for shard in self._shards.values():
            shard.adopt(plan)
        if self._rereading is not None:
            # It is begun again, for all that has changed.
            self._rereading.close()
            self._rereading = None

    def _hush(self, in_force: InForce) -> None:
        """Keep apart what is silenced, as the log says."""
        if in_force.silences.silences is self._silences:
            return
        self._silences = in_force.silences.silences
        log.info("silences", count=len(self._silences))
        for shard in self._shards.values():
            shard.judge.silence(self._silences)

    def _model(self, in_force: InForce) -> None:
        """Judge by the models of behaviour that the log says."""
        if in_force.models.models is self._models:
            return
        self._models = in_force.models.models
        log.info("models of behaviour changed")
        for shard in self._shards.values():
            shard.judge.judge_by(self._models)

    def _without_past(self, in_force: InForce) -> Plan | None:
        """The plan without what nothing that is still seen was judged by."""
        marks = [shard.judge.ticks.watermark_us() for shard in self._shards.values()]
        reached = [mark for mark in marks if mark is not None]
        if not reached or len(reached) < len(marks):
            return None
        return in_force.without_past(min(reached) - self._plan.remembered_us)

    def _catch_up(self) -> None:
        """A few steps of the shard that has to catch up, if there is one."""
        if self._rereading is None:
            waiting = [shard for shard in self._shards.values() if shard.behind]
            if not waiting:
                return
            earliest, _ = self._reader.bounds(waiting[0].place)
            index = self._in_force.changes if self._in_force is not None else 0
            self._rereading = Rereading(self._settings, waiting[0], earliest=earliest, index=index)
        for found in self._rereading.step():
            self._emit(found)
        if self._rereading.done:
            self._caught_up(self._rereading)

    def _caught_up(self, rereading: Rereading) -> None:
        for found in rereading.finish():
            self._emit(found)
        if rereading.shard.settled:
            self._save(rereading.shard)
        self._writer.flush()
        self._rereading = None
        self._reader.resume([rereading.shard.place])

    def _begin(self, places: Mapping[Place, list[Message]]) -> None:
        """Leave word of what is going to be judged in one go, before anything is said of it."""
        begun = {place: self._shards[place].begin(records) for place, records in places.items()}
        self._reader.commit_noted({place: one for place, one in begun.items() if one is not None})

    def _judge(self, places: Mapping[Place, list[Message]]) -> None:
        shards = [self._shards[place] for place in places]
        before = [shard.judge.actions for shard in shards]
        running = map(Shard.judging, shards, places.values())
        # What one place says is under way while the next one is judged.
        for at, results in together(list(running)):
            for found in results:
                self._emit(found)
            self._judged(shards[at], shards[at].judge.actions - before[at])

    def _judged(self, shard: Shard, actions: int) -> None:
        if shard.behind:
            # It has to catch up first.
            self._reader.seek(shard.place, shard.next_offset)
            self._reader.pause([shard.place])
        metrics.ACTIONS.labels(STAGE).inc(actions)
        repeated, lost = shard.news()
        metrics.DUPLICATES.labels(STAGE).inc(repeated)
        for kind, count in lost.items():
            metrics.EVICTED.labels(STAGE, kind).inc(count)

    def _tick(self) -> None:
        """All that was sent is acknowledged; the ticks themselves go with the next flush."""
        topics = _ticking(self._plan)
        shards = [shard for place, shard in self._shards.items() if place[0] in topics]
        newest = self._in_force.newest if self._in_force is not None else -1
        self._matches.tick(shards, self._generations.counts, newest)

    def _commit(self, places: Iterable[Place]) -> None:
        """Commit what was judged; a shard that is still replaying leaves its offset where it is."""
        shards = [shard for place in places if not (shard := self._shards[place]).muted]
        for shard in shards:
            shard.committed = shard.next_offset
        self._reader.commit_noted(
            {shard.place: Commitment(shard.committed, shard.note) for shard in shards}
        )

    def _emit(self, found: Found) -> None:
        self._rule_metrics.said([signal for signal in found.signals if not signal.shadow])
        for signal in found.signals:
            counter = metrics.SHADOW_SIGNALS if signal.shadow else metrics.SIGNALS
            counter.labels(signal.severity, signal.change).inc()
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
        """Save what was saved longest ago. One at a time, and apart from each other: nothing is
        judged meanwhile.
        """
        now_s = time.monotonic()
        waited_s = {
            shard.place: now_s - self._saved_s.setdefault(shard.place, now_s)
            for shard in self._shards.values()
        }
        apart_s = CHECKPOINT_EVERY_S / max(len(waited_s), 1)
        due = [
            place
            for place, since_s in waited_s.items()
            if since_s >= CHECKPOINT_EVERY_S
            and self._shards[place].changed
            and self._shards[place].settled
        ]
        if due and now_s - max(self._saved_s.values()) >= apart_s and not self._saving.left_s():
            with self._saving.working():
                self._save(self._shards[max(due, key=waited_s.__getitem__)])
                self._writer.flush()
        self._observe()

    def _observe(self) -> None:
        self._tell_of_rules()
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
        force = self._in_force
        refused = [*force.refused.values(), *force.models.refused.values()] if force else []
        troubles = [f"refused, what was in force before it stays: {reason}" for reason in refused]
        if stalled:
            troubles.append(f"raw partitions without a tick: {sorted(stalled)}")
        self._health.beat(
            lag=lag,
            watermark=to_datetime(min(reached)) if reached else None,
            status="degraded" if troubles else "ok",
            detail="; ".join(troubles) or None,
        )

    def _tell_of_rules(self, *, now: bool = False) -> None:
        judges = {place: shard.judge for place, shard in self._shards.items()}
        self._rule_metrics.tell(judges, lambda: self._plan.titles, now=now)

    def close(self) -> None:
        """Leave the group; what is owned is checkpointed by `_hand_over`."""
        self._tell_of_rules(now=True)
        self._reader.close()
        self._health.close()
        if self._in_force is not None:
            self._in_force.close()


def _ticking(plan: Plan) -> set[str]:
    """Topics whose places tell those that judge matches how far they have come."""
    chain = chain_of(plan.rules.correlations)
    across = any(rule.across for rule in chain) or plan.rules.follows_sessions
    topics = {SOURCE} if across else set()
    inner = [step.inner for rule in chain for step in rule.steps]
    # Rules that rest on groups across partitions wait for what those places send, too.
    return topics | ({MATCHES} if any(one is not None and one.across for one in inner) else set())


def _by_place(messages: Iterable[Message]) -> dict[Place, list[Message]]:
    places: dict[Place, list[Message]] = {}
    for message in messages:
        places.setdefault(place_of(message), []).append(message)
    return places


def run(settings: Settings, stop: threading.Event) -> None:
    """Judge until `stop` is set. Blocks. Raises Refused when going on is pointless."""
    in_force = InForce(settings, Writer(settings), declared(settings.home))
    plan = in_force.plan
    log.info("rules in force", rules=len(plan.rules.rules), periods=len(plan.sets))
    detect = Detect(settings, plan, in_force)
    try:
        while not stop.is_set():
            detect.round()
    finally:
        detect.close()
