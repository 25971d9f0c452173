"""What people say about alerts, in the console or as JSON: written to Kafka and into the trail,
then looked for in the store.
"""

import asyncio
import re
from typing import Any, Final

import msgspec
from starlette.requests import Request

from tachograph.pipeline.clock import Clock
from tachograph.pipeline.investigate import dispositions
from tachograph.pipeline.investigate.dispositions import Word
from tachograph.pipeline.moments import who
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.serve.asking import Asking
from tachograph.pipeline.serve.audit import Audit
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.listing import ID
from tachograph.pipeline.serve.publisher import Outgoing, Publisher
from tachograph.pipeline.serve.tokens import Caller
from tachograph.schemas import codec
from tachograph.schemas.records import Disposition

_LOOK_EVERY_S: Final = 0.25
_FIELDS: Final = ("action", "disposition", "assignee", "note")
ME: Final = "me"


class Saying:
    """Writes what people say. Used on the event loop."""

    def __init__(
        self,
        asking: Asking,
        publisher: Publisher,
        audit: Audit,
        clock_us: Clock,
        *,
        stored_within_s: float,
    ) -> None:
        self._asking, self._publisher = asking, publisher
        self._audit, self._clock_us = audit, clock_us
        self._looks = int(stored_within_s / _LOOK_EVERY_S)

    async def say(
        self, request: Request, caller: Caller, alert_ids: list[str], said: dict[str, Any]
    ) -> list[Disposition]:
        """Say it of alerts that the caller sees; returns once Kafka has it. Raises RequestError."""
        by = caller.principal or who()
        word = _word(said, by)
        if not 0 < len(alert_ids) <= dispositions.MAX_ALERTS:
            raise RequestError(400, f"between 1 and {dispositions.MAX_ALERTS} alerts at a time")
        known = [one for one in alert_ids if re.match(ID, one)]
        rows = await self._asking.ask(caller.tenant, lambda reader: _rows(reader, known))
        if len(rows) != len(set(alert_ids)):
            raise RequestError(404, "no such alert; a retracted one is not shown")
        records = [dispositions.record(row, word, self._clock_us) for row in rows]
        await self._publisher.publish(
            [
                Outgoing(
                    dispositions.TOPIC, codec.encode(one), dispositions.key_of(one),
                    dispositions.HEADERS,
                )
                for one in records
            ]
        )  # fmt: skip
        await self._note(request, caller, word, records)
        return records

    async def _note(
        self, request: Request, caller: Caller, word: Word, records: list[Disposition]
    ) -> None:
        detail = word.disposition if word.action == "close" else word.assignee
        for tenant in sorted({one.tenant for one in records}):
            names = [one.alert_id for one in records if one.tenant == tenant]
            await self._audit.note(
                request, caller, word.action, "alert", names, tenant=tenant, detail=detail or ""
            )

    async def shown(self, caller: Caller, records: list[Disposition]) -> bool:
        """Whether the store has it, given a moment to read it."""
        for _ in range(self._looks):
            if await self._asking.ask(
                caller.tenant, lambda reader: dispositions.stored(reader, records)
            ):
                return True
            await asyncio.sleep(_LOOK_EVERY_S)
        return False


def _rows(reader: Reader, alert_ids: list[str]) -> list[dict[str, Any]]:
    return reader.rows(
        "SELECT alert_id, tenant, title FROM tacho.alerts WHERE alert_id IN {ids:Array(String)}",
        {"ids": alert_ids},
    )


def _word(said: dict[str, Any], by: str) -> Word:
    """What was posted as a word. Raises RequestError 400."""
    given: dict[str, Any] = {name: said[name] for name in _FIELDS if said.get(name)}
    if given.get("assignee") == ME:
        given["assignee"] = by
    try:
        word = msgspec.convert({**given, "by": by}, Word)
    except msgspec.ValidationError as error:
        raise RequestError(400, str(error)) from error
    if problem := dispositions.problem_of(word):
        raise RequestError(400, problem)
    return word
