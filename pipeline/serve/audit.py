"""Who did and looked at what: written to agent.audit before it is shown, so that nothing is seen
that is not written down.
"""

from collections.abc import Iterable
from typing import Any, Final

from starlette.requests import HTTPConnection

from tachograph.pipeline.clock import Clock, to_datetime
from tachograph.pipeline.moments import who
from tachograph.pipeline.serve.gate import address_of
from tachograph.pipeline.serve.publisher import Outgoing, Publisher
from tachograph.pipeline.serve.tokens import Caller
from tachograph.schemas import codec
from tachograph.schemas.contracts import RECORD_HEADER, VERSION_HEADER
from tachograph.schemas.records import Access

TOPIC: Final = "agent.audit"
MAX_CHARS: Final = 512
_HEADERS: Final = {RECORD_HEADER: b"access", VERSION_HEADER: b"1"}


class Audit:
    """The trail. Used on the event loop."""

    def __init__(self, publisher: Publisher, tenant: str, clock_us: Clock) -> None:
        self._publisher, self._tenant, self._clock_us = publisher, tenant, clock_us

    async def note(
        self,
        request: HTTPConnection,
        caller: Caller,
        action: Any,
        subject: str = "",
        names: Iterable[str] = ("",),
        *,
        tenant: str | None = None,
        detail: str = "",
    ) -> None:
        """Write down what a caller does, returning once Kafka has it. `tenant`: whose data it is,
        where that is known. Raises RequestError 503.
        """
        by = caller.principal or who()
        whose = tenant or caller.tenant or self._tenant
        at = to_datetime(self._clock_us())
        records = [
            Access(
                tenant=whose, by=by[:MAX_CHARS], action=action, subject=subject,
                name=name[:MAX_CHARS], detail=detail[:MAX_CHARS], address=address_of(request),
                at=at,
            )
            for name in names
        ]  # fmt: skip
        key = f"{whose}/{by[:MAX_CHARS]}".encode("utf-8", "replace")
        await self._publisher.publish(
            [Outgoing(TOPIC, codec.encode(one), key, _HEADERS) for one in records]
        )
