"""Redaction: secrets go, words stay, JSON stays JSON, equal values join, and no text is slow."""

import json
import time
from typing import Any

import msgspec
import polars as pl
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from tachograph.pipeline.normalize import patterns
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.redact import Secrets
from tachograph.schemas.identity import Key

from .conftest import action, record

SECRETS = Secrets(Key(b"k" * 32))
B64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"
# In pieces: this file must not look as if it held keys.
FOUND = {
    "aws_access_key": "AKIA" + "IOSFODNN7ABCDEFG",
    "gcp_api_key": "AIza" + "SyA1234567890abcdefghijklmnopqrstuvw",
    "github_token": "ghp_" + "a1B2" * 9,
    "gitlab_token": "glpat-" + "abcDEF123456_7890xyz",
    "slack_token": "xoxb-" + "1234567890-abcdefghij",
    "stripe_key": "sk_live_" + "abcdefghijklmnop1234",
    "openai_key": "sk-proj-" + "abcdefghijklmnopqrst1234",
    "anthropic_key": "sk-ant-" + "api03-abcdefghijklmnopqrst",
    "huggingface_token": "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345",
    "npm_token": "npm_" + "a1B2" * 9,
    "jwt": "eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0",
    "sendgrid_key": "SG." + "abcdefghijklmnopqrstuv." + "a1B2c3" * 7,
    "vault_token": "hvs." + "CAESIAbcdefghijklmnopqrst",
    "azure_storage_key": "AccountKey=" + "a1B2" * 21 + "==",
    "private_key": f"-----BEGIN RSA PRIVATE KEY-----\n{B64}\n{B64}\n-----END RSA PRIVATE KEY-----",
    "connection_string": "postgres://app:Pa55-w0rd@db.internal:5432/app",
    "url_password": "https://dana:Pa55-w0rd@files.example/x",
    "authorization": "Authorization: Bearer abcdef0123456789abcdef",
    "password": "db_password = 'hunter2-hunter2'",
    "keyword": "client_secret = 'a1b2c3d4-hunter2'",
}
LEFT_ALONE = [
    "max_tokens: 4096000000",
    "usage.output_tokens=12345678",
    "token = process.env.API_TOKEN",
    "password: required field, see below",
    "secret_name=production/database-2",
    "the secret: nobody knows",
    "token_url: https://login.example.com/oauth2/v2.0",
    "password=${DB_PASSWORD}",
    "api_key: <your-api-key-1>",
    "keyboard: dvorak-2024-layout",
    "https://example.com/a:b@c",
    "task-1234567890123456789012345678901234",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "2026-11-22T18:00:00.123456Z",
]


def redacted(text: str) -> str:
    """The text as it would stand everywhere."""
    return str(SECRETS.redact(pl.Series([text]))[0][0])


@pytest.mark.parametrize("kind", FOUND)
def test_a_secret_becomes_a_typed_token_inside_any_text(kind: str) -> None:
    for text in (FOUND[kind], f"see »{FOUND[kind]}« here", f"a\n{FOUND[kind]}\nb"):
        clean = redacted(text)
        assert f"‹secret:{kind}:" in clean, clean
        assert not any(word in clean for word in ("Pa55-w0rd", "hunter2", B64, "IOSFODNN7"))


@pytest.mark.parametrize("pattern", patterns.PROVIDERS, ids=lambda p: f"{p.type}-{p.literals[0]}")
def test_the_head_of_a_pattern_matches_wherever_the_pattern_does(pattern: patterns.Pattern) -> None:
    """Else the quick first pass would hide a secret from the exact second one."""

    @given(st.from_regex(pattern.regex))
    @settings(max_examples=25, deadline=None, database=None)
    def matches(text: str) -> None:
        if not re2.compile(pattern.regex).search(text):
            return  # Python folds more letters than RE2
        assert pl.Series([text]).str.contains(pattern.head).all(), text
        assert any(literal in text.lower() for literal in pattern.literals)

    matches()


@given(st.from_regex(patterns.KEYWORD))
@settings(max_examples=100, deadline=None)
def test_the_head_of_the_key_words_matches_wherever_they_do(text: str) -> None:
    if re2.compile(patterns.KEYWORD).search(text):
        assert pl.Series([text]).str.contains(patterns.KEYWORD_HEAD).all()
        assert any(word in text.lower() for word in patterns.KEYWORDS)


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_words_about_secrets_are_left_alone(text: str) -> None:
    assert redacted(text) == text


def test_equal_values_get_equal_fingerprints_wherever_they_are_and_another_key_other_ones() -> None:
    one, other = redacted("postgres://u:Pa55-w0rd@h/d"), redacted("password=Pa55-w0rd")
    assert one.split("›")[0][-16:] == other.split("›")[0][-16:]
    foreign, _ = Secrets(Key(b"z" * 32)).redact(pl.Series(["password=Pa55-w0rd"]))
    assert foreign[0] != other


@pytest.mark.parametrize("kind", FOUND)
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_json_text_stays_json_text_however_often_it_is_wrapped(kind: str, depth: int) -> None:
    text = FOUND[kind]
    for _ in range(depth):
        text = json.dumps({"note": "before", "secret text": text, "then": ["x", 1]})
    clean = json.loads(redacted(text))
    for _ in range(depth - 1):
        clean = json.loads(clean["secret text"])
    assert clean["then"] == ["x", 1]
    assert "‹secret:" in clean["secret text"]


def test_a_key_and_its_value_as_json_are_seen() -> None:
    text = '{"password": "hunter2-hunter2", "client_secret":"a1b2c3d4e5f6"}'
    clean = json.loads(redacted(text))
    assert clean["password"].startswith("‹secret:password:")
    assert clean["client_secret"].startswith("‹secret:keyword:")


@given(st.text(max_size=200), st.sampled_from(sorted(FOUND)), st.text(max_size=50))
@settings(max_examples=200, deadline=None)
def test_what_is_redacted_once_is_not_redacted_again(head: str, kind: str, tail: str) -> None:
    once = redacted(f"{head} {FOUND[kind]} {tail}")
    assert redacted(once) == once


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.sampled_from(sorted(FOUND.values())),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    )
)
@settings(max_examples=200, deadline=None)
def test_redaction_never_breaks_json(value: Any) -> None:
    for text in (
        json.dumps(value),
        json.dumps(value, ensure_ascii=False),
        json.dumps(json.dumps(value)),
    ):
        json.loads(redacted(text))


def test_every_text_list_and_attribute_is_covered_and_the_action_says_what_was_found(
    core: Normalizer,
) -> None:
    key = FOUND["aws_access_key"]
    found = core.normalize(
        [
            record(
                action(
                    agent_id=f"agent {key}",
                    content_text=key,
                    tool_args={"x": [key]},
                    tags=["a", key],
                    attributes={"k": key, key: "v", "service.api_key": "a1b2c3d4e5f6g7"},
                    newer={"y": key},
                    session_id=key,
                    secret_types=["canary"],
                )
            )
        ]
    )
    assert found.dead == []
    [row] = found.frame.to_dicts()
    assert key not in repr(row)
    assert "a1b2c3d4e5f6g7" not in repr(row)
    assert row["redactions"] == ["aws_access_key", "keyword"]
    assert row["secret_types"] == ["aws_access_key", "canary", "keyword"]
    assert len(row["secret_fingerprints"]) == 2
    assert found.redacted["aws_access_key"] >= 7
    assert json.loads(row["tool_args"])["x"][0].startswith("‹secret:")


@pytest.mark.parametrize(
    "name", ["source_kind", "content_direction", "secret_types", "secret_fingerprints"]
)
def test_no_field_of_a_producer_is_believed_to_be_clean(core: Normalizer, name: str) -> None:
    key = FOUND["aws_access_key"]
    sent: Any = f"a {key}"
    listed = name.startswith("secret_")
    found = core.normalize([record(action(**{name: [sent] if listed else sent}))])
    [row] = found.frame.to_dicts()
    assert key not in repr(row)
    assert "‹secret:aws_access_key:" in repr(row[name])
    assert row["redactions"] == ["aws_access_key"]


def test_links_name_things_as_the_actions_do(core: Normalizer) -> None:
    key = FOUND["aws_access_key"]
    found = core.normalize([record(action(agent_id=key, session_id=key, trace_id="t"))])
    [link] = found.links
    [row] = found.frame.to_dicts()
    assert (link.session_id, link.agent_id) == (row["session_id"], row["agent_id"])
    assert link.partition_key == row["partition_key"]
    assert key not in repr(link)


def test_ids_do_not_depend_on_how_texts_are_redacted(core: Normalizer) -> None:
    """The id is made of what was sent, so a later pattern does not give old actions new ids."""
    one, two = (
        core.normalize([record(action(content_text=text))]).frame["event_id"][0]
        for text in (FOUND["npm_token"], FOUND["npm_token"][:-1] + "z")
    )
    assert one != two


@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN PRIVATE KEY-----" * 2000,
        "-----BEGIN RSA PRIVATE KEY-----" + "A" * 60_000,
        "password=" * 7000,
        "token: \\n\\n\\n" * 5000,
        "eyJ" + "a" * 30_000 + "." + "b" * 30_000,
        "http://" + "a:" * 30_000,
        "http://a:b" * 6000 + "@",
        "sk-" * 20_000,
        "é" * 30_000 + " password=" + "é" * 100,
        "‹secret:" * 8000,
        "a" * 64_000,
    ],
)
def test_no_text_takes_more_than_linear_time(text: str) -> None:
    """A quadratic pattern would need minutes; the bound is wide because machines differ."""
    start = time.process_time()
    redacted(text)
    assert time.process_time() - start < 5


def test_snapshots_are_redacted_in_every_text(core: Normalizer) -> None:
    value = {
        "snapshot_id": "s",
        "tenant": "t",
        "taken_at": "2026-11-22T18:00:00Z",
        "source": "stream",
        "alert_id": "forged",
        "goals": [FOUND["npm_token"]],
        "last_actions": [{"tool": FOUND["keyword"]}],
    }
    found = core.normalize([record(value, headers={"tacho-record": b"state_snapshot"})])
    [snapshot] = found.snapshots
    text = msgspec.json.encode(snapshot).decode()
    assert FOUND["npm_token"] not in text
    assert "hunter2" not in text
    assert (snapshot.source, snapshot.alert_id, snapshot.tenant) == ("agent", None, "acme")
