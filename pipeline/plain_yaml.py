"""YAML that a person wrote, as plain values, within what it may grow to.

An alias costs a few bytes and stands for all that its anchor holds: ten lines of aliases of aliases
are more values than any memory has, and merging (`<<`) writes them out. So the size is counted
before anything is built.
"""

from typing import Any, Final

import yaml

MAX_VALUES: Final = 50_000


class TooLarge(yaml.YAMLError):
    """With its aliases written out, the document has too many values, or holds itself."""


def loaded(text: str | bytes, max_values: int = MAX_VALUES) -> Any:
    """The document; None: it is empty. Raises yaml.YAMLError, UnicodeDecodeError, ValueError and
    RecursionError.
    """
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if _values(node, {}, max_values) > max_values:
            raise TooLarge(f"with its aliases written out it has more than {max_values} values")
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _values(node: yaml.Node, known: dict[int, int], limit: int) -> int:
    """Nodes beneath this one and itself, aliases written out; more than `limit` is as good as
    endless. `known`: of nodes that were counted, or are being counted.
    """
    found = known.get(id(node))
    if found is not None:
        return found
    # A node that is met again within itself is endless.
    known[id(node)] = limit + 1
    size = 1
    for inner in _inside(node):
        size = min(size + _values(inner, known, limit), limit + 1)
    known[id(node)] = size
    return size


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []
