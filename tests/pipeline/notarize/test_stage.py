"""The notary on a broker and a ClickHouse: the same leaves and heads whatever happens."""

import itertools
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.clock import Clock
from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.kafka.topics import cluster_id
from tachograph.pipeline.notarize import stage
from tachograph.pipeline.notarize.files import append_lines
from tachograph.pipeline.notarize.heads import edge_of, heads_file, heads_in_topic
from tachograph.pipeline.notarize.keys import Keys, read_ring
from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.notarize.stage import Notary
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.clickhouse import Connection
from tachograph.schemas import codec
from tests.pipeline.notarize.evidence import (
    PLACE,
    Log,
    covered,
    heads,
    record,
    root_of,
    send,
    stored_leaves,
    until,
)

SOON = {"TACHO_HEAD_EVERY_S": "1"}


def test_every_topic_gets_leaves_and_a_signed_head_in_file_topic_and_table(
    live: Settings, connection: Connection
) -> None:
    values = {topic: [record(topic, n) for n in range(3)] for topic in LOGS}
    for topic, found in values.items():
        send(live, topic, found)
    notary = Notary(live, environ=SOON)
    until(notary, lambda: all(covered(live, (t, 0)) == 3 for t in LOGS), "all are covered")
    notary.close()
    ring = Keys(live.home, {}).ring()
    newest = {head.topic: head for head in heads(live)}
    for topic, found in values.items():
        head = newest[topic]
        assert head.root == root_of((topic, 0), found)
        assert ring.holds(head)
        assert edge_of(head).size == 3
    told = {(head.topic, head.size, head.root) for head in heads_in_topic(live)}
    assert told == {(head.topic, head.size, head.root) for head in heads(live)}
    cluster = cluster_id(live)
    rows = connection.rows(
        f"SELECT log_topic, size, root FROM tacho.tree_heads WHERE log_cluster = '{cluster}'"
    )
    assert told == set(rows)
    for topic in LOGS:
        stored = stored_leaves(connection, cluster, topic)
        assert [row[:4] for row in stored] == [(n, "record", n, n + 1) for n in range(3)]


class Killed(BaseException):
    """The process is gone."""


def killing(notary: Notary, chance: random.Random) -> None:
    """Let one of the steps of sealing be the last, before or after it did its work."""
    name = chance.choice(["_store_leaves", "_signed", "_clickhouse"])
    real: Callable[..., Any] = getattr(notary, name)
    after = chance.random() < 0.5

    def step(*given: Any) -> Any:
        if after:
            real(*given)
        raise Killed

    setattr(notary, name, step)


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_any_moment_the_leaves_are_the_same_and_every_head_is_of_them(
    live: Settings, connection: Connection, seed: int
) -> None:
    chance = random.Random(seed)
    values = [record(PLACE[0], n) for n in range(60)]
    log = Log()
    while len(log.values) < len(values):
        log.values = values[: len(log.values) + chance.randint(5, 20)]
        for dies in (False, True):
            notary = Notary(live, environ=SOON, clock=rushing(), reader=log.reader)
            if dies:
                killing(notary, chance)
            with suppress(Killed):
                for _ in range(chance.randint(1, 4)):
                    notary.round()
    notary = Notary(live, environ=SOON, clock=rushing(), reader=log.reader)
    until(notary, lambda: covered(live) == len(values), "all is covered")
    notary.close()
    for head in [*heads(live), *heads_in_topic(live)]:
        assert head.root == root_of(PLACE, values, head.size)
        assert head.next_offset == head.size
    stored = stored_leaves(connection, cluster_id(live), PLACE[0])
    assert [row[0] for row in stored] == list(range(len(values)))
    shown = connection.rows("SELECT max(size), count() > 2 FROM tacho.tree_heads")
    assert shown == [(len(values), 1)]
    assert log.committed == len(values)


def rushing() -> Clock:
    """A clock on which a second passes at every look: each round signs."""
    ticks = itertools.count(time.time_ns() // 1_000, 2_000_000)
    return lambda: next(ticks)


def test_a_place_that_is_taken_away_is_signed_first_and_gone_on_with_when_it_comes_back(
    live: Settings,
) -> None:
    log = Log(record(PLACE[0], n) for n in range(5))
    notary = Notary(live, environ={}, reader=log.reader)
    notary.round()
    assert heads(live) == []
    notary._reader.revoke()  # type: ignore[attr-defined]
    assert covered(live) == log.committed == 5
    log.values += [record(PLACE[0], 5)]
    notary.round()
    notary.close()
    assert heads(live)[-1].root == root_of(PLACE, log.values)


def test_without_its_file_it_goes_on_from_the_topic(live: Settings) -> None:
    values = [record(PLACE[0], n) for n in range(9)]
    log = Log(values[:5])
    first = Notary(live, environ=SOON, reader=log.reader)
    until(first, lambda: covered(live) == 5, "the first are covered")
    first.close()
    heads_file(live.home, {}).unlink()
    log.values, log.gone = values, 3
    second = Notary(live, environ=SOON, reader=log.reader)
    until(second, lambda: covered(live) == 9, "the rest is covered")
    second.close()
    assert heads(live)[-1].root == root_of(PLACE, values)


def test_what_is_no_record_and_what_is_gone_have_leaves_that_say_so(
    live: Settings, connection: Connection
) -> None:
    values = [record(PLACE[0], n) for n in range(4)]
    log = Log([*values[:2], b"{}", values[3]], gone=1)
    notary = Notary(live, environ=SOON, reader=log.reader)
    until(notary, lambda: covered(live) == 4, "all is covered")
    notary.close()
    stored = stored_leaves(connection, cluster_id(live), PLACE[0])
    assert [row[:4] for row in stored] == [
        (0, "gone", 0, 1), (1, "record", 1, 2), (2, "refused", 2, 3), (3, "record", 3, 4),
    ]  # fmt: skip


def test_a_topic_that_was_made_anew_and_a_forged_head_stop_it(live: Settings) -> None:
    log = Log(record(PLACE[0], n) for n in range(2))
    notary = Notary(live, environ=SOON, reader=log.reader)
    until(notary, lambda: covered(live) == 2, "they are covered")
    notary.close()
    head = heads(live)[-1]
    anew = Notary(live, environ=SOON, reader=Log(log.values[:1]).reader)
    with pytest.raises(Refused, match="made anew"):
        anew.round()
    with pytest.raises(Refused, match="another root"):
        anew._continued(PLACE, msgspec.structs.replace(head, root="00"))
    forged = msgspec.structs.replace(head, size=9)
    append_lines(heads_file(live.home, {}), [codec.encode(forged)])
    second = Notary(live, environ=SOON, reader=log.reader)
    with pytest.raises(ConfigError, match="not signed by a key of ours"):
        second.round()


def test_a_quiet_tree_is_signed_anew_and_a_rotation_needs_no_restart(live: Settings) -> None:
    log = Log([record(PLACE[0], 0)])
    ahead_us = [0]

    def clock() -> int:
        return time.time_ns() // 1_000 + ahead_us[0]

    notary = Notary(live, environ=SOON, clock=clock, reader=log.reader)
    until(notary, lambda: covered(live) == 1, "it is covered")
    told = Keys(live.home, {}).rotate()
    ahead_us[0] = (stage.ANEW_S + 1) * 1_000_000
    until(notary, lambda: len(heads(live)) == 2, "it is signed anew")
    notary.close()
    old, new = heads(live)
    assert (old.size, old.root) == (new.size, new.root)
    assert new.key_id == told.key_id != old.key_id
    ring = read_ring(live.home / "notary_keys.ndjson")
    assert ring.holds(old)
    assert ring.holds(new)


def test_while_clickhouse_is_away_nothing_is_signed_and_nothing_is_lost(live: Settings) -> None:
    log = Log(record(PLACE[0], n) for n in range(4))
    nowhere = msgspec.structs.replace(live.clickhouse, url="http://127.0.0.1:9")
    away = Notary(
        msgspec.structs.replace(live, clickhouse=nowhere), environ=SOON, reader=log.reader
    )
    with pytest.raises(RetryLater):
        until(away, lambda: False, "it cannot store")
    away.close()
    assert heads(live) == []
    back = Notary(live, environ=SOON, reader=log.reader)
    until(back, lambda: covered(live) == 4, "all is covered")
    back.close()


@pytest.mark.parametrize("text", ["0", "soon", "3601"])
def test_a_wait_that_cannot_be_is_refused_with_the_name_of_the_setting(text: str) -> None:
    with pytest.raises(ConfigError, match="TACHO_HEAD_EVERY_S"):
        stage.head_every_s({"TACHO_HEAD_EVERY_S": text})
