"""Answers to directives, as they are posted: under the tenant of who posted them, and without
secrets in their words.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from tachograph.pipeline.normalize.columns import Redaction
from tachograph.pipeline.normalize.personal import redactors
from tachograph.pipeline.serve.native import Line
from tachograph.schemas import codec
from tachograph.schemas.records import DirectiveAck

TOPIC: Final = "agent.acks"
MAX_DETAIL_CHARS: Final = 200
MAX_NAME_CHARS: Final = 512


class Acks:
    """Makes records of agent.acks. `secret`: the operator's key."""

    def __init__(self, secret: bytes) -> None:
        self._redaction = Redaction(redactors(secret))

    def records(self, lines: Sequence[Line], tenant: str) -> list[tuple[bytes, bytes]]:
        """(key, value) of each answer. The lines have been checked against the contract."""
        acks = [codec.decode(DirectiveAck, line.payload) for line in lines]
        details = self._redaction.texts([_detail(ack) for ack in acks])
        made = [
            msgspec.structs.replace(
                ack,
                tenant=tenant,
                directive_id=ack.directive_id[:MAX_NAME_CHARS],
                agent_id=ack.agent_id[:MAX_NAME_CHARS],
                detail=detail,
            )
            for ack, detail in zip(acks, details, strict=True)
        ]
        return [(f"{tenant}/{ack.directive_id}".encode(), codec.encode(ack)) for ack in made]


def _detail(ack: DirectiveAck) -> str | None:
    return None if ack.detail is None else ack.detail[:MAX_DETAIL_CHARS]
