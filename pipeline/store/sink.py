"""Writing a batch into ClickHouse until it is there: every table it touches, then the mending.

Runs off the polling thread. A step that may go through later is repeated for ever, on a fresh
connection, with backoff and jitter; what can never go through is found by halving and becomes a
dead letter. Everything may be repeated: tables and views count a thing once.
"""

import hashlib
import time
from collections.abc import Callable, Iterator

import polars as pl
import pyarrow as pa
import tenacity

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import Clock, system_us
from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store import fold, frames, records
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.links import Links, Said, traces_of
from tachograph.pipeline.store.pending import STAGE, Pending
from tachograph.pipeline.store.twins import Twins, reports
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import DeadLetter

log = get("store.sink")

ACTIONS_TABLE = "actions_data"
LINKS_TABLE = "session_links_data"
REPORTS_TABLE = "twin_reports_data"
FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 15.0
# More refused rows in one insert are no bad rows but a fault of ours: it is tried again, loudly.
MAX_REFUSED = 100
# Of a pair noticed here: it was in no record.
_NOWHERE = records.Origin(("", -1), -1, b"")
_LETTER = {RECORD_HEADER: b"dead_letter", VERSION_HEADER: b"1"}

Connect = Callable[[], Connection]


class Stopped(RetryLater):
    """The stage ends before the batch was stored: it will be read again."""


class Sink:
    """Stores batches, one after the other.

    Used by one thread at a time; blocks as long as it takes.
    """

    def __init__(
        self,
        settings: Settings,
        stopping: Callable[[], bool],
        *,
        connect: Connect | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock: Clock = system_us,
        post: Callable[[list[DeadLetter]], None] | None = None,
        shared: Callable[[], bool] = lambda: False,
    ) -> None:
        """`shared`: whether other processes may read the second report of an action."""
        self._shared = shared
        self._settings, self._stopping = settings, stopping
        self._connect = connect or (lambda: Connection(settings.clickhouse))
        self._sleep = sleep
        self._connection: Connection | None = None
        self._post = post or self._to_kafka
        self._writer: Writer | None = None
        self._links, self._twins = Links(), Twins(clock)
        self._stale = True
        # Why the batch in hand is not stored yet, for the stage's own health.
        self.problem: str | None = None

    def forget(self) -> None:
        """Partitions came or went: what the caches say of them may be out of date. Any thread."""
        self._stale = True

    def store(self, batch: Pending) -> None:
        """Store all of the batch.

        Raises Stopped when the stage ends first, Refused for a bad setting.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(RetryLater),
            wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            stop=lambda _state: self._stopping(),
            sleep=self._sleep,
            before_sleep=self._again,
            reraise=True,
        )
        try:
            retrying(self._once, batch)
        except RetryLater as problem:
            raise Stopped(str(problem)) from problem
        self.problem = None

    def _again(self, state: tenacity.RetryCallState) -> None:
        metrics.RETRIES.labels(STAGE, "insert").inc()
        self.problem = str(state.outcome.exception()) if state.outcome else None
        log.warning("not stored yet", reason=self.problem, tries=state.attempt_number)

    def _once(self, batch: Pending) -> None:
        try:
            connection = self._connection = self._connection or self._connect()
            self._freshen(connection)
            for step in self._steps(batch, connection):
                step()
        except RetryLater:
            self._drop_connection()
            raise

    def _steps(self, batch: Pending, connection: Connection) -> Iterator[Callable[[], None]]:
        """In this order: all copies of an action stand at the same knowledge when a new one comes,
        so the one received first is shown; letters come after all that may cause them.
        """
        yield lambda: self._store_rows(batch, connection, [LINKS_TABLE])
        yield lambda: self._mend_links(batch, connection)
        yield lambda: self._store_actions(batch, connection)
        yield lambda: self._store_rows(batch, connection, sorted(batch.rows))
        yield lambda: self._mend_twins(batch, connection)
        yield lambda: self._send_letters(batch)

    def _freshen(self, connection: Connection) -> None:
        if not self._stale:
            return
        self._stale = False
        self._links.forget()
        self._twins.forget()
        for report in connection.rows(fold.recent_reports()):
            self._twins.see(*report)

    def _store_actions(self, batch: Pending, connection: Connection) -> None:
        if not batch.frames or ACTIONS_TABLE in batch.stored:
            return
        frame = frames.joined(batch.frames)
        asked = self._links.unknown(traces_of(frame))
        for keys in fold.sliced(asked):
            self._links.answer(keys, connection.rows(fold.lookup(keys)))
        frame = frames.versioned(self._links.apply(frame))
        self._insert_frame(batch, connection, frame)
        self._note_twins(batch, connection, frame)
        batch.stored.add(ACTIONS_TABLE)
        metrics.ROWS_STORED.labels("actions").inc(len(frame))

    def _insert_frame(self, batch: Pending, connection: Connection, frame: pl.DataFrame) -> None:
        def piece(begin: int, end: int) -> None:
            insert(connection, ACTIONS_TABLE, frames.arrow(frame[begin:end]))

        for at, problem in halving(len(frame), piece):
            batch.refuse_row(_NOWHERE, at, frame.row(at, named=True), problem)

    def _note_twins(self, batch: Pending, connection: Connection, frame: pl.DataFrame) -> None:
        """Pairs seen here become rows: what mends reads them there."""
        others = self._of_others(connection, reports(frame))  # may fail, and is then repeated
        seen = self._twins.pairs(frame)
        seen += [pair for report in others for pair in self._twins.see(*report)]
        batch.put(records.row_of("same_as_data", pair, _NOWHERE) for pair in seen)
        batch.twins.update({(p.tenant, p.twin_key): self._twins.places(p) for p in seen})

    def _of_others(self, connection: Connection, found: pl.DataFrame) -> list[tuple[str, ...]]:
        """What any process reported under the twin keys of these reports. First told, then asked:
        of two processes at least one finds the other's.
        """
        if found.is_empty() or not self._shared():
            return []
        insert(connection, REPORTS_TABLE, found.to_arrow())
        keys = found.select("tenant", "twin_key").unique().rows()
        return [row for some in fold.sliced(keys) for row in connection.rows(fold.reported(some))]

    def _store_rows(self, batch: Pending, connection: Connection, tables: list[str]) -> None:
        for table in tables:
            rows = batch.rows.get(table)
            if rows and table not in batch.stored:
                self._insert_rows(batch, connection, table, rows)
                batch.stored.add(table)
                metrics.ROWS_STORED.labels(table.rpartition("_")[0]).inc(len(rows))

    def _insert_rows(
        self, batch: Pending, connection: Connection, table: str, rows: list[records.Row]
    ) -> None:
        def piece(begin: int, end: int) -> None:
            insert(connection, table, records.table_of(table, rows[begin:end]))

        for at, problem in halving(len(rows), piece):
            batch.refuse(rows[at].origin, problem, rows[at].origin.value)

    def _mend_links(self, batch: Pending, connection: Connection) -> None:
        """Give stored actions what this batch's links say and they lack."""
        for link in batch.links:
            self._links.learn(link)
        for traces in fold.sliced(batch.linked_traces()):
            rows = connection.rows(fold.lookup(traces))
            said = {(row[0], row[1], row[2]): Said(*row[3:]) for row in rows}
            found = connection.rows(fold.lacking(said)) if said else []
            self._rewrite(connection, list(fold.linked(found, said)))

    def _mend_twins(self, batch: Pending, connection: Connection) -> None:
        """Show the reports of one action as one row."""
        for some in fold.sliced(list(batch.twins.values()), fold.TWINS_A_STATEMENT):
            found = connection.rows(fold.reports([key for keys in some for key in keys]))
            self._rewrite(connection, list(fold.twinned(found)))

    def _rewrite(self, connection: Connection, changes: list[fold.Change]) -> None:
        for some in fold.sliced(changes, fold.ROWS_A_STATEMENT):
            try:
                connection.command(fold.rewritten(some))
            except Refused as problem:
                # The rows stand as they were reported; holding everything up would be worse.
                metrics.DROPPED.labels(STAGE, "not_mended").inc(len(some))
                log.warning("rows are shown without what was learned of them", reason=str(problem))

    def _send_letters(self, batch: Pending) -> None:
        if batch.letters:
            self._post(batch.letters)
            batch.letters.clear()

    def _to_kafka(self, letters: list[DeadLetter]) -> None:
        writer = self._writer = self._writer or Writer(self._settings)
        for letter in letters:
            writer.send(
                records.LETTERS_TOPIC, codec.encode(letter), key=_key(letter), headers=_LETTER
            )
        writer.flush()

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close what is open."""
        self._drop_connection()


def _key(letter: DeadLetter) -> bytes:
    return f"{letter.topic}/{letter.partition}".encode()


def insert(connection: Connection, table: str, rows: pa.Table) -> None:
    """Insert an Arrow table. The token is a hash of the content: a repetition is taken once."""
    body = frames.stream(rows)
    token = hashlib.sha256(body).hexdigest()
    connection.insert(table, rows.column_names, body, token)


def halving(size: int, piece: Callable[[int, int], None]) -> list[tuple[int, str]]:
    """Insert rows [0, size) in pieces, halving those that are refused; (row, why) of bad rows.

    Raises RetryLater when so many are refused that the fault must be elsewhere.
    """
    bad: list[tuple[int, str]] = []
    todo = [(0, size)]
    while todo:
        begin, end = todo.pop()
        try:
            piece(begin, end)
        except Refused as problem:
            if end - begin > 1:
                middle = (begin + end) // 2
                todo += [(begin, middle), (middle, end)]
                continue
            bad.append((begin, str(problem)))
            if len(bad) > MAX_REFUSED:
                raise RetryLater(
                    f"more than {MAX_REFUSED} rows are refused: {problem}"
                ) from problem
    return bad
