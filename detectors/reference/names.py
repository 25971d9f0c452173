"""Names as operators write them: patterns with `*`, entries found by them, hosts and paths."""

import posixpath
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Generic, TypeVar

T = TypeVar("T")

# Names are compared up to here: what an agent sends may be of any length.
MAX_NAME_CHARS = 1_000
_CACHED = 16_384


class Pattern:
    """One name, in which `*` stands for any text; without regard to case, in linear time."""

    __slots__ = ("_first", "_inner", "_last", "plain")

    def __init__(self, text: str) -> None:
        first, *rest = text.lower().split("*")
        self.plain = first if not rest else None
        self._first, self._inner, self._last = first, rest[:-1], rest[-1] if rest else ""

    def matches(self, name: str) -> bool:
        """`name` in lower case."""
        if self.plain is not None:
            return name == self.plain
        end = len(name) - len(self._last)
        place = len(self._first)
        if end < place or not (name.startswith(self._first) and name.endswith(self._last)):
            return False
        for part in self._inner:
            found = name.find(part, place, end)
            if found < 0:
                return False
            place = found + len(part)
        return True


def allowed(patterns: Sequence[str] | None) -> Callable[[str | None], bool | None]:
    """Whether a name is among the patterns; None when there is no name, or nothing is said."""
    if patterns is None:
        return _unsaid
    made = [Pattern(text) for text in patterns]

    def asked(name: str | None) -> bool | None:
        if not name:
            return None
        low = name[:MAX_NAME_CHARS].lower()
        return any(pattern.matches(low) for pattern in made)

    return asked


def _unsaid(_: str | None) -> bool | None:
    return None


def every(answers: Iterable[bool | None]) -> bool | None:
    """False when one of the answers is; None when there is none."""
    known = [answer for answer in answers if answer is not None]
    return all(known) if known else None


class Index(Generic[T]):
    """Entries by tenant and name: exact names first, then patterns in the order they were given;
    a tenant's own before those of all tenants.
    """

    def __init__(self, entries: Iterable[tuple[str | None, str, T]]) -> None:
        self._plain: dict[tuple[str | None, str], T] = {}
        self._patterns: dict[str | None, list[tuple[Pattern, T]]] = {}
        self._tenants: set[str | None] = set()
        for tenant, name, entry in entries:
            self._tenants.add(tenant)
            pattern = Pattern(name)
            if pattern.plain is not None:
                self._plain.setdefault((tenant, pattern.plain), entry)
            else:
                self._patterns.setdefault(tenant, []).append((pattern, entry))

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def speaks_of(self, tenant: str | None) -> bool:
        """Whether anything is said for this tenant: then a name that is not found is unknown."""
        return None in self._tenants or tenant in self._tenants

    def find(self, tenant: str | None, name: str | None) -> T | None:
        """The entry of a name."""
        if not name:
            return None
        low = name[:MAX_NAME_CHARS].lower()
        for whose in (tenant, None):
            found = self._plain.get((whose, low))
            if found is not None:
                return found
            for pattern, entry in self._patterns.get(whose, ()):
                if pattern.matches(low):
                    return entry
        return None


@lru_cache(_CACHED)
def host_of(address: str | None) -> str | None:
    """The host of a URL, of a mail address or of a bare host name, in lower case."""
    if not address:
        return None
    text = address[:MAX_NAME_CHARS].strip().lower()
    rest = text.partition("://")[2] or text
    for end in "/?#\\":
        rest = rest.partition(end)[0]
    rest = rest.rpartition("@")[2].strip("<> ")
    if rest.startswith("["):
        return rest[1:].partition("]")[0] or None
    host = rest.partition(":")[0] if rest.count(":") == 1 else rest
    return host.rstrip(".") or None


@lru_cache(_CACHED)
def whole_path(path: str) -> str:
    """A path as the system will read it: slashes one way, `.` and `..` resolved."""
    text = path[:MAX_NAME_CHARS].strip().replace("\\", "/")
    if text.lower().startswith("file://"):
        text = text[7:]
    lead = "//" if text.startswith("//") else ""
    return lead + posixpath.normpath(text).lstrip("/") if lead else posixpath.normpath(text)


def within(path: str, roots: Sequence[str]) -> bool:
    """Whether a path stays below one of the roots; a relative one, below where it starts."""
    whole = whole_path(path)
    absolute = whole.startswith(("/", "~")) or whole[1:3] == ":/"
    if not absolute:
        return not (whole == ".." or whole.startswith("../"))
    folded = whole.lower()
    for root in roots:
        top = whole_path(root).rstrip("/").lower()
        if folded == top or folded.startswith(top + "/"):
            return True
    return False
