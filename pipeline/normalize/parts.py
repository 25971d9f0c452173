"""Actions of one form on their way: what decoders hand to the core."""

from collections.abc import Callable, Sequence

import msgspec
import polars as pl

from tachograph.pipeline.normalize.identity import Named
from tachograph.pipeline.normalize.raw import BadInput, Fault
from tachograph.pipeline.normalize.wire import Ints


class Part(msgspec.Struct):
    """Actions that were decoded alike: typed columns, and what fixes their identity, a row each."""

    frame: pl.DataFrame
    faults: dict[int, BadInput]  # row → why it cannot be used
    record: Ints  # which record of the batch
    index: Ints  # place in its record
    place: pl.Series  # partition key
    producers: Sequence[str | None]
    meanings: Sequence[bytes | memoryview]  # what the producer sent
    own_ids: Sequence[bool]  # the producer's id is meant for this action only
    twin_kind: pl.Series  # by kind and call two reports of one action meet; call null: by nothing
    twin_call: pl.Series
    original: Callable[[int], bytes]  # what the dead letter of a row holds


class Verdict(msgspec.Struct):
    """What became of one record."""

    refused: BadInput | None = None  # nothing of it can be used
    items: int = 0  # that it holds, good, bad or left out
    foreign: int = 0  # that tell nothing of an agent
    faults: list[Fault] = []
    named: list[Named] = []
    newest_us: int = 0  # event time
