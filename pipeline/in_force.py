"""Rule sets and reference data as agent.config says them: published, and read back.

What a person activates is compiled first: what cannot be honoured is refused and never reaches the
log. What `detect` starts with is activated too, once, so that all its processes judge alike.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec

from tachograph.detectors.in_force import LONG_AGO_US, Change, Period, Subject, Timeline
from tachograph.detectors.language.bundle import Bundle
from tachograph.detectors.language.compiled import RuleErrors, RuleSet
from tachograph.detectors.plan import Plan
from tachograph.detectors.reference.reference import Reference
from tachograph.pipeline.clock import Clock, system_us, to_datetime, to_us
from tachograph.pipeline.config_log import (
    CONFIG_TOPIC,
    EVERY_TENANT,
    ConfigLog,
    Said,
    content_hash,
    publish,
)
from tachograph.pipeline.errors import ConfigError, Refused
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.models.model_log import ModelLog
from tachograph.pipeline.rule_cache import compile_kept
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.silences import SilenceLog
from tachograph.schemas.records import Activation

log = get("in_force")
T = TypeVar("T")

NAME: Final = "detect"
# So far ahead an activation has to be, that everybody has read it before it holds.
AHEAD: Final = timedelta(seconds=10)
# So far ahead it is when nobody says for when.
USUALLY: Final = timedelta(seconds=15)
# What was there from the beginning holds from here on.
BEGINNING: Final = to_datetime(0)
# Of the plans that an owner before may have judged by, so many of the newest are looked at.
MAX_PLANS_BACK: Final = 4
BY_START: Final = "detect, at its start"


class Content(msgspec.Struct, frozen=True):
    """A rule set and reference data, packed, under the hashes that the log calls them by."""

    rules: bytes
    reference: bytes

    @classmethod
    def of(cls, bundle: Bundle, reference: Reference) -> "Content":
        return cls(bundle.encode(), reference.encode())

    def hashes(self) -> dict[Subject, str]:
        return {"rules": content_hash(self.rules), "reference": content_hash(self.reference)}


def effective(at: datetime | None, clock: Clock) -> datetime:
    """The time for which something is to be activated. Raises ConfigError when it is too near."""
    now = to_datetime(clock())
    if at is None:
        return now + USUALLY
    if at < now + AHEAD:
        raise ConfigError(
            f"--at {at.isoformat()}: an activation is said at least {AHEAD.seconds} s ahead, so"
            f" that all processes have read it: {(now + AHEAD).isoformat(timespec='seconds')} at"
            " the earliest"
        )
    return at


def activate(
    writer: Writer,
    content: Content,
    subjects: Iterable[Subject],
    *,
    from_: datetime,
    by: str,
    note: str | None = None,
) -> None:
    """Say that contents hold from a time on; it counts once the writer is flushed."""
    hashes = content.hashes()
    for subject in subjects:
        activation = Activation(
            subject=subject,
            name=NAME,
            tenant=EVERY_TENANT,
            content_hash=hashes[subject],
            effective_from=from_,
            location=f"agent.config/{hashes[subject]}",
            by=by,
            note=note,
        )
        publish(writer, activation, getattr(content, subject))


def ours(said: Iterable[Said]) -> list[Said]:
    """Those that say what `detect` judges by."""
    return [
        one
        for one in said
        if one.activation.subject in ("rules", "reference")
        and (one.activation.tenant, one.activation.name) == (EVERY_TENANT, NAME)
    ]


def timeline_of(said: Iterable[Said]) -> Timeline | None:
    """What is in force when; None while nothing was said from the beginning on."""
    changes = [_change(one) for one in ours(said)]
    first = {c.subject: c.content for c in sorted(changes) if c.from_us <= to_us(BEGINNING)}
    if first.keys() != {"rules", "reference"}:
        return None
    start = Period(LONG_AGO_US, first["rules"], first["reference"])
    return Timeline.of([c for c in changes if c.from_us > to_us(BEGINNING)], start)


def _change(said: Said) -> Change:
    one = said.activation
    subject: Subject = "rules" if one.subject == "rules" else "reference"
    return Change(to_us(one.effective_from), said.offset, subject, one.content_hash)


def declared_anew(said: Iterable[Said], content: Content) -> list[Subject]:
    """Of what a process starts with, that which was not what one started with last."""
    last: dict[str, str] = {}
    for one in ours(said):
        if one.activation.by == BY_START:
            last[one.activation.subject] = one.activation.content_hash
    return [subject for subject, name in content.hashes().items() if last.get(subject) != name]


class InForce:
    """What a process judges by, as the log says it. Used by one thread.

    What it was started with is activated for all, if nothing was before or the process before was
    started with something else.
    """

    def __init__(
        self,
        settings: Settings,
        writer: Writer,
        content: Content | None = None,
        clock: Clock = system_us,
    ) -> None:
        """`content` compiles; None: nothing is said, only read. Blocks until the log is read.
        Raises RetryLater, Refused.
        """
        self._clock, self._home = clock, settings.home
        writer.partitions(CONFIG_TOPIC)
        self._config = ConfigLog(settings, NAME)
        self.silences = SilenceLog()
        self.models = ModelLog(self._config.content, clock)
        self._said = self._noted(self._config.whole())
        if content is not None:
            self._declare(writer, content)
        self._compiled: dict[tuple[str, str], RuleSet] = {}
        # Contents that cannot be used, and why: what was in force before them stays so.
        self.refused: dict[str, str] = {}
        self.plan = self._plan(LONG_AGO_US)

    def _declare(self, writer: Writer, content: Content) -> None:
        first = timeline_of(self._said) is None
        subjects: list[Subject] = ["rules", "reference"] if first else []
        subjects = subjects or declared_anew(self._said, content)
        if not subjects:
            return
        from_ = BEGINNING if first else to_datetime(self._clock()) + USUALLY
        activate(writer, content, subjects, from_=from_, by=BY_START)
        writer.flush()
        log.info("activated", subjects=subjects, effective_from=from_.isoformat())
        self._said += self._noted(self._config.whole())

    def _noted(self, said: Sequence[Said]) -> list[Said]:
        """What changes the plan; silences and models are noted beside it."""
        self.silences.note(said)
        self.models.note(said)
        return ours(said)

    def news(self) -> Plan | None:
        """Another plan if the log says so; `silences` and `models` are as it says. Quick, save
        when there is something to compile.
        """
        found = self._noted(self._config.news())
        if not found:
            return None
        self._said += found
        before, self.plan = self.plan, self._plan(self.plan.timeline.known_us)
        return self.plan if self.plan.timeline.periods != before.timeline.periods else None

    @property
    def changes(self) -> int:
        """How many activations there have been: what follows from a later one outranks what
        followed from an earlier one.
        """
        return len(self._said)

    @property
    def newest(self) -> int:
        """Offset in agent.config of the newest activation that is known."""
        return self._said[-1].offset if self._said else -1

    def without_past(self, since_us: int) -> Plan | None:
        """The plan without sets that were over before an observed time, if there are such."""
        if self.plan.timeline.since(since_us).periods == self.plan.timeline.periods:
            return None
        self.plan = self._plan(since_us)
        return self.plan

    def plans_since(self, changes: int) -> list[Plan]:
        """What was judged by when there had been so many activations, and by each more since, but
        the plan of now: without those whose contents are not there any more.
        """
        found: list[Plan] = []
        for count in range(changes, self.changes):
            timeline = timeline_of(self._said[:count])
            if timeline is None or (found and timeline.periods == found[-1].timeline.periods):
                continue
            try:
                found.append(self._compile(timeline.since(self.plan.timeline.known_us)))
            except ValueError as error:
                log.warning("a plan of before is gone", changes=count, reason=str(error))
        return found[:1] + found[1:][-MAX_PLANS_BACK:]

    def _compile(self, timeline: Timeline) -> Plan:
        return Plan(timeline, {p: self._rules(p) for p in timeline.periods})

    def _plan(self, since_us: int) -> Plan:
        """Compile what is in force since a time; what cannot be used counts as not said."""
        while True:
            usable = [o for o in self._said if o.activation.content_hash not in self.refused]
            timeline = timeline_of(usable)
            if timeline is None:
                raise Refused(
                    f"what is in force cannot be used: {'; '.join(self.refused.values())}"
                )
            timeline = timeline.since(since_us)
            try:
                return self._compile(timeline)
            except _Unusable as problem:
                self.refused[problem.content] = str(problem)
                log.warning("activation refused: what was in force stays", reason=str(problem))

    def _rules(self, period: Period) -> RuleSet:
        key = (period.rules, period.reference)
        if key not in self._compiled:
            reference = self._content(period.reference, Reference.decode)
            bundle = self._content(period.rules, Bundle.decode)
            try:
                self._compiled[key] = compile_kept(bundle, reference=reference, home=self._home)
            except RuleErrors as error:
                raise _Unusable(period.rules, str(error)) from error
        return self._compiled[key]

    def _content(self, name: str, decode: Callable[[bytes], T]) -> T:
        packed = self._config.content(name)
        if packed is None:
            raise _Unusable(name, "its content is not in the log")
        try:
            return decode(packed)
        except ValueError as error:
            raise _Unusable(name, str(error)) from error

    def close(self) -> None:
        """Let the broker go."""
        self._config.close()


class _Unusable(ValueError):
    """A content that no rules can be made of."""

    def __init__(self, content: str, why: str) -> None:
        self.content = content
        super().__init__(f"{content[:12]}: {why}")
