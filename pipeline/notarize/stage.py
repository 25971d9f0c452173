"""`notarize`: a leaf for every record that evidence rests on, and signed heads of their trees.

Leaves go to ClickHouse first; then a head of each tree that grew to the file outside it, to the
topic and to its table; then offsets are committed. Killed anywhere between, the next start goes on
from the newest head and makes the same leaves again: a leaf follows from its place and bytes alone.
"""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from confluent_kafka import Message

from tachograph.pipeline import metrics
from tachograph.pipeline.clock import SECOND_US, Clock, system_us, to_datetime
from tachograph.pipeline.config_log import CONFIG_TOPIC, ConfigLog
from tachograph.pipeline.errors import ConfigError, Refused, TachoError
from tachograph.pipeline.health import HealthReporter
from tachograph.pipeline.kafka.reader import Place, Reader
from tachograph.pipeline.kafka.topics import cluster_id
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.log import get
from tachograph.pipeline.migrate import Layout
from tachograph.pipeline.notarize import records
from tachograph.pipeline.notarize.files import append_lines
from tachograph.pipeline.notarize.growing import Growing
from tachograph.pipeline.notarize.heads import (
    HEADS_TOPIC,
    edge_of,
    heads_file,
    heads_in_file,
    heads_in_topic,
    newest,
    sign_head,
)
from tachograph.pipeline.notarize.keys import Keys
from tachograph.pipeline.notarize.leaves import LOGS, Leaves
from tachograph.pipeline.notarize.merkle import BadEdge, Edge
from tachograph.pipeline.retention.classes import retention_from
from tachograph.pipeline.retention.keeper import DELETIONS_FILE, Covered, Keeper
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.pipeline.store.sink import insert
from tachograph.schemas import codec
from tachograph.schemas.records import Deletion, TreeHead

log = get("notarize")

STAGE = "notarize"
GROUP = "tacho.notarize"
READ_RECORDS = 500
READ_WAIT_S = 0.2
HEAD_EVERY_S = 10
MAX_HEAD_EVERY_S = 3_600
# A quiet tree's newest head is signed anew: whoever holds it knows that nothing came since.
ANEW_S = 3_600
# Leaves that wait for their heads: more are not held.
MAX_PENDING = 5_000
KEEPER_PLACE = ("agent.alerts", 0)
LAG_EVERY_S = 2.0


def head_every_s(environ: Mapping[str, str]) -> int:
    """TACHO_HEAD_EVERY_S: how long a record may wait for a signed head. Raises ConfigError."""
    text = environ.get("TACHO_HEAD_EVERY_S", str(HEAD_EVERY_S))
    if not text.isdecimal() or not 1 <= int(text) <= MAX_HEAD_EVERY_S:
        raise ConfigError(f"TACHO_HEAD_EVERY_S: {text!r} is no number from 1 to {MAX_HEAD_EVERY_S}")
    return int(text)


class Notary:
    """The running stage; used by one thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        environ: Mapping[str, str] | None = None,
        clock: Clock = system_us,
        now_s: Callable[[], float] = time.monotonic,
        reader: Callable[..., Reader] = Reader,
    ) -> None:
        """Raises ConfigError, RetryLater."""
        environ = os.environ if environ is None else environ
        self._settings, self._clock, self._now_s = settings, clock, now_s
        self._every_us = head_every_s(environ) * SECOND_US
        self._keys = Keys(settings.home, environ, clock=clock)
        self._keys.signing()
        self._file = heads_file(settings.home, environ)
        self._cluster = cluster_id(settings)
        self._trees: dict[Place, Growing] = {}
        self._again: list[TreeHead] = []  # heads of before, which may not have got everywhere
        self._lag_s = -LAG_EVERY_S
        self._covered: Covered = {}
        self._writer = Writer(settings)
        # Where topics appear at their first use it is there now.
        self._writer.partitions(HEADS_TOPIC)
        self._writer.partitions(CONFIG_TOPIC)
        self._connection: Connection | None = None
        self._config = ConfigLog(settings, STAGE)
        self._keeper = Keeper(
            self._config, retention_from(environ), settings.home / DELETIONS_FILE,
            Layout.from_env(environ),
        )  # fmt: skip
        self._health = HealthReporter(settings, STAGE)
        self._reader = reader(
            settings, GROUP, LOGS, on_assign=self._assigned, on_revoke=self._revoked
        )

    def _assigned(self, places: list[Place]) -> Mapping[Place, int]:
        """Go on from the newest head of each place."""
        ring = self._keys.ring()
        told = heads_in_topic(self._settings)
        every = [*heads_in_file(self._file), *told]
        known = newest(every, self._cluster, ring)
        self._note_covered(head for head in every if ring.holds(head))
        there = {(head.topic, head.partition, head.size, head.signed_at) for head in told}
        for place in places:
            head = known.get(place)
            self._trees[place] = self._continued(place, head)
            if head and (*place, head.size, head.signed_at) not in there:
                records.send(self._writer, "tree_head", head)
        self._again += [known[place] for place in places if place in known]
        return {place: self._trees[place].next_offset for place in places}

    def _note_covered(self, heads: Iterable[TreeHead]) -> None:
        for head in heads:
            tree = (head.cluster, head.topic, head.partition)
            self._covered[tree] = max(self._covered.get(tree, 0), head.next_offset)

    def _continued(self, place: Place, head: TreeHead | None) -> Growing:
        low, high = self._reader.bounds(place)
        try:
            edge = edge_of(head) if head else Edge()
        except BadEdge as error:
            raise Refused(f"the newest head of {place[0]}/{place[1]}: {error}") from error
        tree = Growing(
            place=place,
            leaves=Leaves(place),
            edge=edge,
            next_offset=head.next_offset if head else 0,
            signed_us=self._clock(),
        )
        if high < tree.next_offset:
            raise Refused(
                f"{place[0]}/{place[1]} ends at {high}, but its tree covers all before"
                f" {tree.next_offset}: the topic was made anew, or its broker lost records"
            )
        if low > tree.next_offset:
            log.warning("records were gone before they were notarized", topic=place[0],
                        partition=place[1], first=tree.next_offset, last=low - 1)  # fmt: skip
            tree.skip_to(low, self._clock())
        return tree

    def _revoked(self, places: list[Place]) -> None:
        try:
            self._seal([self._trees[place] for place in places if place in self._trees])
        finally:
            for place in places:
                self._trees.pop(place, None)

    def round(self) -> int:
        """Read, and sign what is due; the number of records read. Raises RetryLater or Refused:
        what has no head yet is read again.
        """
        messages = self._reader.read(READ_RECORDS, READ_WAIT_S)
        now_us = self._clock()
        for message in messages:
            self._take(message, now_us)
        full = sum(len(tree.pending) for tree in self._trees.values()) >= MAX_PENDING
        due = [
            tree
            for tree in self._trees.values()
            if (full and tree.pending)
            or tree.due(now_us, every_us=self._every_us, anew_us=ANEW_S * SECOND_US)
        ]
        self._seal(due)
        self._keep(now_us)
        self._tell()
        return len(messages)

    def _take(self, message: Message, now_us: int) -> None:
        place = (message.topic() or "", message.partition() or 0)
        metrics.RECORDS_READ.labels(STAGE, place[0]).inc()
        tree = self._trees.get(place)
        if tree is not None:
            tree.take(message.offset() or 0, message.value(), now_us)

    def _seal(self, trees: Iterable[Growing]) -> None:
        """Store leaves, then sign heads and put them everywhere, then commit."""
        chosen = list(trees)
        if not chosen and not self._again:
            return
        with metrics.BATCH_SECONDS.labels(STAGE).time():
            self._store_leaves(chosen)
            heads = self._signed(chosen)
            for head in heads:
                records.send(self._writer, "tree_head", head)
            self._writer.flush()
            if told := [*self._again, *heads]:
                insert(self._clickhouse(), records.HEADS_TABLE, records.head_rows(told))
            self._again = []
            self._note_covered(heads)
            self._reader.commit({tree.place: tree.next_offset for tree in chosen})
        for tree in chosen:
            for kind, count in Counter(placed.leaf.kind for placed in tree.pending).items():
                metrics.LEAVES.labels(kind).inc(count)
            tree.pending.clear()

    def _keep(self, now_us: int) -> None:
        """Retention and holds: one notary sees to them, the owner of this place."""
        if KEEPER_PLACE not in self._trees or not self._keeper.due(now_us):
            return
        self._keeper.step(
            self._clickhouse(), self._covered, self._keys.signing(), self._send_deletion, now_us
        )

    def _send_deletion(self, note: Deletion) -> None:
        records.send(self._writer, "deletion", note)
        self._writer.flush()

    def _store_leaves(self, trees: list[Growing]) -> None:
        pending = [placed for tree in trees for placed in tree.pending]
        if pending:
            rows = records.leaf_rows(self._cluster, pending)
            insert(self._clickhouse(), records.LEAVES_TABLE, rows)

    def _signed(self, trees: list[Growing]) -> list[TreeHead]:
        """New heads, on the disk."""
        key, now_us = self._keys.signing(), self._clock()
        heads = []
        for tree in trees:
            at = to_datetime(now_us)
            head = sign_head(
                key, self._cluster, tree.place, tree.edge, next_offset=tree.next_offset, at=at
            )
            heads.append(head)
            tree.signed_us = now_us
        if heads:
            append_lines(self._file, [codec.encode(head) for head in heads])
            metrics.TREE_HEADS.inc(len(heads))
        return heads

    def _clickhouse(self) -> Connection:
        self._connection = self._connection or Connection(self._settings.clickhouse)
        return self._connection

    def _tell(self) -> None:
        now_s = self._now_s()
        if now_s - self._lag_s < LAG_EVERY_S:
            return
        self._lag_s = now_s
        lag: Counter[str] = Counter()
        for (topic, _), behind in self._reader.lag().items():
            lag[topic] += behind
        for topic, behind in lag.items():
            metrics.LAG.labels(STAGE, topic).set(behind)
        self._health.beat(lag=sum(lag.values()))

    def close(self) -> None:
        """Sign what is read, leave the group."""
        try:
            self._seal([tree for tree in self._trees.values() if tree.pending])
        except TachoError as problem:
            log.warning("left for the next start", reason=str(problem))
        finally:
            self._trees.clear()
            self._health.close()
            self._reader.close()
            self._config.close()
            if self._connection is not None:
                self._connection.close()


def run(settings: Settings, stop: threading.Event) -> None:
    """Run until `stop`. Raises RetryLater (start again from the newest heads) or Refused."""
    notary = Notary(settings)
    try:
        while not stop.is_set():
            notary.round()
    finally:
        notary.close()
