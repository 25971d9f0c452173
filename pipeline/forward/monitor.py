"""What the beats say: which sources fell silent, which stages stand still. Pure.

A decision is a Health record of a subject: `source:<name>`, `stage:<name>`, or `sources:<reporter>`
where most of what a reporter sees went at once. Nobody else writes those. It carries the moment
that it is counted from (last seen, last progress) as its watermark, so what follows from it, the
signal group for triage, follows from the record alone. A drill, `drill:<rule>`, is decided by
`tacho drill`; here it is only read: each that was missed stays so, and the next one that goes well
makes it history, not undone. So is a flood, `flood:<source>`: the stage that sees it says so, and
it is over when nobody has said so for a while.
"""

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Literal

import msgspec

from tachograph.pipeline.clock import SECOND_US, Clock, system_us, to_datetime, to_us
from tachograph.pipeline.health import FLOOD, TURNED_AWAY
from tachograph.schemas.records import Health

SOURCE, SOURCES, STAGE, DRILL = "source:", "sources:", "stage:", "drill:"
SUBJECTS = (SOURCE, SOURCES, STAGE, DRILL, FLOOD)
PIPELINE = "pipeline"

# A source that was seen in so many beats is expected to go on.
MIN_SIGHTINGS = 8
GAPS_KEPT = 16
SILENT_GAPS = 3
MIN_SILENCE_S = 60
# So many sources, and more than half of those of one reporter, are silent for one reason.
TOGETHER = 8
STALL_S = 60
# Twice as long as a stage waits before it says again that a source is above its limit.
FLOOD_OVER_S = 1_200
# A pause of the monitor's own (a suspended machine) is nobody's silence.
BLIND_S = 30
MAX_SUBJECTS = 10_000
# Of one look at the clock; the rest is decided at the next.
MAX_DECISIONS = 100
# A decision that still holds is said again before the log forgets it.
REPEAT_S = 6 * 3_600

Verdict = Literal["ok", "silent", "stalled"]
Key = tuple[str, str]  # tenant, name


class _Source(msgspec.Struct):
    """What is known of one source: when it was seen last, and how far apart that usually is."""

    seen_us: int
    reporter: Key
    sightings: int = 1
    gaps_us: deque[int] = msgspec.field(default_factory=lambda: deque(maxlen=GAPS_KEPT))

    def see(self, at_us: int, *, regular: bool) -> None:
        """Seen again; a gap that was an alert is not a normal one."""
        if at_us <= self.seen_us:
            return
        if regular:
            self.gaps_us.append(at_us - self.seen_us)
        self.seen_us = at_us
        self.sightings += 1

    def patience_us(self) -> int:
        """How long it may be quiet: three times the longest of its last gaps, a minute at least."""
        return max(SILENT_GAPS * max(self.gaps_us, default=0), MIN_SILENCE_S * SECOND_US)


class _Stage(msgspec.Struct):
    """What is known of one component: its last beat, when it last got on, and when it last sent
    senders away.
    """

    beat_us: int
    progress_us: int
    watermark: datetime | None = None
    lag: int = 0
    turned_away: int = 0
    turned_away_us: int = 0

    @property
    def read_us(self) -> int | None:
        """Up to when it has read what came; None: up to now."""
        return self.progress_us if self.lag else None

    def see(self, health: Health, at_us: int) -> None:
        """A beat. Getting on is a later watermark, or less to read than before."""
        self.beat_us = max(self.beat_us, at_us)
        lag = health.lag or 0
        later = health.watermark is not None and (
            self.watermark is None or health.watermark > self.watermark
        )
        if later or lag == 0 or lag < self.lag:
            self.progress_us = self.beat_us
        if later:
            self.watermark = health.watermark
        self.lag = lag
        turned_away = health.drops.get(TURNED_AWAY, 0)
        if turned_away != self.turned_away and turned_away:
            self.turned_away_us = self.beat_us
        self.turned_away = turned_away


class Monitor:
    """Judges the components of one partition of agent.health: a function of that log."""

    def __init__(self, started_us: int) -> None:
        # Nobody is judged for what happened while nobody watched.
        self._started_us = started_us
        self._judged_us: int | None = None
        self._sources: dict[Key, _Source] = {}
        self._stages: dict[Key, _Stage] = {}
        # By tenant: when a door last sent senders away. What they do meanwhile nobody can know.
        self._turned_us: dict[str, int] = {}
        # Subjects that are not well, and since when: as the log says, or as just decided.
        self._unwell: dict[Key, Health] = {}

    def read(self, health: Health) -> bool:
        """Take in one record; true when it is a decision that changes what holds."""
        if health.component.startswith(SUBJECTS):
            return self._decided(health)
        at_us = to_us(health.at)
        key = (health.tenant, health.component)
        stage = self._stages.get(key)
        if stage is not None:
            stage.see(health, at_us)
        elif len(self._stages) < MAX_SUBJECTS:
            stage = _Stage(at_us, at_us, health.watermark, health.lag or 0)
            stage.turned_away = health.drops.get(TURNED_AWAY, 0)
            self._stages[key] = stage
        if stage is not None:
            turned_us = max(stage.turned_away_us, self._turned_us.get(health.tenant, 0))
            self._turned_us[health.tenant] = turned_us
        for name, count in health.sources.items():
            if count > 0:
                self._see_source((health.tenant, name), key, at_us)
        return False

    def judge(self, now_us: int) -> list[Health]:
        """Decisions that are due: to be written to the log before anything follows from them."""
        if self._judged_us is not None and now_us - self._judged_us > BLIND_S * SECOND_US:
            self._started_us = now_us
        self._judged_us = now_us
        due = [
            *self._silent(now_us),
            *self._stalled(now_us),
            *self._recovered(now_us),
            *self._repeated(now_us),
        ]
        return due[:MAX_DECISIONS]

    def _see_source(self, key: Key, reporter: Key, at_us: int) -> None:
        source = self._sources.get(key)
        if source is not None:
            source.reporter = reporter
            turned_away = self._turned_us.get(key[0], 0) > source.seen_us
            unwell = (key[0], SOURCE + key[1]) in self._unwell
            source.see(at_us, regular=not (unwell or turned_away))
        elif len(self._sources) < MAX_SUBJECTS:
            self._sources[key] = _Source(at_us, reporter)

    def _decided(self, health: Health) -> bool:
        key = (health.tenant, health.component)
        before = self._unwell.get(key)
        if health.status == "ok":
            self._unwell.pop(key, None)
            return before is not None and not health.component.startswith((DRILL, FLOOD))
        self._unwell[key] = health
        return before is None or before.watermark != health.watermark

    def _silent(self, now_us: int) -> Iterable[Health]:
        due, together = self._quiet(now_us)
        for reporter, names in due.items():
            tenant, component = reporter
            if (tenant, SOURCES + component) in self._unwell:
                continue
            if reporter not in together:
                yield from (self._fell_silent((tenant, name), now_us) for name in names)
                continue
            since_us = min(self._sources[tenant, name].seen_us for name in names)
            quiet, expected = together[reporter]
            text = f"{quiet} of {expected} sources say nothing any more"
            yield _decision((tenant, SOURCES + component), "silent", now_us, since_us, text)

    def _quiet(self, now_us: int) -> tuple[dict[Key, list[str]], dict[Key, tuple[int, int]]]:
        """By reporter: sources that are silent and not known to be; and, where most of them are
        quiet, (how many are, how many there are).
        """
        due: dict[Key, list[str]] = {}
        expected: Counter[Key] = Counter()
        quiet: Counter[Key] = Counter()
        for (tenant, name), source in self._sources.items():
            # When who reports it is itself gone, nothing is known of the source.
            if source.sightings < MIN_SIGHTINGS or not self._beats(source.reporter, now_us):
                continue
            known = (tenant, SOURCE + name) in self._unwell
            since_us = max(source.seen_us, self._started_us, self._turned_us.get(tenant, 0))
            waited_us = self._read_us(source.reporter, now_us) - since_us
            expected[source.reporter] += 1
            quiet[source.reporter] += known or 2 * waited_us >= source.patience_us()
            if not known and waited_us >= source.patience_us():
                due.setdefault(source.reporter, []).append(name)
        together = {
            reporter: (count, expected[reporter])
            for reporter, count in quiet.items()
            if count >= TOGETHER and 2 * count > expected[reporter]
        }
        return due, together

    def _read_us(self, reporter: Key, now_us: int) -> int:
        """Up to when a reporter has read what came: what it is behind with may hold the source."""
        stage = self._stages.get(reporter)
        return now_us if stage is None or stage.read_us is None else stage.read_us

    def _fell_silent(self, key: Key, now_us: int) -> Health:
        source = self._sources[key]
        quiet_s = (now_us - source.seen_us) // SECOND_US
        usual_s = max(source.gaps_us, default=0) // SECOND_US
        text = f"nothing for {quiet_s} s; usually something every {usual_s} s"
        return _decision((key[0], SOURCE + key[1]), "silent", now_us, source.seen_us, text)

    def _stalled(self, now_us: int) -> Iterable[Health]:
        for (tenant, name), stage in self._stages.items():
            subject = (tenant, STAGE + name)
            if subject in self._unwell:
                continue
            if not self._beats((tenant, name), now_us):
                quiet_s = (now_us - stage.beat_us) // SECOND_US
                yield _decision(
                    subject, "stalled", now_us, stage.beat_us, f"no beat for {quiet_s} s"
                )
            elif self._stands(stage, now_us):
                text = f"{stage.lag} records behind, no progress seen"
                yield _decision(subject, "stalled", now_us, stage.progress_us, text)

    def _recovered(self, now_us: int) -> Iterable[Health]:
        for (tenant, component), decision in self._unwell.items():
            since = to_us(decision.watermark or decision.at)
            if component.startswith(DRILL):
                well = False
            elif component.startswith(FLOOD):
                well = now_us - to_us(decision.at) >= FLOOD_OVER_S * SECOND_US
            elif component.startswith(SOURCES):
                well = self._speak((tenant, component.removeprefix(SOURCES)), to_us(decision.at))
            elif component.startswith(SOURCE):
                source = self._sources.get((tenant, component.removeprefix(SOURCE)))
                well = source is not None and source.seen_us > since
            else:
                key = (tenant, component.removeprefix(STAGE))
                stage = self._stages.get(key)
                well = (
                    stage is not None
                    and stage.progress_us > since
                    and self._beats(key, now_us)
                    and not self._stands(stage, now_us)
                )
            if well:
                yield _decision((tenant, component), "ok", now_us, since, "is back")

    def _speak(self, reporter: Key, after_us: int) -> bool:
        """Whether half of the sources of a reporter have been seen since."""
        of = [s for s in self._sources.values() if s.reporter == reporter]
        return 2 * sum(source.seen_us > after_us for source in of) >= len(of)

    def _repeated(self, now_us: int) -> Iterable[Health]:
        for decision in self._unwell.values():
            if now_us - to_us(decision.at) >= REPEAT_S * SECOND_US:
                yield msgspec.structs.replace(decision, at=to_datetime(now_us))

    def _beats(self, key: Key, now_us: int) -> bool:
        stage = self._stages.get(key)
        since_us = max(stage.beat_us if stage else 0, self._started_us)
        return now_us - since_us < STALL_S * SECOND_US

    def _stands(self, stage: _Stage, now_us: int) -> bool:
        since_us = max(stage.progress_us, self._started_us)
        return stage.lag > 0 and now_us - since_us >= STALL_S * SECOND_US


def _decision(subject: Key, verdict: Verdict, now_us: int, since_us: int, text: str) -> Health:
    return Health(
        component=subject[1],
        tenant=subject[0],
        status=verdict,
        at=to_datetime(now_us),
        watermark=to_datetime(since_us),
        detail=text,
    )


class Overview:
    """The latest word of every component, for the health records that destinations get.

    Written by the monitor's thread, read by the destinations'. Empty in a process whose monitor
    owns no partition: then a destination is told only that this process is alive.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._latest: dict[Key, Health] = {}

    def update(self, health: Health) -> None:
        """Take in a record of any component."""
        key = (health.tenant, health.component)
        with self._lock:
            if key in self._latest or len(self._latest) < MAX_SUBJECTS:
                self._latest[key] = health

    def summary(self, tenant: str, now_us: int) -> Health:
        """One record of the whole pipeline: earliest watermark, sum of lags, sources, drops."""
        with self._lock:
            latest = [health for (of, _), health in self._latest.items() if of == tenant]
        beats = [h for h in latest if not h.component.startswith(SUBJECTS)]
        unwell = [h for h in latest if h.component.startswith(SUBJECTS) and h.status != "ok"]
        fresh = [h for h in beats if now_us - to_us(h.at) < STALL_S * SECOND_US]
        sources: Counter[str] = Counter()
        drops: Counter[str] = Counter()
        for health in fresh:
            sources.update(health.sources)
            drops.update({f"{health.component}.{name}": n for name, n in health.drops.items() if n})
        troubled = [f"{h.component} {h.status}" for h in [*unwell, *fresh] if h.status != "ok"]
        return Health(
            component=PIPELINE,
            tenant=tenant,
            status="degraded" if troubled else "ok",
            at=to_datetime(now_us),
            watermark=min((h.watermark for h in fresh if h.watermark), default=None),
            lag=sum(h.lag or 0 for h in fresh),
            sources=dict(sources),
            drops=dict(drops),
            detail="; ".join(troubled[:20]) or None,
        )

    def greeting(
        self, tenant: str, every_s: int, clock: Clock = system_us
    ) -> Callable[[], Health | None]:
        """For one destination: a summary when one is due, the first after `every_s` seconds."""
        sent_us = clock()

        def due() -> Health | None:
            nonlocal sent_us
            now_us = clock()
            if every_s <= 0 or now_us - sent_us < every_s * SECOND_US:
                return None
            sent_us = now_us
            return self.summary(tenant, now_us)

        return due
