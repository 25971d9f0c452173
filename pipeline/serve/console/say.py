"""What people say about alerts in the console: written to Kafka, then looked for in the store."""

import asyncio
from typing import Any, Final

import msgspec

from tachograph.pipeline.clock import Clock
from tachograph.pipeline.investigate import dispositions
from tachograph.pipeline.investigate.dispositions import Word
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.serve.asking import Asking
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.publisher import Outgoing, Publisher
from tachograph.pipeline.serve.tokens import Caller
from tachograph.schemas import codec
from tachograph.schemas.records import Disposition

STORED_WITHIN_S: Final = 4.0
_LOOK_EVERY_S: Final = 0.25
_FIELDS: Final = ("action", "disposition", "assignee", "note")


class Saying:
    """Writes what people say. Used on the event loop."""

    def __init__(self, asking: Asking, publisher: Publisher, clock_us: Clock) -> None:
        self._asking, self._publisher, self._clock_us = asking, publisher, clock_us

    async def say(
        self, caller: Caller, by: str, alert_ids: list[str], said: dict[str, Any]
    ) -> list[Disposition]:
        """Say it of alerts that the caller sees; returns once Kafka has it. Raises RequestError."""
        word = _word(said, by)
        if not 0 < len(alert_ids) <= dispositions.MAX_ALERTS:
            raise RequestError(400, f"between 1 and {dispositions.MAX_ALERTS} alerts at a time")
        rows = await self._asking.ask(caller.tenant, lambda reader: _rows(reader, alert_ids))
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
        return records

    async def shown(self, caller: Caller, records: list[Disposition]) -> bool:
        """Whether the store has it, given a moment to read it."""
        for _ in range(int(STORED_WITHIN_S / _LOOK_EVERY_S)):
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
    given = {name: said[name] for name in _FIELDS if said.get(name)}
    try:
        word = msgspec.convert({**given, "by": by}, Word)
    except msgspec.ValidationError as error:
        raise RequestError(400, str(error)) from error
    if problem := dispositions.problem_of(word):
        raise RequestError(400, problem)
    return word
