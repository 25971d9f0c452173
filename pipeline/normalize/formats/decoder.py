"""What a format is: objects of another system in, actions as rows out."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from tachograph.pipeline.normalize.formats.reading import Context, Object
from tachograph.pipeline.normalize.raw import Row


class Told(msgspec.Struct, gc=False):
    """One action that an item tells of. `producer`: the source's own id of it, different for each
    action of one item.
    """

    row: Row
    producer: str | None = None
    # Partition key, where it is not the agent: what every record of the source carries.
    place: str | None = None


class Read(msgspec.Struct):
    """What the items of one record tell: actions of each, and rows that only name a trace."""

    told: list[list[Told]]
    naming: list[Row] = []


class Decoder(Protocol):
    """One format. Pure; called by any thread."""

    name: str
    title: str

    def recognises(self, item: Object) -> bool:
        """Whether an object is of this format: true for few others."""
        ...

    def read(self, items: Sequence[Object], context: Context) -> Read:
        """What the items of one record tell, in order. Raises BadInput for none: an item that tells
        nothing of an agent tells no action.
        """
        ...
