"""Where a record that was put back first lay: a header of `tacho replay`, read by `normalize`.

An action whose producer gave it no id is known by its place in the log. Put back it lies elsewhere,
so it brings the first place along, in its topic: partition/offset, with /index where it was one
item of the record that lies there. Who forges it gains nothing: ids are of content and time too.
"""

import re
from collections.abc import Mapping
from typing import Final

from tachograph.schemas.records import DeadLetter

REPLAYED: Final = "tacho-replayed"
_PLACE: Final = re.compile(r"\d{1,10}/\d{1,19}(/\d{1,10})?", re.ASCII)


def first_place(letter: DeadLetter) -> str:
    """Where what the letter holds first lay."""
    said = letter.headers.get(REPLAYED, "")
    place = said if _PLACE.fullmatch(said) else f"{letter.partition}/{letter.offset}"
    return place if letter.index is None or _of_item(place) else f"{place}/{letter.index}"


def place_of(headers: Mapping[str, bytes]) -> str | None:
    """What the header of a record says; None: it was not put back."""
    said = headers.get(REPLAYED, b"").decode("ascii", "replace")
    return said if _PLACE.fullmatch(said) else None


def item_of(place: str, index: int) -> str:
    """Where an item of a record that was put back first lay."""
    return place if _of_item(place) and index == 0 else f"{place}/{index}"


def _of_item(place: str) -> bool:
    return place.count("/") > 1
