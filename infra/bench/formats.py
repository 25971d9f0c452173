"""Decoders alone: objects of other systems to actions in memory, each format by its own samples."""

import time
from collections.abc import Iterator
from itertools import cycle, islice
from typing import Final

import msgspec

from infra.bench.table import Figure
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.formats.decoder import Decoder
from tachograph.pipeline.normalize.formats.registry import shipped
from tachograph.pipeline.normalize.raw import RawRecord

# What a gateway sends at once.
OBJECTS: Final = 500
NOW_US: Final = 1_795_370_400_000_000


def figures(objects: int) -> Iterator[Figure]:
    """Objects a second of every format, from the record's bytes to the redacted columns."""
    for decoder in shipped().values():
        yield _figure(decoder, objects)


def _figure(decoder: Decoder, objects: int) -> Figure:
    every = [one for sample in decoder.samples for one in sample.objects]
    value = b"\n".join(map(msgspec.json.encode, islice(cycle(every), OBJECTS)))
    records = [
        RawRecord("bench", 0, offset, value, format=decoder.name)
        for offset in range(max(objects // OBJECTS, 1))
    ]
    core = Normalizer(b"k" * 32, "bench", observed_from_event=True, undated_us=NOW_US)
    core.normalize(records[:1])
    begin_s = time.process_time()
    for record in records:
        core.normalize([record])
    spent_s = time.process_time() - begin_s
    count = len(records) * OBJECTS
    return Figure(
        name=f"format {decoder.name}",
        per_s=count / spent_s,
        core_us=spent_s / count * 1e6,
        bytes_each=len(value) / OBJECTS,
        note="objects a core",
    )
