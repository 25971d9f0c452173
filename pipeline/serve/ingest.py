"""Records of other systems at the door: checked by the decoder that `normalize` uses, and forwarded
with the bytes they came with.
"""

from typing import Final

import msgspec

from tachograph.pipeline.normalize import times
from tachograph.pipeline.normalize.decode import decode
from tachograph.pipeline.normalize.formats.reading import Context
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.normalize.raw import BadInput
from tachograph.pipeline.serve.errors import RequestError

AUTO: Final = "auto"
MAX_SERVICE_CHARS: Final = 100


class Checked(msgspec.Struct, frozen=True):
    """What a body holds."""

    accepted: int
    # Items that tell nothing of an agent.
    passed_over: int
    # Items that cannot be used: each becomes a dead letter.
    rejected: int
    reason: str | None = None
    items: int = 0


def service_of(named: str | None) -> bytes | None:
    """The service that an endpoint names. Raises RequestError 400."""
    if named is None:
        return None
    if not 0 < len(named) <= MAX_SERVICE_CHARS or not named.isascii() or not named.isprintable():
        raise RequestError(400, f"service: {MAX_SERVICE_CHARS} printable characters of ASCII")
    return named.encode()


def check(formats: Formats, name: str, body: bytes, now_us: int) -> Checked:
    """What becomes of a body. Raises RequestError: 404 for a format that nobody knows, 400 when
    nothing of the body can be used.
    """
    if name != AUTO and name not in formats:
        known = ", ".join([AUTO, *formats.names])
        raise RequestError(404, f"no format of that name: {known}")
    try:
        decoded = decode(body, "actions" if name == AUTO else name, formats, Context(now_us))
    except BadInput as problem:
        raise RequestError(400, str(problem)) from problem
    beyond = sum(
        item.row["event_time"].__class__ is int and times.beyond(item.row["event_time"], now_us)
        for item in decoded.items
    )
    first = next((str(fault.problem) for fault in decoded.faults), None)
    if beyond and first is None:
        first = times.IMPOSSIBLE
    checked = Checked(
        accepted=len(decoded.items) - beyond,
        passed_over=decoded.foreign,
        rejected=len(decoded.faults) + beyond,
        reason=first,
        items=decoded.size,
    )
    if checked.rejected and not checked.accepted:
        raise RequestError(400, f"nothing of this body can be used: {first}")
    return checked
