"""The steps of a change: nobody works on the topic, keep what it holds, make it anew, lay what was
kept, and say that all of it was judged and stored.

Whatever instant it is stopped at, the same command goes on: before the plan is on disk nothing was
taken from Kafka; after it the topic is made anew from what was kept, as often as it takes, until
the new number is announced. In between the topic is announced as being made, so that no stage
starts on it. What the broker will not have deleted is left as it is, and no change is under way.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourceType,
)

from tachograph.pipeline.detect.checkpoints import Checkpoints
from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.kafka.generations import UNDER_WAY, Generation, announce, announced
from tachograph.pipeline.kafka.groups import COORDINATOR_MOVES, READERS, unread
from tachograph.pipeline.kafka.reader import SILENT, headers_of, mapped
from tachograph.pipeline.kafka.topics import cluster_id
from tachograph.pipeline.kafka.whole import bounds, whole_partition
from tachograph.pipeline.kafka.writer import Writer
from tachograph.pipeline.repartition.layout import Kept, known, laid
from tachograph.pipeline.repartition.spool import Plan, Spool
from tachograph.pipeline.settings import Settings

TOPIC = "agent.actions"
NAME = "tacho.repartition"
WRITER, JUDGE = "tacho.normalize", "detect"
MOST_PARTITIONS = 1_000
CALL_S = 30.0
WITHIN_S = 120.0
LOOK_S = 0.2
FLUSH_EVERY = 2_000
_ALL = 2**62
# Of the answers to a deletion: the topic stays.
_WILL_NOT = {
    KafkaError.TOPIC_DELETION_DISABLED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.POLICY_VIOLATION,
    KafkaError.UNSUPPORTED_VERSION,
    KafkaError._UNSUPPORTED_FEATURE,
}

Say = Callable[[str], None]


class Moving:
    """One change of the number of partitions. Blocks; raises Refused, ConfigError, RetryLater."""

    def __init__(self, settings: Settings, say: Say) -> None:
        self._settings, self._say = settings, say
        config = {**settings.kafka.client_config(), "logger": SILENT}
        self._admin = AdminClient(config)
        self._writer = Writer(settings)
        self._spool = Spool(settings.home / "repartition")

    def to(self, partitions: int) -> Plan:
        """Do all of it, or what is left of a change that was begun; what was done."""
        plan = self._under_way(partitions)
        self._nobody_works(all_read=plan is None)
        if plan is None:
            plan = self._begun(partitions)
        if self._announced() != plan.generation:
            self._make_anew(plan)
            self._lay(plan)
            # Last: until then whoever starts stops.
            self._announce(plan.generation)
        self._spool.end()
        return plan

    def _under_way(self, partitions: int) -> Plan | None:
        """The plan of a change that was begun; None: there is none, or nothing was taken yet."""
        plan = self._spool.plan()
        if plan is None:
            return None
        if plan.cluster == cluster_id(self._settings):
            if self._announced() == plan.old:
                return None
            if plan.after == partitions:
                return plan
        raise ConfigError(
            f"a change to {plan.after} partitions was begun and is not finished"
            f" ({self._spool.folder}): go on with --partitions {plan.after}, on the same Kafka"
        )

    def _begun(self, partitions: int) -> Plan:
        """The plan of a change that is under way: the old topic is no more."""
        plan, ends = self._kept(partitions)
        self._spool.begin(plan)
        self._announce(UNDER_WAY)
        try:
            self._still(ends)
            self._delete()
        except Refused as problem:
            self._announce(plan.old)
            self._spool.end()
            raise Refused(f"{problem}; nothing is changed") from problem
        return plan

    def _still(self, ends: Mapping[int, int]) -> None:
        """Keeping takes a while: who was started meanwhile wrote what was not kept."""
        try:
            self._nobody_works(all_read=False)
            found = self._ends(len(ends))
        except RetryLater as problem:
            raise Refused(str(problem)) from problem
        if found != ends:
            raise Refused(
                f"{TOPIC} was written to while it was kept: keep `tacho normalize` stopped and try"
                " again"
            )

    def _announced(self) -> Generation | None:
        return announced(self._settings, NAME, self._writer).get(TOPIC)

    def _announce(self, generation: Generation) -> None:
        announce(self._writer, TOPIC, *generation)
        self._writer.flush()

    def _nobody_works(self, *, all_read: bool) -> None:
        """Those who write and read the topic have stopped, and `all_read`: nothing is unread."""
        groups = (WRITER, *READERS[TOPIC])
        # Asked first: whoever asks for members of a group whose coordinator is still loading ends.
        backlog = unread(self._settings, {TOPIC: READERS[TOPIC]})
        if not all_read:
            backlog = {}
        running = [group for group in groups if self._has_members(group)]
        if WRITER in running:
            raise Refused("`tacho normalize` runs: stop it first. Doors may go on, nothing is lost")
        for (group, _), count in backlog.items():
            stage = group.removeprefix("tacho.")
            raise Refused(
                f"`tacho {stage}` has {count:,} records of {TOPIC} to read: let it run until it"
                " has read them, then stop it and try again"
            )
        if running:
            names = " and ".join(f"`tacho {group.removeprefix('tacho.')}`" for group in running)
            raise Refused(f"{names} {'runs' if len(running) == 1 else 'run'}: stop every process")

    def _has_members(self, group: str) -> bool:
        [asked] = self._admin.describe_consumer_groups([group], request_timeout=CALL_S).values()
        try:
            return bool(asked.result(CALL_S).members)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return False
            raise mapped(error.args[0], f"group {group}") from error

    def _kept(self, partitions: int) -> tuple[Plan, dict[int, int]]:
        """The plan, with everything it needs on disk, and where the old partitions ended."""
        before = self._announced()
        there = self._partitions()
        if there is None:
            made = f"`tacho topics --create --partitions {partitions}` makes it"
            raise Refused(f"{TOPIC} is not there yet: {made}")
        if before is None:
            raise Refused(
                f"no stage has written {TOPIC} yet: delete the topic, and make it anew with"
                f" `tacho topics --create --partitions {partitions}`"
            )
        if before == UNDER_WAY:
            raise Refused(
                f"a change of {TOPIC} was begun with another home than"
                f" {self._settings.home}, where its records are: go on there"
            )
        if there != before.partitions:
            raise Refused(
                f"{TOPIC} has {there} partitions and {before.partitions} were announced: make it"
                " anew with the old number first"
            )
        if not before.partitions < partitions <= MOST_PARTITIONS:
            raise ConfigError(
                f"--partitions: {TOPIC} has {before.partitions} and may have more, up to"
                f" {MOST_PARTITIONS}"
            )
        records, ends = 0, self._ends(before.partitions)
        for partition in range(before.partitions):
            self._say(f"Keeping {TOPIC}/{partition} …")
            records += self._spool.keep(partition, self._old(partition))
        plan = Plan(
            topic=TOPIC,
            cluster=cluster_id(self._settings),
            before=before.partitions,
            after=partitions,
            # Above all offsets there were, in this generation and those before.
            base=before.base + max(ends.values()),
            base_before=before.base,
            records=records,
            replicas=self._replicas(),
            config=self._config(),
        )
        return plan, ends

    def _old(self, partition: int) -> Iterator[Kept]:
        messages = whole_partition(self._settings, NAME, TOPIC, partition, at_most=_ALL)
        yield from map(known, map(_kept_of, messages))

    def _ends(self, partitions: int) -> dict[int, int]:
        consumer = self._consumer(NAME)
        try:
            return {
                number: bounds(consumer, TopicPartition(TOPIC, number))[1]
                for number in range(partitions)
            }
        except KafkaException as error:
            raise mapped(error.args[0], TOPIC) from error
        finally:
            consumer.close()

    def _replicas(self) -> int:
        found = self._admin.list_topics(timeout=CALL_S).topics[TOPIC].partitions
        return min(len(one.replicas) for one in found.values())

    def _config(self) -> dict[str, str]:
        """What was set for the topic, by its contract and since."""
        [asked] = self._admin.describe_configs([ConfigResource(ResourceType.TOPIC, TOPIC)]).values()
        try:
            found = asked.result(CALL_S)
        except KafkaException as error:
            raise mapped(error.args[0], f"settings of {TOPIC}") from error
        own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        return {name: entry.value for name, entry in found.items() if entry.source == own}

    def _make_anew(self, plan: Plan) -> None:
        self._say(f"Making {TOPIC} anew with {plan.after} partitions …")
        self._delete()
        end_s = time.monotonic() + WITHIN_S
        topic = NewTopic(TOPIC, plan.after, plan.replicas, config=plan.config)
        while self._partitions() != plan.after:
            self._asked(self._admin.create_topics([topic], operation_timeout=CALL_S))
            _wait(end_s, f"{TOPIC} is still being made")
        # What was kept of states are those of the old places.
        Checkpoints(self._settings, JUDGE, self._writer).forget(TOPIC)
        self._writer.flush()

    def _delete(self) -> None:
        end_s = time.monotonic() + WITHIN_S
        while self._partitions() is not None:
            self._asked(self._admin.delete_topics([TOPIC], operation_timeout=CALL_S))
            _wait(end_s, f"{TOPIC} is still being deleted")

    def _asked(self, futures: Mapping[Any, "Future[Any]"]) -> None:
        """Wait for an answer; that it is on its way already, or there, is none to stop for."""
        for future in futures.values():
            try:
                future.result(CALL_S)
            except KafkaException as error:
                code = error.args[0].code()
                if code in _WILL_NOT:
                    raise Refused(f"{TOPIC}: {error.args[0].str()}") from error
                if code not in (
                    KafkaError.TOPIC_ALREADY_EXISTS,
                    KafkaError.UNKNOWN_TOPIC_OR_PART,
                    KafkaError._TIMED_OUT,
                ):
                    raise mapped(error.args[0], TOPIC) from error
            except FutureTimeout:
                continue

    def _partitions(self) -> int | None:
        """How many the topic has; None: it is not there."""
        try:
            found = self._admin.list_topics(timeout=CALL_S).topics.get(TOPIC)
        except KafkaException as error:
            raise mapped(error.args[0], TOPIC) from error
        return len(found.partitions) if found is not None else None

    def _lay(self, plan: Plan) -> None:
        self._say(f"Laying {plan.records:,} records …")
        olds = [self._spool.records(number) for number in range(plan.before)]
        for number, record in enumerate(laid(olds, plan.after), 1):
            self._writer.send(
                TOPIC,
                record.value,
                partition=record.partition,
                headers=record.headers,
                timestamp_ms=record.at_ms,
            )
            if number % FLUSH_EVERY == 0:
                self._writer.flush()
        self._writer.flush()
        ends = self._ends(plan.after)
        for group in READERS[TOPIC]:
            self._commit(group, ends)

    def _commit(self, group: str, ends: dict[int, int]) -> None:
        """What was laid is what the group had read. As a reader that never joins."""
        places = [TopicPartition(TOPIC, number, end) for number, end in ends.items()]
        consumer = self._consumer(group)
        end_s = time.monotonic() + WITHIN_S
        try:
            while True:
                try:
                    done = consumer.commit(offsets=places, asynchronous=False)
                    problem = next((one.error for one in done if one.error), None)
                except KafkaException as error:
                    problem = error.args[0]
                if problem is None:
                    return
                if problem.code() not in COORDINATOR_MOVES:
                    raise mapped(problem, f"group {group}")
                _wait(end_s, f"group {group} takes no offsets")
        finally:
            consumer.close()

    def _consumer(self, group: str) -> Consumer:
        config = {
            **self._settings.kafka.client_config(),
            "group.id": group,
            "enable.auto.commit": False,
            "logger": SILENT,
        }
        return Consumer(config)


def _kept_of(message: Message) -> Kept:
    return Kept(message.value() or b"", headers_of(message), message.timestamp()[1])


def _wait(end_s: float, why: str) -> None:
    if time.monotonic() >= end_s:
        raise RetryLater(f"{why} after {WITHIN_S:.0f} s")
    time.sleep(LOOK_S)
