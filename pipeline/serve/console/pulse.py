"""How things stand at the head of the list, and what colleagues said lately: asked once for all who
look, so that many open consoles cost ClickHouse no more than one.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.serve.asking import Asking
from tachograph.pipeline.serve.console.rows import counts

EVERY_S: Final = 2.0
# Asking costs at most this share of one connection's time.
SHARE: Final = 0.1
TENANTS: Final = 1_000
# People's words of so many minutes, or on alerts that changed in them.
MINUTES: Final = 15
MOST: Final = 200
_SAID: Final = (
    "SELECT alert_id, status, disposition, assignee FROM tacho.alerts WHERE acted_at IS NOT NULL"
    " AND greatest(acted_at, updated_at) >= now() - toIntervalMinute({minutes:UInt16})"
    " ORDER BY greatest(acted_at, updated_at) DESC, alert_id LIMIT {most:UInt16}"
)


class Said(msgspec.Struct, frozen=True):
    """An alert as people left it."""

    alert_id: str
    status: str
    disposition: str = ""
    assignee: str = ""


class Now(msgspec.Struct, frozen=True):
    """How many wait, by severity, the gravest first; and what people said lately."""

    counts: dict[str, int]
    said: list[Said]


class _Held(msgspec.Struct):
    """An answer, or a question that is being asked."""

    asking: asyncio.Task[Now]
    until_s: float = float("inf")


class Pulse:
    """The newest answers by tenant. Used on the event loop."""

    def __init__(self, asking: Asking, now_s: Callable[[], float] = time.monotonic) -> None:
        self._asking, self._now_s = asking, now_s
        self._held: OrderedDict[str | None, _Held] = OrderedDict()

    async def of(self, tenant: str | None) -> Now:
        """How things stand for who sees this tenant (None: all). Raises RequestError 503."""
        held = self._held.get(tenant)
        if held is None or self._now_s() >= held.until_s:
            held = _Held(asyncio.create_task(self._asking.ask(tenant, _now)))
            began_s = self._now_s()
            held.asking.add_done_callback(lambda _: self._answered(held, began_s))
            self._held[tenant] = held
            while len(self._held) > TENANTS:
                self._held.popitem(last=False)
        # Who leaves does not take the answer away from others.
        return await asyncio.shield(held.asking)

    def _answered(self, held: _Held, began_s: float) -> None:
        now_s = self._now_s()
        held.until_s = now_s + max(EVERY_S, (now_s - began_s) / SHARE)


def _now(reader: Reader) -> Now:
    asked = {"minutes": str(MINUTES), "most": str(MOST)}
    return Now(counts(reader), msgspec.convert(reader.rows(_SAID, asked), list[Said]))
