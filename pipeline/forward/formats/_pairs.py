"""Lines of `key=value`: what is most needed first, within a size, naming what was left out."""

from collections.abc import Callable, Iterable

from tachograph.pipeline.forward.formats._values import joined

OMITTED = "tachoOmitted"
# Room for the key that lists what did not fit.
_OMITTED_BYTES = 160
_MOST_NAMED = 10

Pair = tuple[str, str | int | None]


def line(
    head: str,
    pairs: Iterable[Pair],
    separator: str,
    max_bytes: int,
    show: Callable[[str, str], str],
) -> bytes:
    """`head` and as many pairs as fit; `show(key, value)` bounds and escapes a value."""
    room = max_bytes - len(head.encode()) - _OMITTED_BYTES
    parts: list[str] = []
    omitted: list[str] = []
    for key, value in pairs:
        if value in {None, ""}:
            continue
        part = f"{key}={show(key, str(value))}"
        size = len(part.encode()) + 1
        # Once one is out, so is the rest: what is there is always the most needed part.
        if omitted or size > room:
            omitted.append(key)
            continue
        room -= size
        parts.append(part)
    if omitted:
        if parts and parts[-1].startswith(f"{omitted[0]}Label="):
            parts.pop()
        parts.append(f"{OMITTED}={show(OMITTED, joined(omitted, _MOST_NAMED))}")
    return (head + separator.join(parts)).encode()
