"""Private values are known again in what goes out, in whatever writing."""

import base64
import gzip
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tachograph.detectors.facts import Facts
from tachograph.detectors.intent import flows
from tachograph.detectors.intent.flows import Flows, Leak
from tachograph.detectors.intent.steps import Step

HOUR_US = 3600 * 1_000_000
TEXT = (
    "The board has agreed to sell the northern branch to its largest competitor in May for a sum"
    " that is not to be known before the second week of April by anyone outside this room"
)
NUMBER = "4929 7718 2210 0042"


def step(event: str, at_s: int = 0, label: str = "", **more: Any) -> Step:
    notes = {"content_labels": label} if label else {}
    facts = Facts(event_id=event, time_us=at_s * 1_000_000, tenant="default")
    return Step(facts, 0, notes=notes, **more)


def sent(*bodies: str, brought: str = "", label: str = "", after_s: int = 10) -> list[Leak | None]:
    """What the calls with these bodies take along of a text that was read before."""
    one = Flows(HOUR_US)
    one.read(step("read", label=label, brought=brought, tool="read_record"))
    return [
        one.taken(step(f"send {at}", after_s + at, tool="post", args=json.dumps({"body": body})))
        for at, body in enumerate(bodies)
    ]


def gzipped(text: str) -> str:
    return base64.b64encode(gzip.compress(text.encode())).decode()


WRITINGS: dict[str, Callable[[str], str]] = {
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "url-safe base64": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hex": lambda text: text.encode().hex(),
    "url": lambda text: quote(text, safe=""),
    "gzip": gzipped,
    "base64 twice": lambda text: base64.b64encode(base64.b64encode(text.encode())).decode(),
}


@pytest.mark.parametrize("writing", WRITINGS)
def test_a_private_text_is_known_again_when_it_is_encoded(writing: str) -> None:
    (leak,) = sent(WRITINGS[writing](TEXT), brought=TEXT, label="confidential")
    assert leak is not None
    assert leak.form == "encoded"
    assert leak.source.label == "confidential"


def test_a_private_value_is_known_as_it_is_and_reversed() -> None:
    brought = f"name: Ada\ncard number: {NUMBER}\n"
    plain, backwards, nothing = sent(
        f"pay with {NUMBER} now", NUMBER[::-1], "hello", brought=brought
    )
    assert plain is not None
    assert backwards is not None
    assert (plain.form, backwards.form, nothing) == ("as it is", "reversed", None)


@pytest.mark.parametrize("written", [NUMBER.replace(" ", ""), NUMBER.replace(" ", "-")])
def test_a_number_is_known_however_its_digits_are_parted(written: str) -> None:
    (leak,) = sent(f"pay with {written} now", brought=f"card number: {NUMBER}")
    assert leak is not None
    (encoded,) = sent(WRITINGS["base64"](written), brought=f"card number: {NUMBER}")
    assert encoded is not None
    assert encoded.form == "encoded"


def test_a_number_that_a_call_is_sent_to_is_no_leak_in_another_spelling() -> None:
    one = Flows(HOUR_US)
    one.read(step("read", brought="phone: 0047 22 33 44 55", tool="get_contact"))
    args = json.dumps({"to": "004722334455", "body": "hello"})
    assert one.taken(step("call", 5, tool="send_sms", args=args)) is None


def test_a_redacted_secret_is_known_by_its_token() -> None:
    token = "‹secret:github_token:5f2c90aa11bb22cc›"
    (leak,) = sent(f"use {token}", brought=f"the key is {token}")
    assert leak is not None
    assert leak.source.certain


def test_a_value_in_pieces_is_known_when_nearly_all_of_it_has_left() -> None:
    found = sent("first 4929 7718", "nothing", "then  2210 0042", brought=f"card number: {NUMBER}")
    assert found[:2] == [None, None]
    assert found[2] is not None
    assert (found[2].form, found[2].before) == ("in pieces", ("send 0",))


def test_a_text_in_pieces_is_known() -> None:
    words = TEXT.split()
    pieces = [" ".join(words[at : at + 9]) for at in range(0, 27, 9)]
    assert [leak.form if leak else None for leak in sent(*pieces, brought=TEXT, label="pii")][
        -1
    ] == ("in pieces")


def test_a_secret_that_opens_the_door_of_a_call_is_used_and_not_sent() -> None:
    one = Flows(HOUR_US)
    one.read(step("read", brought="api key: 77aa-88bb-99cc", tool="vault"))
    args = json.dumps({"api_key": "77aa-88bb-99cc", "q": "weather"})
    assert one.taken(step("call", 5, args=args)) is None


def test_after_an_hour_nothing_is_held_against_a_call() -> None:
    brought = f"card number: {NUMBER}"
    assert sent(NUMBER, brought=brought, after_s=3_599)[0] is not None
    assert sent(NUMBER, brought=brought, after_s=3_601)[0] is None


def test_values_and_texts_are_bounded_and_say_so() -> None:
    one = Flows(HOUR_US)
    many = "\n".join(f"card number: 4000 {at:08d}" for at in range(flows.MAX_VALUES + 10))
    one.read(step("read", brought=many))
    assert one.cut


def test_a_bomb_is_inflated_only_so_far() -> None:
    bomb = base64.b64encode(gzip.compress(b"0" * 50_000_000)).decode()
    assert max(len(text) for _, text in flows.readings(bomb)) <= max(flows.MAX_INFLATED, len(bomb))
    many = " ".join([gzipped("0" * 60_000)] * 15)
    read = sum(len(text) for form, text in flows.readings(many) if form == "encoded")
    assert read <= flows.MAX_READ_CHARS


@given(st.text(max_size=400), st.text(max_size=400))
def test_any_texts_are_read_and_sent(brought: str, body: str) -> None:
    sent(body, body, brought=brought, label="pii")


def test_however_many_are_addressed_each_text_is_tightened_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def tight(text: str, real: Callable[[str], str] = flows._tight) -> str:
        asked.append(text)
        return real(text)

    one = Flows(HOUR_US)
    numbers = "\n".join(f"account number: {10**11 + at}" for at in range(40))
    one.read(step("read", label="confidential", brought=numbers, tool="read_record"))
    assert len(one._values) > 30
    monkeypatch.setattr(flows, "_tight", tight)
    to = [f"{at}@example.org" for at in range(100)]
    one.taken(step("send", 10, tool="post", args=json.dumps({"to": to, "body": "hello"})))
    assert len(asked) < 2 * len(to)
