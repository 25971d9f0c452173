"""The engine of the stream over stored actions, beside the signals that are stored."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from tachograph.detectors.across import WholeDetector
from tachograph.detectors.behaviour.rows import ASKED as MEASURED
from tachograph.detectors.language.rule import Rule, Stateless
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.limits import Limits
from tachograph.detectors.partition import Found
from tachograph.detectors.prepare import Preparation
from tachograph.detectors.signals import micros
from tachograph.pipeline.backtest.actions import PAGE_ROWS, StoredActions, time_sql
from tachograph.pipeline.backtest.compare import MAX_HELD, Comparison, Said
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.columns import quoted
from tachograph.schemas import behaviour
from tachograph.schemas.alert import Signal

MAX_REASON_CHARS = 200
# Told after each page: the moment reached, and actions judged so far.
Progress = Callable[[datetime, int], None]


class Stretch(msgspec.Struct, frozen=True):
    """From when (included) to when (excluded) signals are compared."""

    since: datetime
    until: datetime


class Outcome(msgspec.Struct, frozen=True):
    """What came of a backtest. `forgotten`: what the limits let go of, by kind."""

    actions: int
    comparison: Comparison
    forgotten: dict[str, int]


def backtest(
    rules: RuleSet,
    stretch: Stretch,
    connection: Connection,
    progress: Progress,
    *,
    page_rows: int = PAGE_ROWS,
) -> Outcome:
    """Judge the stored actions of a stretch of time by the rules, and compare with the signals that
    are stored for these rules. Raises RetryLater, Refused, ConfigError.
    """
    span = _longest(rules.rules)
    detector = WholeDetector(rules.only(rules.rules))
    columns = Preparation(rules.columns, rules.fields, rules.reference).reads
    if not behaviour.COLUMNS.keys().isdisjoint(rules.columns):
        # Measures of behaviour are made of more than what rules ask for by name.
        columns += MEASURED
    actions = StoredActions(connection, [*columns, "observed_time"], page_rows=page_rows)
    run = _Run(rules, stretch, connection, span)
    # Windows that reach in are filled before, and what must not follow is looked for after.
    begin, end = stretch.since - 2 * span, stretch.until + span
    for number, (frame, upto) in enumerate(actions.pages(begin, end)):
        run.take(detector.process(frame, [], number))
        run.take(detector.tick(_closing(upto), number))
        run.actions += frame.height
        run.settle(upto)
        progress(upto, run.actions)
    run.settle(None)
    forgotten = {kind: count for kind, count in detector.evicted().items() if count}
    return Outcome(run.actions, run.comparison, forgotten)


class _Run:
    """Both sides of a comparison, as far as they are read."""

    def __init__(
        self, rules: RuleSet, stretch: Stretch, connection: Connection, span: timedelta
    ) -> None:
        self.actions = 0
        self.comparison = Comparison()
        self._rules = {rule.meta.rule_id: rule for rule in rules.rules}
        self._stretch, self._connection, self._span = stretch, connection, span
        self._stored_until = self._settled_until = stretch.since

    def take(self, found: Found) -> None:
        """What the rules say now."""
        for signal in found.signals:
            inside = self._stretch.since <= signal.event_time < self._stretch.until
            if inside and signal.change != "retracted":
                self.comparison.say(signal.signal_id, self._said(signal))
            else:
                self.comparison.take_back(signal.signal_id)

    def _said(self, signal: Signal) -> Said:
        window = signal.witness.window
        return Said(
            signal.rule_id,
            signal.tenant,
            signal.event_time,
            signal.event_ids[0] if signal.event_ids else "",
            int(window.get("timespan_s", 0)),
            self._group(signal.rule_id, signal.partition_key, signal.group),
            signal.reason.text[:MAX_REASON_CHARS],
        )

    def _group(self, rule_id: str, place: str | None, values: Mapping[str, str]) -> tuple[str, ...]:
        """A group of a rule that reaches across partitions is of no partition key."""
        across = getattr(self._rules[rule_id], "across", False)
        ordered = (values[name] for name in sorted(values))
        return tuple(ordered) if across else (place or "", *ordered)

    def settle(self, upto: datetime | None) -> None:
        """Compare the days before which nothing changes any more; None: all."""
        if upto is None:
            self._load(self._stretch.until)
            self.comparison.settle(datetime.max.replace(tzinfo=UTC))
            return
        upto = min(upto, self._stretch.until)
        # What a signal is about begins up to a span before it; a window may move it by another.
        settled = (upto - 2 * self._span).replace(hour=0, minute=0, second=0, microsecond=0)
        if settled > self._settled_until:
            self._load(upto)
            self.comparison.settle(settled)
            self._settled_until = settled

    def _load(self, until: datetime) -> None:
        """What was said before, up to a moment."""
        if until <= self._stored_until:
            return
        rows = self._connection.rows(
            "SELECT rule_id, tenant, event_time, event_ids[1],"  # noqa: S608 - values are quoted
            " toUInt32OrZero(JSONExtractString(witness, 'window', 'timespan_s')),"
            " partition_key, `group`, reason.text FROM tacho.signals"
            f" WHERE rule_id IN ({', '.join(map(quoted, self._rules))})"
            f" AND event_time >= {time_sql(self._stored_until)} AND event_time < {time_sql(until)}"
            f" ORDER BY event_time LIMIT {MAX_HELD + 1}"
        )
        self._stored_until = until
        self.comparison.before(
            Said(rule_id, tenant, event_time.replace(tzinfo=UTC), event_id, span_s,
                 self._group(rule_id, place, group), reason[:MAX_REASON_CHARS])
            for rule_id, tenant, event_time, event_id, span_s, place, group, reason in rows
        )  # fmt: skip


def _longest(rules: Iterable[Rule]) -> timedelta:
    spans = [rule.timespan_us for rule in rules if not isinstance(rule, Stateless)]
    return timedelta(microseconds=max(spans, default=0))


def _closing(upto: datetime) -> int:
    """The watermark that closes what lies before a moment."""
    return micros(upto) + Limits().allowed_lateness_us
