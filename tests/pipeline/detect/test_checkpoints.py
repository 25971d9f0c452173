import random
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.detect import checkpoints
from tachograph.pipeline.detect.checkpoints import CHUNK_BYTES, Checkpoints, chunks_of, newest
from tachograph.pipeline.kafka.writer import MAX_RECORD_BYTES, Writer
from tachograph.pipeline.settings import Settings
from tachograph.schemas import codec

PLACE = ("agent.actions", 2)


def state_of(size: int, seed: int = 7) -> bytes:
    return random.Random(seed).randbytes(size)


@settings(deadline=None)
@given(st.data())
def test_the_newest_complete_set_holds_whatever_chunks_are_missing(data: Any) -> None:
    sets = [chunks_of("detect", PLACE, at, "h", state_of(CHUNK_BYTES * 2 + 9, at)) for at in (5, 9)]
    kept = [data.draw(st.sets(st.sampled_from(range(3)))) for _ in sets]
    found = newest(
        [c for chunks, keep in zip(sets, kept, strict=True) for c in chunks if c.chunk in keep]
    )
    whole = [at for at, keep in zip((5, 9), kept, strict=True) if keep == {0, 1, 2}]
    assert (found and found[0]) == (max(whole) if whole else None)
    if found:
        assert found[1] == state_of(CHUNK_BYTES * 2 + 9, found[0])


def test_a_damaged_chunk_makes_its_set_broken() -> None:
    [only] = chunks_of("detect", PLACE, 5, "h", b"state")
    assert newest([msgspec.structs.replace(only, data=b"stale")]) is None


def test_every_chunk_fits_into_a_record() -> None:
    chunks = chunks_of("detect", PLACE, 5, "h", state_of(CHUNK_BYTES * 3))
    assert all(len(codec.encode(chunk)) <= MAX_RECORD_BYTES for chunk in chunks)


def test_a_checkpoint_is_read_back_and_a_half_written_one_leaves_the_old(
    any_broker: Any, settings_for: Callable[..., Settings], new_name: Callable[[str], str]
) -> None:
    settings, stage = settings_for(any_broker.bootstrap_servers), new_name("stage")
    writer = Writer(settings)
    store = Checkpoints(settings, stage, writer)
    assert store.load(PLACE) is None
    for offset in (10, 20):
        store.save(PLACE, offset, "h", state_of(CHUNK_BYTES + 5, offset))
    store.save(("agent.actions", 3), 99, "h", b"another place")
    writer.flush()
    half = chunks_of(stage, PLACE, 30, "h", state_of(CHUNK_BYTES + 5, 30))[0]
    writer.send(
        checkpoints.TOPIC,
        codec.encode(half),
        key=f"{stage}/{PLACE[0]}/{PLACE[1]}/0/0".encode(),
        partition=store._partition(PLACE),
    )
    writer.flush()
    fresh = Checkpoints(settings, stage, writer)
    assert fresh.load(PLACE) == (20, state_of(CHUNK_BYTES + 5, 20))


def test_a_topic_that_is_forgotten_has_no_state_until_one_is_saved_again(
    any_broker: Any, settings_for: Callable[..., Settings], new_name: Callable[[str], str]
) -> None:
    settings, stage = settings_for(any_broker.bootstrap_servers), new_name("stage")
    writer = Writer(settings)
    store = Checkpoints(settings, stage, writer)
    other = ("agent.matches", 2)
    for place in (PLACE, ("agent.actions", 0), other):
        store.save(place, 10, "h", state_of(CHUNK_BYTES + 5))
    writer.flush()
    assert store.forget(PLACE[0]) == 4
    writer.flush()
    assert store.load(PLACE) is None
    assert store.load(other) == (10, state_of(CHUNK_BYTES + 5))
    store.save(PLACE, 3, "h", b"anew")
    writer.flush()
    assert store.load(PLACE) == (3, b"anew")


def test_what_was_written_over_is_not_held_while_reading(
    any_broker: Any, settings_for: Callable[..., Settings], new_name: Callable[[str], str]
) -> None:
    settings, stage = settings_for(any_broker.bootstrap_servers), new_name("stage")
    writer = Writer(settings)
    store = Checkpoints(settings, stage, writer)
    for offset in range(1, 41):
        store.save(PLACE, offset, "h", state_of(100, offset))
    writer.flush()
    held = store._read(store._partition(PLACE), f"{stage}/{PLACE[0]}/{PLACE[1]}/")
    assert len(held) == checkpoints.SLOTS * checkpoints.VERSIONS
    assert Checkpoints(settings, stage, writer).load(PLACE) == (40, state_of(100, 40))
