"""What a format is: objects of another system in, actions as rows out."""

import functools
from collections.abc import Sequence
from importlib import resources
from typing import Any, Protocol

import msgspec
import yaml

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
    # Items that tell no action of their own, since they complete one of another item.
    joined: frozenset[int] = frozenset()


class Sample(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Objects of a system, and some fields of the actions that they give."""

    object: dict[str, Any] | list[dict[str, Any]]
    gives: list[dict[str, Any]] = []

    @property
    def objects(self) -> list[dict[str, Any]]:
        """The objects of one record."""
        return self.object if isinstance(self.object, list) else [self.object]


class Decoder(Protocol):
    """One format. Pure; called by any thread."""

    @property
    def name(self) -> str:
        """Its name in options, headers and `source_kind`."""
        ...

    @property
    def title(self) -> str:
        """What writes it, for a person."""
        ...

    @property
    def about(self) -> str:
        """How to point it here, and what it lacks."""
        ...

    @property
    def samples(self) -> Sequence[Sample]:
        """Its examples."""
        ...

    def recognises(self, item: Object) -> bool:
        """Whether an object is of this format: true for few others."""
        ...

    def read(self, items: Sequence[Object], context: Context) -> Read:
        """What the items of one record tell, in order. Raises BadInput for none: an item that tells
        nothing of an agent tells no action.
        """
        ...


class _Notes(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    about: str
    samples: list[Sample]


class Written:
    """What a format that is written as code says of itself, in a file beside it."""

    name: str

    @functools.cached_property
    def _notes(self) -> _Notes:
        file = resources.files(__package__ or "") / "samples" / f"{self.name}.yaml"
        return msgspec.convert(yaml.safe_load(file.read_bytes()), _Notes)

    @property
    def about(self) -> str:
        """See Decoder."""
        return self._notes.about

    @property
    def samples(self) -> list[Sample]:
        """See Decoder."""
        return self._notes.samples
