"""Canaries: planted texts that leave, plain or encoded."""

import base64
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.reference.canaries import forms
from tests.detectors.reference.known import said

HEX = b"Project Nightjar 7741".hex()
PLANTED = [{"name": "board memo", "values": ["Project Nightjar 7741"]}]


def seen(**action: Any) -> tuple[Any, Any]:
    found = said(action, canaries=PLANTED)
    return found.get("canary_name"), found.get("canary_leaving")


@pytest.mark.parametrize(
    "action",
    [
        {"kind": "tool_call", "tool_args": '{"body": "about project nightjar 7741"}'},
        {"kind": "http", "target_url": "https://x.org/?q=" + quote("Project Nightjar 7741")},
        {"kind": "completion", "content_text": "It says Project Nightjar 7741."},
        {"kind": "other", "content_direction": "out", "content_text": "Project Nightjar 7741"},
        {"kind": "process", "process_command_line": f"echo {HEX}"},
    ],
)  # fmt: skip
def test_a_canary_in_what_goes_out_leaves(action: dict[str, Any]) -> None:
    assert seen(**action) == ("board memo", True)


def test_a_canary_that_came_in_has_been_met_but_does_not_leave() -> None:
    assert seen(kind="tool_call", tool_result="Project Nightjar 7741") == ("board memo", False)
    assert seen(kind="retrieval", content_text="Project Nightjar 7741") == ("board memo", False)


def test_other_texts_are_none() -> None:
    assert seen(kind="tool_call", tool_args='{"body": "Project Nightjar"}') == (None, None)


def test_another_tenants_canary_is_none() -> None:
    action = {"kind": "completion", "content_text": "Project Nightjar 7741"}
    assert "canary_name" not in said(action, canaries=[{**PLANTED[0], "tenant": "acme"}])


@given(
    st.binary(max_size=9), st.text("abcXYZ 019-_/", min_size=9, max_size=20), st.binary(max_size=9)
)
def test_a_canary_is_found_wherever_it_starts_in_base64(
    before: bytes, value: str, after: bytes
) -> None:
    text = base64.b64encode(before + value.encode() + after).decode()
    assert any(form in text for form in forms(value))
