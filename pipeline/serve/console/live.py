"""`/console/live`: the feed as lines of the list, rendered once for all who watch."""

from collections import OrderedDict
from typing import Final

import msgspec
from starlette.datastructures import QueryParams

from tachograph.pipeline.serve.console.render import text_of
from tachograph.pipeline.serve.console.rows import Live, wanted_of
from tachograph.pipeline.serve.feed import Item
from tachograph.pipeline.serve.walk import View

# Lines kept for others who watch.
KEPT: Final = 1_000
_DECODER: Final = msgspec.json.Decoder(Live)


class Lines:
    """Items of the feed as lines. Used on the event loop."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, int], tuple[Live, bytes] | None] = OrderedDict()

    def view(self, query: QueryParams, tenant: str | None) -> View:
        """What a watcher of that query is shown."""
        wanted = wanted_of(query)

        def line(item: Item) -> bytes | None:
            if item.facts is None or (tenant is not None and item.facts.tenant != tenant):
                return None
            found = self._line(item)
            return found[1] if found is not None and wanted(found[0]) else None

        return line

    def _line(self, item: Item) -> tuple[Live, bytes] | None:
        place = (item.partition, item.offset)
        if place in self._kept:
            return self._kept[place]
        found = self._kept[place] = _rendered(item.line)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return found


def _rendered(line: bytes) -> tuple[Live, bytes] | None:
    try:
        alert = _DECODER.decode(line)
    except msgspec.MsgspecError:
        return None
    text = text_of("row.html", row=alert.row, is_live=True)
    return alert, " ".join(text.split()).encode()
