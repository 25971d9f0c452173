"""The rows of many groups in shared columns are each group's own, wherever they are moved."""

from collections import defaultdict

import numpy as np

from tachograph.detectors.correlation.blocks import ROW_KINDS, Blocks

GROUPS = 400
ROUNDS = 120


def rows(times: list[int]) -> dict[str, np.ndarray]:
    columns = {name: np.zeros(len(times), kind) for name, (kind, _) in ROW_KINDS.items()}
    return {**columns, "time": np.array(times), "low": np.array(times, np.uint64)}


def test_groups_keep_their_own_rows_while_others_grow_shrink_and_are_packed() -> None:
    rng = np.random.default_rng(3)
    blocks, wanted = Blocks(), defaultdict[int, list[int]](list)
    clock = packed = 0
    for _ in range(ROUNDS):
        gids = np.sort(rng.choice(np.arange(1, GROUPS, dtype=np.uint64), GROUPS // 2, False))
        slots, _ = blocks.open(gids)
        counts = rng.integers(1, 6, len(gids))
        times = list(range(clock, clock + int(counts.sum())))
        clock += len(times)
        before = blocks._end
        blocks.append(slots, counts, rows(times))
        packed += blocks._end < before
        of = np.repeat(gids, counts).tolist()
        for gid, time in zip(of, times, strict=True):
            wanted[gid].append(time)
        used = blocks.used()
        begin, end = blocks.bounds(used)
        until = begin + rng.integers(0, end - begin + 1)
        blocks.drop(used, until)
        for slot, gone in zip(used.tolist(), (until - begin).tolist(), strict=True):
            del wanted[int(blocks.groups["gid"][slot])][:gone]
        for gid, slot in zip(wanted, blocks.find(np.array(list(wanted), np.uint64)), strict=True):
            here = slice(*(int(place[0]) for place in blocks.bounds(np.array([slot]))))
            assert blocks.rows["time"][here].tolist() == wanted[gid]
    assert packed, "nothing was packed: this shows nothing"
