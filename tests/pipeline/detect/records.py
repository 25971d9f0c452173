"""Records of a log, as much of a Kafka message as a shard looks at."""

from collections.abc import Sequence

from tachograph.detectors.partition import Found
from tachograph.pipeline.detect.catch_up import CatchUp
from tachograph.pipeline.detect.judges import REVISION_SHIFT
from tachograph.pipeline.detect.shard import Shard
from tachograph.schemas.alert import Signal, SignalGroup
from tachograph.schemas.contracts import RECORD_HEADER

PLACE = ("agent.actions", 0)


class Record:
    """One record."""

    def __init__(self, offset: int, kind: bytes, value: bytes) -> None:
        self._offset, self.kind, self._value = offset, kind, value

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return [(RECORD_HEADER, self.kind)]

    def topic(self) -> str:
        return PLACE[0]

    def partition(self) -> int:
        return PLACE[1]


class Standing:
    """What stands for those who read: the newest revision of every signal and group."""

    def __init__(self) -> None:
        self.newest: dict[str, Signal] = {}
        self._groups: dict[str, SignalGroup] = {}

    def take(self, shard: Shard, records: Sequence[Record]) -> None:
        """What the shard says of the records, judged as it would judge one reading."""
        self.note(shard.process(records))  # type: ignore[arg-type]

    def note(self, found: Sequence[Found]) -> None:
        """What was said."""
        for signal in (signal for one in found for signal in one.signals):
            known = self.newest.get(signal.signal_id)
            if known is None or known.revision <= signal.revision:
                self.newest[signal.signal_id] = signal
        for group in (group for one in found for group in one.groups):
            said = self._groups.get(group.group_id)
            if said is None or said.revision <= group.revision:
                self._groups[group.group_id] = group

    def signals(self) -> dict[str, tuple[object, ...]]:
        return {
            key: (s.rule_id, s.event_time, s.event_ids, s.session_id, s.entity)
            for key, s in self.newest.items()
            if s.change != "retracted"
        }

    def groups(self) -> set[str]:
        return {key for key, group in self._groups.items() if group.count}

    def grouped(self) -> dict[str, int]:
        """Signals that the groups count, by rule."""
        found: dict[str, int] = {}
        for group in self._groups.values():
            found[group.rule_id] = found.get(group.rule_id, 0) + group.count
        return {rule: count for rule, count in found.items() if count}


def catch_up(shard: Shard, log: Sequence[Record], index: int) -> list[Found]:
    """Read the log again as the stage does for a shard that is behind."""
    again = CatchUp(shard.judge, shard.judged_by)
    found: list[Found] = []
    if again.needed:
        start = shard.judge.milestones.before(again.start_us) or 0
        for record in log[start : shard.next_offset]:
            again.take(record.kind, record.value())
            found += again.judge(record.offset() << REVISION_SHIFT)
    found += again.finish(max(0, shard.next_offset - 1) << REVISION_SHIFT | index)
    shard.caught_up()
    return found
