"""Items in order, of which some may be looked at and given back."""

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """An iterator that can be looked into."""

    def __init__(self, items: Iterator[Item]) -> None:
        self._items = items
        self._kept = deque[Item]()

    def peek(self) -> Item | None:
        """The next item, which stays; None at the end."""
        if not self._kept:
            self._kept.extend(islice(self._items, 1))
        return self._kept[0] if self._kept else None

    def pop(self) -> None:
        """Pass over the item that was looked at."""
        self._kept.popleft()

    def some(self, count: int) -> list[Item]:
        """So many of the next items, or all there are."""
        kept = [self._kept.popleft() for _ in range(min(count, len(self._kept)))]
        return kept + list(islice(self._items, count - len(kept)))

    def back(self, items: Iterable[Item]) -> None:
        """Give back what came last."""
        self._kept.extendleft(reversed(list(items)))
