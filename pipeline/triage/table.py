"""The table of entries: of two states of an entry, the one that has judged further stands.

A process that lost its partitions without knowing it may write once more behind the back of their
new owner. Its state is an older one: the log may end on it, the table must not.
"""

from collections.abc import Iterable
from typing import Any

import faust

from tachograph.schemas.codec import InvalidRecord, decode
from tachograph.schemas.fields import Record

# On every record of the changelog: the entry's last_offset in decimal.
JUDGED_HEADER = "tacho-judged"


class _Judged(Record, frozen=True):
    """How far an entry has judged, without the rest of it."""

    last_offset: int = -1


class Entries(faust.Table[bytes, bytes]):
    """Faust's table with that fence. `behind`: keys whose newest record in the log is an older
    state than the one that is held, so that the log has to be told again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.behind: set[bytes] = set()

    def apply_changelog_batch(self, batch: Iterable[Any]) -> None:
        """Called by Faust's recovery with records in the order of the log."""
        for event in batch:
            key = event.message.key
            if _stands(self.data.get(key), event.message):
                super().apply_changelog_batch((event,))
                self.behind.discard(key)
            else:
                self.behind.add(key)


def _stands(held: bytes | None, message: Any) -> bool:
    """Whether a record of the changelog replaces what is held."""
    told = dict(message.headers or ()).get(JUDGED_HEADER)
    if held is None or told is None or not told.isdigit():
        return True
    try:
        return int(told) >= decode(_Judged, held).last_offset
    except InvalidRecord:
        return True
