"""The steps of an ordered rule as a graph: which step may follow which."""

from collections.abc import Sequence
from dataclasses import dataclass

from tachograph.detectors.language.rule import Bound, Link, Ordered


@dataclass(frozen=True, slots=True)
class Node:
    """An event of `step`, after one that any of the nodes `after` stands for (none: it begins), and
    no event of the steps in `without` (as bits) between them.

    `length`: how many events the chain that ends here has.
    """

    step: int
    after: tuple[int, ...]
    without: int
    length: int


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes in an order in which each comes after those it follows, and at which a chain ends.

    `bounds`: instead, how long the longest chain has to be that ends at an event.
    """

    nodes: tuple[Node, ...]
    ends: tuple[int, ...]
    bounds: tuple[Bound, ...] = ()


def graph_of(asks: Ordered, steps: int) -> Graph:
    """The graph of a rule with so many steps."""
    return _of_paths(asks.paths) if asks.paths else _of_counts(asks.bounds, steps)


def _of_paths(paths: Sequence[tuple[Link, ...]]) -> Graph:
    """Paths that begin alike share their nodes."""
    nodes: list[Node] = []
    places: dict[tuple[Link, ...], int] = {}
    for path in paths:
        for length in range(1, len(path) + 1):
            prefix = path[:length]
            if prefix in places:
                continue
            link = prefix[-1]
            after = (places[prefix[:-1]],) if length > 1 else ()
            without = sum(1 << step for step in link.without)
            places[prefix] = len(nodes)
            nodes.append(Node(link.step, after, without, length))
    return Graph(tuple(nodes), tuple(dict.fromkeys(places[path] for path in paths)))


def _of_counts(bounds: Sequence[Bound], steps: int) -> Graph:
    """Any of the steps, in their order: a node for each step and place in the chain."""
    nodes: list[Node] = []
    places: dict[tuple[int, int], int] = {}
    for step in range(steps):
        for length in range(1, step + 2):
            after = tuple(
                places[earlier, length - 1] for earlier in range(length - 2, step) if length > 1
            )
            places[step, length] = len(nodes)
            nodes.append(Node(step, after, 0, length))
    return Graph(tuple(nodes), tuple(range(len(nodes))), tuple(bounds))
