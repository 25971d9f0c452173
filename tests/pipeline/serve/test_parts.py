"""The small parts of the door, each against what it claims."""

import asyncio
import gzip
import json
import os
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import HTTPConnection

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.serve import cursor, publisher
from tachograph.pipeline.serve.backlog import Unbounded, backlog_of
from tachograph.pipeline.serve.body import PIECE_BYTES, Intake, read_body
from tachograph.pipeline.serve.depth import deeper_than
from tachograph.pipeline.serve.errors import RequestError
from tachograph.pipeline.serve.gate import Gate, foreign
from tachograph.pipeline.serve.limits import Limits
from tachograph.pipeline.serve.loopback import is_loopback
from tachograph.pipeline.serve.native import Line, grouped
from tachograph.pipeline.serve.options import DoorOptions, bound_socket
from tachograph.pipeline.serve.rate import RateLimit
from tachograph.pipeline.serve.tokens import Tokens
from tachograph.pipeline.serve.walk import until_left
from tachograph.pipeline.settings import STANDIN_BROKER, Settings
from tachograph.pipeline.standins.broker import MockBroker
from tests.waiting import eventually

from .conftest import limits

TOKEN = "correct-horse-battery"


def read(*chunks: bytes, encoding: str = "", within: Limits | None = None) -> bytes:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    async def whole() -> bytes:
        bounds = within or Limits()
        with Intake(bounds.buffered_bytes).lease() as lease:
            return await read_body(stream(), encoding, lease, bounds)

    return asyncio.run(whole())


def refusal(*chunks: bytes, encoding: str = "", within: Limits | None = None) -> int:
    with pytest.raises(RequestError) as caught:
        read(*chunks, encoding=encoding, within=within)
    return caught.value.status


# --- bodies


@given(body=st.binary(max_size=2000), cut=st.integers(1, 50), members=st.integers(1, 3))
def test_a_gzip_body_is_its_content_however_it_is_cut(body: bytes, cut: int, members: int) -> None:
    packed = b"".join(gzip.compress(body) for _ in range(members))
    chunks = [packed[at : at + cut] for at in range(0, len(packed), cut)]
    assert read(*chunks, encoding="gzip") == body * members


def test_a_body_larger_than_a_piece_comes_out_whole() -> None:
    body = b"0123456789" * PIECE_BYTES
    assert read(gzip.compress(body), encoding="gzip") == body


def test_a_compressed_bomb_is_refused_before_it_is_unpacked() -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(1_000_000)) for _ in range(100)) + packer.flush()
    assert len(bomb) < Limits().compressed_bytes
    taken = 0

    class Watching(Intake):
        def take(self, size_bytes: int) -> None:
            nonlocal taken
            taken += size_bytes
            super().take(size_bytes)

    async def stream() -> AsyncIterator[bytes]:
        yield bomb

    async def whole() -> None:
        with Watching(Limits().buffered_bytes).lease() as lease:
            await read_body(stream(), "gzip", lease, Limits())

    with pytest.raises(RequestError) as caught:
        asyncio.run(whole())
    assert caught.value.status == 413
    assert taken <= Limits().body_bytes


def test_bodies_at_a_limit_pass_and_one_byte_more_does_not() -> None:
    small = limits(body_bytes=1000, compressed_bytes=100)
    assert len(read(bytes(1000), within=small)) == 1000
    assert refusal(bytes(600), bytes(401), within=small) == 413
    assert len(read(gzip.compress(bytes(1000)), encoding="gzip", within=small)) == 1000
    assert refusal(gzip.compress(bytes(1001)), encoding="gzip", within=small) == 413
    assert refusal(bytes(101), encoding="gzip", within=small) in (400, 413)


@pytest.mark.parametrize("fault", ["plain", "cut", "tail", "checksum"])
def test_broken_gzip_is_refused(fault: str) -> None:
    packed = gzip.compress(b"x" * 99)
    broken = {
        "plain": b"plain",
        "cut": packed[:-4],
        "tail": packed + b"tail",
        "checksum": packed[:-8] + bytes(8),
    }
    assert refusal(broken[fault], encoding="gzip") == 400


def test_a_body_of_endless_gzip_members_is_refused() -> None:
    most = Limits().gzip_members
    assert read(gzip.compress(b"") * most, encoding="gzip") == b""
    assert refusal(gzip.compress(b"") * (most + 1), encoding="gzip") == 400


def test_all_bodies_together_are_bounded_and_room_comes_back() -> None:
    intake = Intake(100)
    with intake.lease() as one:
        one.take(60)
        with intake.lease() as two, pytest.raises(RequestError) as caught:
            two.take(41)
        assert caught.value.status == 429
    assert intake.held_bytes == 0


# --- depth


def nesting(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((nesting(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((nesting(inner) for inner in value), default=0)
    return 0


ANY_JSON = st.recursive(
    st.none() | st.integers() | st.text(alphabet='[]{}"\\ab\n', max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(alphabet='[]{}"\\a', max_size=4), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(value=ANY_JSON, indent=st.sampled_from([None, 2]))
def test_depth_is_told_as_a_decoder_finds_it(value: Any, indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    depth = nesting(value)
    assert not deeper_than(depth, text)
    assert depth == 0 or deeper_than(depth - 1, text)


def test_depth_is_carried_over_windows_of_large_text() -> None:
    text = b"[" * 40 + b'"' + b"[" * 3_000_000 + b'"' + b"[" * 24
    assert not deeper_than(64, text)
    assert deeper_than(63, text)


# --- rate, ids, tokens, options


def test_a_client_gets_its_burst_then_its_rate_and_no_one_elses() -> None:
    now = 0.0
    rate = RateLimit(2.0, 3.0, 10, lambda: now)
    assert [rate.wait_s("a") for _ in range(4)] == [None, None, None, 0.5]
    assert rate.wait_s("b") is None
    now = 0.5
    assert [rate.wait_s("a"), rate.wait_s("a")] == [None, 0.5]


def test_the_clients_remembered_are_bounded() -> None:
    rate = RateLimit(1.0, 1.0, 5, lambda: 0.0)
    for number in range(100):
        rate.wait_s(f"c-{number}")
    assert len(rate._buckets) == 5


@given(st.dictionaries(st.integers(0, 999_999), st.integers(0, 2**59), min_size=1, max_size=20))
def test_an_id_says_the_place_of_every_partition(places: dict[int, int]) -> None:
    assert cursor.decode(cursor.encode(places)) == places


@pytest.mark.parametrize(
    "text", ["", "x", "0", "0:", "0:-1", "0:1,", "0:1;1:2", "٣:1", "0:" + "9" * 19]
)
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="id"):
        cursor.decode(text)


def test_an_id_of_too_many_partitions_is_refused() -> None:
    with pytest.raises(ValueError, match="many"):
        cursor.decode(",".join(f"{n}:0" for n in range(cursor.MAX_PARTITIONS + 1)))


def test_grouping_keeps_order_and_size() -> None:
    found = [Line(b"%03d" % n, str(n % 3)) for n in range(90)]
    records = list(grouped(found, 40))
    assert all(len(record.payload) <= 40 for record in records)
    for agent in "012":
        joined = b"\n".join(r.payload for r in records if r.agent == agent).split(b"\n")
        assert joined == [line.payload for line in found if line.agent == agent]


def test_a_token_names_its_caller_and_anything_else_no_one(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"# ours\n\n{TOKEN} alice acme publish,watch\n{TOKEN}2 bob * watch\n")
    tokens = Tokens(path)
    alice, bob = tokens.authenticate(TOKEN), tokens.authenticate(f"{TOKEN}2")
    assert alice is not None
    assert (alice.principal, alice.tenant) == ("alice", "acme")
    assert alice.roles == {"publish", "watch"}
    assert bob is not None
    assert bob.tenant is None
    assert tokens.authenticate("") is None
    assert tokens.authenticate(TOKEN[:-1]) is None
    assert TOKEN not in repr(vars(tokens))


@pytest.mark.parametrize("text", [
    "", "# only words\n", f"{TOKEN} alice acme\n", "short alice acme watch\n", f"{TOKEN} alice acme root\n",  # noqa: E501
])  # fmt: skip
def test_a_token_file_that_means_nothing_is_refused_without_quoting_it(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / "tokens"
    path.write_text(text)
    with pytest.raises(ConfigError, match="TACHO_TOKENS_FILE") as caught:
        Tokens(path)
    assert TOKEN not in str(caught.value)


def test_a_changed_token_file_is_read_again_and_a_broken_one_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN} alice acme watch\n")
    tokens = Tokens(path)
    assert not tokens.reload()
    path.write_text("broken\n")
    with pytest.raises(ConfigError):
        tokens.reload()
    assert tokens.authenticate(TOKEN) is not None
    path.write_text(f"{TOKEN}-new alice acme watch\n")
    assert tokens.reload()
    assert tokens.authenticate(TOKEN) is None


@pytest.mark.parametrize(("host", "local"), [
    ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("[::1]", True), ("localhost", True),
    ("0.0.0.0", False), ("::", False), ("", False), ("10.0.0.1", False), ("example.org", False),
])  # fmt: skip
def test_only_this_machine_reaches_a_loopback_address(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def test_a_door_to_the_network_needs_tokens_and_tls_needs_both_its_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--tokens-file"):
        DoorOptions(host="0.0.0.0", port=0).check()
    DoorOptions(host="0.0.0.0", port=0, tokens_file=tmp_path / "tokens").check()
    with pytest.raises(ConfigError, match="--tls-key"):
        DoorOptions(host="127.0.0.1", port=0, tls_cert=tmp_path).check()
    with pytest.raises(ConfigError, match="--tls-cert"):
        DoorOptions(host="127.0.0.1", port=0, tls_cert=tmp_path, tls_key=tmp_path).check()


def test_a_port_in_use_names_the_option() -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        listener.listen()
        port = listener.getsockname()[1]
        with pytest.raises(ConfigError, match="--port"):
            bound_socket("127.0.0.1", port)
    with pytest.raises(ConfigError, match="--host"):
        bound_socket("no.such.host.invalid", 0)


@pytest.mark.parametrize(("code", "status"), [
    (KafkaError.MSG_SIZE_TOO_LARGE, 413), (KafkaError._QUEUE_FULL, 429),
    (KafkaError._MSG_TIMED_OUT, 503), (KafkaError.TOPIC_AUTHORIZATION_FAILED, 503),
])  # fmt: skip
def test_a_record_the_broker_does_not_take_has_an_answer_of_its_kind(
    code: int, status: int
) -> None:
    assert publisher._answer(KafkaError(code)).status == status


def test_only_the_stand_in_makes_the_door_look_at_what_is_unread(broker: MockBroker) -> None:
    settings = Settings.from_env({"KAFKA_BOOTSTRAP_SERVERS": broker.bootstrap_servers})
    assert isinstance(backlog_of(settings, {}), Unbounded)
    watched = backlog_of(settings, {STANDIN_BROKER: "1"})
    try:
        # Until the first look at the broker it counts as full; then an empty broker has room.
        eventually(lambda: watched.overloaded() is None, "the first look")
        watched.wrote("otlp_spans", 6_000_000, 1)
        assert watched.overloaded() is not None
    finally:
        watched.close()


# --- streams


def asking(token: str) -> HTTPConnection:
    headers = [(b"authorization", f"Bearer {token}".encode())]
    return HTTPConnection({"type": "http", "headers": headers, "client": ("127.0.0.1", 1)})


def test_a_right_to_watch_ends_with_the_token(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"{TOKEN} feed acme watch\n", "utf-8")
    tokens = Tokens(path)
    gate = Gate(tokens, RateLimit(1.0, 1.0, 10))
    request = asking(TOKEN)
    holds = gate.holds(request, gate.admit(request, "watch"), "watch")
    assert all(holds() for _ in range(3))  # asking costs nothing of the client's allowance
    for line in (
        f"{TOKEN} feed other watch",
        f"{TOKEN} feed acme metrics",
        "x" * 16 + " f a watch",
    ):
        path.write_text(line + "\n", "utf-8")
        os.utime(path, ns=(0, len(line)))
        assert tokens.reload()
        assert not holds()


def test_a_stream_ends_when_its_right_does() -> None:
    class Endless:
        async def run(self) -> None:
            await asyncio.Event().wait()

    async def never() -> None:
        await asyncio.Event().wait()

    answers = iter([True, True, False])
    walk: Any = Endless()
    there = asyncio.run(until_left(walk, never(), lambda: next(answers), every_s=0.0))
    assert there
    assert next(answers, None) is None


@pytest.mark.parametrize(
    ("origin", "host", "is_foreign"),
    [
        (None, "127.0.0.1:4318", False),
        ("http://127.0.0.1:4318", "127.0.0.1:4318", False),
        ("https://tacho.example.com", "tacho.example.com", False),
        ("http://[::1]:4318", "[::1]:4318", False),
        ("https://evil.example", "127.0.0.1:4318", True),
        ("http://127.0.0.1:4319", "127.0.0.1:4318", True),
        ("null", "127.0.0.1:4318", True),
        ("null", None, True),
        ("", "127.0.0.1:4318", True),
        ("http://[", "127.0.0.1:4318", True),
    ],
)
def test_a_page_of_another_site_is_told_by_its_origin(
    origin: str | None, host: str | None, is_foreign: bool
) -> None:
    told = {b"origin": origin, b"host": host}
    headers = [(name, text.encode()) for name, text in told.items() if text is not None]
    assert foreign(HTTPConnection({"type": "http", "headers": headers})) is is_foreign
