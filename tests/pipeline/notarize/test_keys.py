"""The notary's keys: private, vouched for, rotated without losing what older ones signed."""

import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.notarize.files import append_lines, read_lines
from tachograph.pipeline.notarize.heads import read_head, sign_head
from tachograph.pipeline.notarize.keys import KEY_FILE, RING_FILE, Keys, SigningKey, read_ring
from tachograph.pipeline.notarize.merkle import Edge
from tachograph.schemas import codec
from tachograph.schemas.records import TreeHead

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def head(key: SigningKey, size: int = 1) -> TreeHead:
    edge = Edge()
    edge.extend(bytes([n]) * 32 for n in range(size))
    return sign_head(key, "cluster", ("agent.alerts", 0), edge, next_offset=size, at=NOON)


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    first = Keys(tmp_path, {}).signing()
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert Keys(tmp_path, {}).signing().key_id == first.key_id
    assert len(Keys(tmp_path, {}).ring().keys) == 1


def test_a_head_holds_after_a_way_through_json_and_no_changed_one_does(tmp_path: Path) -> None:
    keys = Keys(tmp_path, {})
    signed = head(keys.signing(), 5)
    assert read_head(codec.encode(signed)) == signed
    ring = keys.ring()
    assert ring.holds(signed)
    changes: list[dict[str, Any]] = [
        {"size": 6}, {"root": "00"}, {"cluster": ""}, {"edge": []}, {"next_offset": 9},
        {"topic": "agent.state"}, {"signature": ""}, {"key_id": "0" * 16},
    ]  # fmt: skip
    for change in changes:
        assert not ring.holds(msgspec.structs.replace(signed, **change)), change


def test_after_a_rotation_the_new_key_signs_and_what_the_old_one_signed_holds(
    tmp_path: Path,
) -> None:
    running = Keys(tmp_path, {})
    before = head(running.signing())
    told = Keys(tmp_path, {}).rotate()
    after = head(running.signing(), 2)
    assert before.key_id == told.signed_by
    assert after.key_id == told.key_id != before.key_id
    assert running.ring().holds(before)
    assert running.ring().holds(after)
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600


def test_a_rotation_that_was_cut_short_is_finished_at_the_next_use(tmp_path: Path) -> None:
    Keys(tmp_path, {}).signing()
    old = (tmp_path / KEY_FILE).read_bytes()
    told = Keys(tmp_path, {}).rotate()
    (tmp_path / (KEY_FILE + ".next")).write_bytes((tmp_path / KEY_FILE).read_bytes())
    (tmp_path / (KEY_FILE + ".next")).chmod(0o600)
    (tmp_path / KEY_FILE).write_bytes(old)  # as it was before the last step
    assert Keys(tmp_path, {}).signing().key_id == told.key_id
    assert not (tmp_path / (KEY_FILE + ".next")).exists()


def test_a_key_that_nobody_vouches_for_is_in_no_ring(tmp_path: Path) -> None:
    Keys(tmp_path / "ours", {}).signing()
    Keys(tmp_path / "theirs", {}).signing()
    line = next(read_lines(tmp_path / "theirs" / RING_FILE))
    append_lines(tmp_path / "ours" / RING_FILE, [line])
    with pytest.raises(ConfigError, match="nobody vouches"):
        read_ring(tmp_path / "ours" / RING_FILE)


def test_a_key_that_is_not_the_newest_of_the_ring_does_not_sign(tmp_path: Path) -> None:
    Keys(tmp_path, {}).signing()
    (tmp_path / KEY_FILE).unlink()
    with pytest.raises(ConfigError, match="not the newest key"):
        Keys(tmp_path, {}).signing()


def test_a_named_key_is_read_where_it_is_and_never_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Keys(tmp_path, {"TACHO_NOTARY_KEY_FILE": str(tmp_path / "safe" / "key")}).signing()
    (tmp_path / "key").write_text("ab" * 32)
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(ConfigError, match="read by others"):
        Keys(tmp_path, {"TACHO_NOTARY_KEY_FILE": str(tmp_path / "key")}).signing()


def test_a_line_torn_by_a_power_cut_stays_the_only_one(tmp_path: Path) -> None:
    path = tmp_path / "heads"
    append_lines(path, [b"one"])
    with path.open("ab") as file:
        file.write(b'{"to')
    assert list(read_lines(path)) == [b"one"]
    append_lines(path, [b"two"])
    assert list(read_lines(path)) == [b"one", b'{"to', b"two"]
