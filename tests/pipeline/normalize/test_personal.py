"""Personal data becomes tokens where that is asked for, and nothing else does."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.columns import Redaction
from tachograph.pipeline.normalize.personal import RULES_VARIABLE, VARIABLE, card, redactors

SECRET = b"k" * 32
ALL = Redaction(redactors(SECRET, {VARIABLE: "all,ip"}))


def seen(text: str, redaction: Redaction = ALL) -> str:
    found = redaction.texts([text])[0]
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("email", "dana.smith+work@mail.acme.example"),
        ("phone", "+43 (1) 234-5678"),
        ("iban", "GB82 WEST 1234 5698 7654 32"),
        ("iban", "DE89370400440532013000"),
        ("card", "4111 1111 1111 1111"),
        ("card", "5500-0000-0000-0004"),
        ("us_ssn", "536-22-8791"),
        ("es_dni", "12345678Z"),
        ("uk_nino", "AB 12 34 56 C"),
        ("fr_nir", "1 85 05 78 006 084 91"),
        ("us_itin", "912-90-3456"),
        ("es_nie", "X-2482300W"),
        ("it_codice_fiscale", "RCCMNL83S18D969H"),
        ("fi_hetu", "131052-308T"),
        ("be_nn", "85.07.30-033 28"),
        ("ch_ahv", "756.9217.0769.85"),
        ("se_personnummer", "880320-0016"),
        ("br_cpf", "390.533.447-05"),
        ("mx_curp", "BOXW310820HNERXN09"),
        ("cn_ric", "360426199101010071"),
        ("ip", "203.0.113.9"),
    ],
)
def test_a_personal_value_becomes_a_token_wherever_it_stands(kind: str, value: str) -> None:
    token = seen(value)
    assert token.startswith(f"‹personal:{kind}:"), token
    for text in (f"call {value} now", f'{{"x": "{value}"}}', f"({value})", f"{value}\n{value}"):
        found = seen(text)
        assert value not in found
        assert found == text.replace(value, token)


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",  # the check digit is wrong
        "GB83 WEST 1234 5698 7654 32",
        "12345678A",
        "X-2482300A",
        "RCCMNL83S18D969A",
        "131052-308U",
        "85.07.30-033 29",
        "756.9217.0769.86",
        "880320-0017",
        "390.533.447-06",
        "BOXW310820HNERXN08",
        "360426199101010072",
        "880330-88",
        "000-12-3456",
        "BG 12 34 56 C",
        "1 85 05 78 006 084 92",
        "version 300.1.2.400",
        "order 2026-11-26, 12:30, build 1234567",
        "+1 2",
        "@decorator and user@localhost",
        "0000 0000 0000 0000",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert seen(text) == text


def test_nothing_of_it_is_replaced_unless_it_is_asked_for() -> None:
    text = "dana@acme.example, 4111 1111 1111 1111"
    assert seen(text, Redaction(redactors(SECRET, {}))) == text
    cards = Redaction(redactors(SECRET, {VARIABLE: "card"}))
    assert seen(text, cards).startswith("dana@acme.example, ‹personal:card:")


def test_equal_values_get_equal_tokens_and_are_tagged_apart_from_secrets() -> None:
    frame = pl.DataFrame(
        {
            "content_text": ["to dana@acme.example with AKIAIOSFODNN7ABCDEFG", "nothing"],
            "principal_id": ["dana@acme.example", "x"],
        }
    )
    clean, counts = ALL.frame(frame)
    token = clean["principal_id"][0]
    assert token in clean["content_text"][0]
    assert clean["redactions"].to_list()[0] == ["aws_access_key", "personal.email"]
    assert clean["secret_types"].to_list()[0] == ["aws_access_key"]
    assert len(clean["secret_fingerprints"].to_list()[0]) == 1
    assert counts == {"aws_access_key": 1, "personal.email": 2}
    assert ALL.frame(clean.select("content_text", "principal_id"))[1] == {}


def test_an_operators_own_patterns_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "redact.toml"
    path.write_text('[[pattern]]\nname = "customer"\nregex = "KD-[0-9]{6}"\n')
    own = Redaction(redactors(SECRET, {RULES_VARIABLE: str(path)}))
    assert seen("customer KD-123456 called", own).startswith("customer ‹personal:customer:")


@pytest.mark.parametrize(
    "content",
    ["[[pattern]]\nname = 'x'\nregex = '('", "[[pattern]]\nname = 'x'\nregex = 'a*'", "pattern = 1",
     "[[pattern]]\nname = 'X Y'\nregex = 'a'", "[[pattern]]\nname = 'x'\nregex = '(?=a)'", "= 1"],
)  # fmt: skip
def test_patterns_that_cannot_be_used_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "redact.toml"
    path.write_text(content)
    with pytest.raises(ConfigError):
        redactors(SECRET, {RULES_VARIABLE: str(path)})


def test_a_kind_that_does_not_exist_and_a_file_that_is_not_there_are_refused() -> None:
    with pytest.raises(ConfigError):
        redactors(SECRET, {VARIABLE: "email,shoe_size"})
    with pytest.raises(ConfigError):
        redactors(SECRET, {RULES_VARIABLE: "/nowhere"})


@given(st.integers(10**11, 10**17))
def test_a_card_is_found_by_its_check_digit_alone(number: int) -> None:
    body = str(number)
    right = [d for d in "0123456789" if card(body + d)]
    assert len(right) == (1 if len(set(body + right[0])) > 1 else 0) or len(set(body)) == 1


@given(st.text("0123456789", min_size=18, max_size=18))
def test_an_iban_is_found_by_its_check_digits_alone(body: str) -> None:
    numeric = int(body + str(int("D", 36)) + str(int("E", 36)) + "00")
    check = 98 - numeric % 97
    assert seen(f"DE{check:02d}{body}").startswith("‹personal:iban:")
    assert "iban" not in seen(f"DE{(check + 1) % 100:02d}{body}")


@given(st.text(max_size=300))
def test_any_text_is_taken(text: str) -> None:
    assert seen(seen(text)) == seen(text)


@given(st.from_regex(r"\A(?:355563|[1-9][0-9]{5})[0-9]{11}[0-9X]\Z"))
@example("355563372312264772")
def test_a_number_of_no_place_is_none_and_breaks_nothing(number: str) -> None:
    seen(number)
