"""Where a watcher is on the alert feed: the next offset of every partition, as one short text.

`0:12,1:7` means that everything before offset 12 of partition 0 and before 7 of partition 1 has
been sent. Offsets are Kafka's own, so an id is good on any door and after any restart.
"""

import re
from collections.abc import Mapping
from typing import Final

MAX_PARTITIONS = 1_024
EARLIEST: Final = "earliest"
_PLACE: Final = re.compile(r"([0-9]{1,6}):([0-9]{1,18})")

Cursor = dict[int, int]


def encode(cursor: Mapping[int, int]) -> str:
    """The id of a position."""
    return ",".join(f"{partition}:{cursor[partition]}" for partition in sorted(cursor))


def decode(text: str) -> Cursor:
    """The position of an id; `earliest` is the oldest that is kept. Raises ValueError."""
    if text == EARLIEST:
        return {}
    places = text.split(",")
    if len(places) > MAX_PARTITIONS:
        raise ValueError("too many partitions")
    found: Cursor = {}
    for place in places:
        match = _PLACE.fullmatch(place)
        if match is None:
            raise ValueError("an id looks like 0:12,1:7")
        found[int(match[1])] = int(match[2])
    return found
