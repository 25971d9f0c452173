"""The door's word and the operator's key."""

import stat
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.pipeline.door_headers import DoorFacts, sign, verify
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.secrets import derive, operator_key

KEY = bytes(range(32))


@given(
    st.binary(),
    st.none() | st.text(max_size=100),
    st.integers(0, 2**60),
    st.none() | st.text(max_size=100),
)
def test_what_the_door_says_arrives(
    value: bytes, principal: str | None, at: int, tenant: str | None
) -> None:
    assert verify(KEY, value, sign(KEY, value, principal, at, tenant)) == DoorFacts(
        principal, at, tenant
    )


def test_nothing_of_it_can_be_changed_left_out_or_moved() -> None:
    headers = sign(KEY, b"v", "svc", 5, "acme")
    for name in headers:
        assert verify(KEY, b"v", {**headers, name: headers[name] + b"1"}) is None
        assert verify(KEY, b"v", {k: v for k, v in headers.items() if k != name}) is None
    assert verify(KEY, b"w", headers) is None
    assert verify(bytes(32), b"v", headers) is None
    without = sign(KEY, b"v", None, 5, None)
    assert verify(KEY, b"v", {**without, "tacho-principal": b""}) is None


@given(
    st.dictionaries(
        st.sampled_from(["tacho-door", "tacho-observed", "tacho-principal", "x"]), st.binary()
    )
)
def test_headers_of_strangers_prove_nothing_and_raise_nothing(headers: dict[str, bytes]) -> None:
    assert verify(KEY, b"v", headers) is None


def test_a_name_longer_than_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="1024"):
        sign(KEY, b"v", "x" * 2000, 5, None)


def test_the_key_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(operator_key(tmp_path / "home", {})))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert stat.S_IMODE((tmp_path / "home" / "operator.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["operator.key"]


def test_the_environment_may_bring_the_key(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("ab" * 32)
    file.chmod(0o600)
    assert operator_key(tmp_path, {"TACHO_OPERATOR_KEY": "cd" * 32}) == bytes.fromhex("cd" * 32)
    assert operator_key(tmp_path, {"TACHO_OPERATOR_KEY_FILE": str(file)}) == bytes.fromhex(
        "ab" * 32
    )


def test_a_key_that_others_can_read_or_that_is_none_is_an_error_that_says_so(
    tmp_path: Path,
) -> None:
    file = tmp_path / "key"
    file.write_text("ab" * 32)
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        operator_key(tmp_path, {"TACHO_OPERATOR_KEY_FILE": str(file)})
    with pytest.raises(ConfigError, match="hex digits"):
        operator_key(tmp_path, {"TACHO_OPERATOR_KEY": "short"})
    with pytest.raises(ConfigError, match="No such file"):
        operator_key(tmp_path, {"TACHO_OPERATOR_KEY_FILE": str(tmp_path / "none")})


def test_sub_keys_differ_by_purpose() -> None:
    assert len({derive(KEY, purpose) for purpose in ("ids", "redaction", "door", "content")}) == 4
