"""What the context of a group says that alerts may share: little enough to be kept for every group
of an alert, where whole contexts are kept of a few. Pure.
"""

import hashlib
import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime

from tachograph.schemas.codec import encode
from tachograph.schemas.fields import Record
from tachograph.schemas.records import Context

MAX_GLIMPSES = 32
MAX_GLIMPSE_BYTES = 4_000
MAX_VALUE_CHARS = 256
MAX_SECRETS = 5
MAX_CREDENTIALS = 5
# Shorter texts ("ok", "[]") come to everybody.
MIN_TEXT_CHARS = 40
_DIGEST_BYTES = 8
_AROUND_BYTES = 8
# What `normalize` puts in the place of a secret: equal secrets have equal tokens.
_SECRET = re.compile(r"‹secret:[^‹›]{1,120}›")

Pair = tuple[str, str]


class Glimpse(Record, frozen=True, kw_only=True):
    """Pairs of kind and value: of each action, by its event id, and of the agent."""

    group_id: str
    taken_at: datetime
    digest: str  # of the context: which of two holds that are of one moment
    of_events: dict[str, list[Pair]] = {}  # noqa: RUF012 - msgspec copies it
    of_agent: list[Pair] = []  # noqa: RUF012

    @property
    def order(self) -> tuple[datetime, str]:
        """The earlier one holds."""
        return self.taken_at, self.digest


def glimpse_of(context: Context) -> Glimpse | None:
    """What may be shared, of the newest actions where it is too much; None: nothing."""
    agent = list(_of_agent(context))
    events: dict[str, list[Pair]] = {}
    left = MAX_GLIMPSE_BYTES - _size(agent)
    for action in reversed(context.actions):
        pairs = list(dict.fromkeys(short(of_action(action))))
        event_id = action.get("event_id", "")
        left -= _size([("", event_id), *pairs]) if pairs else 0
        if left < 0:
            break
        if pairs and event_id:
            events[event_id] = pairs
    if not events and not agent:
        return None
    return Glimpse(
        group_id=context.group_id,
        taken_at=context.taken_at,
        digest=hashlib.blake2b(encode(context), digest_size=_DIGEST_BYTES).hexdigest(),
        of_events=events,
        of_agent=agent,
    )


def smallest(found: dict[str, Glimpse], limit: int = MAX_GLIMPSES) -> dict[str, Glimpse]:
    """Those that are kept: of every group its first before any has a second. A function of the set,
    whatever was left out of it before.
    """
    if len(found) <= limit:
        return found
    by_time = sorted(found, key=lambda key: (found[key].order, key))
    nth = nths(found[key].group_id for key in by_time)
    ranked = sorted(zip(nth, by_time, strict=True), key=lambda pair: pair[0])
    return {key: found[key] for _, key in ranked[:limit]}


def nths(names: Iterable[str]) -> list[int]:
    """Of each name how many equal ones came before it."""
    seen: Counter[str] = Counter()
    found = []
    for name in names:
        found.append(seen[name])
        seen[name] += 1
    return found


def of_action(action: dict[str, str]) -> Iterator[Pair]:
    """Texts that came in, the secrets in any text, and what it was done to."""
    yield "target", action.get("target_domain", "")
    yield "target", action.get("target_resource", "")
    if len(action.get("tool_result", "")) > MIN_TEXT_CHARS:
        yield "content", action.get("tool_result_hash", "")
    came_in = action.get("content_direction") == "in"
    if came_in and len(action.get("content_text", "")) > MIN_TEXT_CHARS:
        yield "content", action.get("content_hash", "")
    secrets = (("secret", token) for token in secrets_of(action.values()))
    yield from itertools.islice(secrets, MAX_SECRETS)


def secrets_of(texts: Iterable[str]) -> Iterator[str]:
    """Tokens of secrets in texts."""
    for text in texts:
        yield from _SECRET.findall(text)


def short(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Without what is empty or too long to be a value."""
    return (pair for pair in pairs if 0 < len(pair[1]) <= MAX_VALUE_CHARS)


def _of_agent(context: Context) -> Iterator[Pair]:
    state = context.state
    if state is None:
        return
    known = [("credential", one) for one in state.credentials]
    yield from itertools.islice(short(known), MAX_CREDENTIALS)
    if len(state.delegation_chain) > 1:
        yield from short([("delegation", state.delegation_chain[0])])


def _size(pairs: Iterable[Pair]) -> int:
    """About what they take in a record."""
    return sum(len(kind) + len(value.encode()) + _AROUND_BYTES for kind, value in pairs)
