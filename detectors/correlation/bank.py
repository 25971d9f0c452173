"""All correlations of one place, fed with facts of events and what matched of them.

`Engine` feeds one with its own rows; another may be fed with rows that came from other partitions.
It does not care: a group is the hash of its values, an event is known by its id.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.correlation.correlator import Correlator, CorrelatorState, CorrelatorStats
from tachograph.detectors.facts import MAX_SAID_FIELDS, FactStore, Rows, group_value
from tachograph.detectors.ids import Hasher, Words, halves
from tachograph.detectors.language.fields import FieldMap
from tachograph.detectors.language.rule import Correlation, Detection
from tachograph.detectors.language.ruleset import RuleSet
from tachograph.detectors.limits import Limits
from tachograph.detectors.links import Linked, Trace, changed_rows, linked
from tachograph.detectors.signals import SignalMaker
from tachograph.schemas.alert import Signal

Bools = npt.NDArray[np.bool_]

FORMAT = 1
SPARE_TABLES = 16


class Matched(msgspec.Struct, frozen=True):
    """Rows of a fact frame, ascending, that match one rule.

    `steps`: bit i for each step i a row matches. `late`: the row stays out of windows and is only
    stated. `gone`: the row leaves the group that its facts name, where it was before; None: all
    enter.
    """

    rows: Rows
    steps: npt.NDArray[np.int64]
    late: Bools
    gone: Bools | None = None


class Matches(msgspec.Struct, frozen=True):
    """What matched of rules that another place judges: a fact frame, and rows of it by rule."""

    facts: pl.DataFrame
    found: list[tuple[Correlation, Matched]]


class _State(msgspec.Struct, frozen=True):
    format: int
    polars: str
    seed: int
    floor_us: int | None
    facts: bytes
    # By rule id and semantic hash: a rule that asks something else starts anew.
    correlators: dict[str, CorrelatorState]


def shown_fields(detection: Detection) -> list[str]:
    """The fields that a signal shows of an event that matched."""
    return detection.fields[:MAX_SAID_FIELDS]


def said_fields(rules: Iterable[Correlation], detections: Sequence[Detection]) -> list[str]:
    """Fields that a fact frame has to show for these rules."""
    shown = (f for rule in rules for at in rule.detections for f in shown_fields(detections[at]))
    return list(dict.fromkeys(shown))


def by_fields(rules: Iterable[Correlation]) -> list[str]:
    """Fields that a fact frame has to carry whole, because these rules group by them."""
    return list(dict.fromkeys(field for rule in rules for field in rule.group_by))


def group_values(rule: Correlation, facts: pl.DataFrame, fields: FieldMap) -> pl.DataFrame:
    """The values of the rule's group-by for each row of a fact frame, as text, null where it has
    none: such a row is in no group.
    """
    return facts.select(group_value(name, fields).alias(name) for name in rule.group_by)


class CorrelatorBank:
    """Judges windows of one place. Not thread-safe, no I/O, no clock."""

    def __init__(
        self,
        rules: Sequence[Correlation],
        rule_set: RuleSet,
        *,
        fields: FieldMap | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`rules`: correlations of the rule set that are judged here."""
        self._rule_set = rule_set
        self._fields = fields or rule_set.fields
        self._limits = limits or Limits()
        self._store = FactStore()
        self._hasher = Hasher(secrets.randbits(63))
        self._correlators = {rule.meta.rule_id: self._correlator(rule) for rule in rules}
        self._floor_us: int | None = None
        # Fact frames that may be held before those that the limits let go of are looked for.
        self._tables_max = SPARE_TABLES

    def _correlator(self, rule: Correlation) -> Correlator:
        detections = self._rule_set.detections
        return Correlator(
            rule,
            {step: shown_fields(detections[at]) for step, at in enumerate(rule.detections)},
            [group_value(field, self._fields) for field in rule.group_by],
            maker=SignalMaker(rule.meta, self._rule_set.versions),
            store=self._store,
            limits=self._limits,
        )

    def judge(
        self, facts: pl.DataFrame, found: Iterable[tuple[Correlation, Matched]], revision: int
    ) -> list[Signal]:
        """Take in rows of a fact frame; what is new, revised or retracted, with this revision.

        `facts`: made by `fact_frame` with `said_fields` and `by_fields` of the rules.
        """
        if facts.is_empty():
            return []
        number = self._store.add(facts)
        high, low = halves(facts["event_id"])
        key = self._hasher.of(facts.select(pl.coalesce("twin_key", "event_id")).to_series())
        shared = {"time": facts["event_time"].to_numpy(), "high": high, "low": low, "key": key}
        out: list[Signal] = []
        evicted = self._evicted_events()
        groups: dict[tuple[object, ...], tuple[Words, Bools]] = {}
        for rule, matched in found:
            correlator = self._correlators[rule.meta.rule_id]
            by = (rule.across, *rule.group_by)
            if by not in groups:
                groups[by] = self._groups(correlator, facts)
            gid, complete = groups[by]
            whole = complete[matched.rows]
            rows = matched.rows[whole]
            columns = {name: values[rows] for name, values in shared.items()}
            columns |= {"gid": gid[rows], "steps": matched.steps[whole], "row": rows}
            columns |= {"table": np.full(len(rows), number), "blind": matched.late[whole]}
            gone = None if matched.gone is None else matched.gone[whole]
            out += correlator.process(columns, gone, revision)
        if self._evicted_events() > evicted and len(self._store.tables) > self._tables_max:
            # While the watermark stands still nothing else frees what the limits have let go of.
            self._keep_used()
        return out

    def _evicted_events(self) -> int:
        return sum(correlator.stats.evicted_events for correlator in self._correlators.values())

    def _groups(self, correlator: Correlator, table: pl.DataFrame) -> tuple[Words, Bools]:
        """Group of each row of a fact frame, and whether it has one: no group value is missing."""
        # Of a place, so that what shares a partition by chance is not one group.
        place = [] if correlator.rule.across else [pl.col("partition_key").fill_null("")]
        values = table.select(pl.col("tenant"), *place, *correlator.by)
        whole = np.ones(values.height, np.bool_)
        for column in values:
            if column.null_count():
                whole &= column.is_not_null().to_numpy()
        return self._hasher.of_rows(values), whole

    def relink(self, links: Mapping[Trace, Linked], revision: int) -> list[Signal]:
        """Sessions and agents of traces became known: judge again what fell back to the trace."""
        moved = self._relinked_tables(links)
        out: list[Signal] = []
        for correlator in self._correlators.values() if moved else ():
            out += self._relinked(correlator, moved, revision)
        return out

    def _relinked_tables(self, links: Mapping[Trace, Linked]) -> dict[int, Bools]:
        """Fill in what is known now; the rows that changed, by table."""
        moved: dict[int, Bools] = {}
        for number in self._store.waiting(links):
            table = self._store.tables[number]
            after = linked(table, links)
            mask = changed_rows(table, after)
            if mask.any():
                self._store.tables[number] = after
                moved[number] = mask
        return moved

    def _relinked(
        self, correlator: Correlator, moved: Mapping[int, Bools], revision: int
    ) -> list[Signal]:
        table_of, row_of = (correlator.ledger.column(name) for name in ("table", "row"))
        places: list[Rows] = []
        gids: list[Words] = []
        for number, mask in moved.items():
            at = np.flatnonzero(table_of == number)
            at = at[mask[row_of[at].astype(np.int64)]]
            if not len(at):
                continue
            gid, whole = self._groups(correlator, self._store.tables[number])
            rows = row_of[at]
            places.append(at[whole[rows]])
            gids.append(gid[rows][whole[rows]])
        if not places:
            return []
        return correlator.moved(np.concatenate(places), np.concatenate(gids), revision)

    def advance(self, watermark_us: int, revision: int) -> list[Signal]:  # noqa: ARG002
        """Forget what no event to come can change; what can be said only now.

        `watermark_us`: observed time that all sources reached.
        """
        floor = watermark_us - self._limits.allowed_lateness_us
        if self._floor_us is not None and floor <= self._floor_us:
            return []
        self._floor_us = floor
        for correlator in self._correlators.values():
            correlator.advance(watermark_us)
        self._keep_used()
        return []

    def _keep_used(self) -> None:
        """Forget the facts that no correlation refers to any more."""
        used: set[int] = set()
        for correlator in self._correlators.values():
            used |= set(np.unique(correlator.ledger.column("table")).tolist())
        self._store.keep(used)
        self._tables_max = 2 * len(self._store.tables) + SPARE_TABLES

    def dump(self) -> bytes:
        """The state, for `load` of a bank with the same or changed rules."""
        return msgspec.msgpack.encode(
            _State(
                format=FORMAT,
                polars=pl.__version__,
                seed=self._hasher.seed,
                floor_us=self._floor_us,
                facts=self._store.dump(),
                correlators={
                    _state_key(one.rule): one.state() for one in self._correlators.values()
                },
            )
        )

    def load(self, state: bytes) -> None:
        """Take up a dump; rules that changed in what they ask start empty.

        Raises ValueError when it is none of ours, of another format, or hashed by another Polars.
        """
        kept = msgspec.msgpack.decode(state, type=_State)
        if kept.format != FORMAT:
            raise ValueError(f"correlations of format {kept.format}, not {FORMAT}")
        if kept.polars != pl.__version__:
            raise ValueError(f"correlations hashed by polars {kept.polars}, not {pl.__version__}")
        self._hasher = Hasher(kept.seed)
        self._floor_us = kept.floor_us
        self._store.load(kept.facts)
        for correlator in self._correlators.values():
            found = kept.correlators.get(_state_key(correlator.rule))
            if found is not None:
                correlator.restore(found, kept.floor_us)

    def stats(self) -> Iterator[tuple[Correlation, CorrelatorStats]]:
        """Counts of each rule since the start."""
        for correlator in self._correlators.values():
            yield correlator.rule, correlator.stats


def _state_key(rule: Correlation) -> str:
    return f"{rule.meta.rule_id}:{rule.meta.version}"
