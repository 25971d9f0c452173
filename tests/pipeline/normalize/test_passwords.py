"""Passwords that look like words: gone where the place names them, and prose stays prose."""

import json
import re
import time
from typing import Any

import polars as pl
import pytest
import re2
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tachograph.pipeline.normalize import passwords, patterns
from tachograph.pipeline.normalize.core import Normalizer
from tachograph.pipeline.normalize.redact import Secrets
from tachograph.schemas.identity import Key

from .conftest import action, record

SECRETS = Secrets(Key(b"k" * 32))
TOKEN = re.compile(r"^‹secret:password:[0-9a-f]{16}›$")

# Each with the password in braces.
GONE = [
    '{"password": "{am.git.passwd}", "user": "git"}',
    '{"user":"a","userPassword":"{letmein}"}',
    '{"db": {"passwd":"{a b c}"}}',
    '{"new_password_confirmation": "{x}"}',
    "{'password': '{secretly}'}",
    '{"pin_pwd" : "{1234}"}',
    '{"auth": {"user": "a", "pass": "{sunshine}"}}',
    '{"SMTP_PASS": "{monkey}"}',
    "password={hunter2}",
    "PGPASSWORD={letmein} psql -h db",
    "export MYSQL_PWD={root}",
    "DB_PASS={dragon}; ./run",
    "SSHPASS={baseball} sshpass -e ssh host",
    "Server=db;User Id=sa;Password={sa};Encrypt=yes",
    "https://example.com/login?user=bob&password={swordfish}&next=1",
    "user=bob&passwd={abc}",
    'connect(host="db", password="{letmein}")',
    "password = '{letmein}'",
    'passphrase: "{correct horse battery staple}"',
    "db:\n  user: app\n  password: {letmein}\n  port: 1",
    "Your password: {hunter2}.",
    "password: {P@ssw0rd!x}",
    "password: {87654321}",
    "mysql -h db --password={letmein} -u root",
    "mysqldump -uroot -p{letmein} app",
    "tool --db-password {letmein} --port 1",
    "tool --passphrase '{my dog has fleas}'",
    "java -Dx -keypassword {changeit}",
    '["tool", "--password", "{letmein}"]',
    "openssl rsa -in k.pem -passin pass:{letmein} -out x",
    "sshpass -p {letmein} ssh root@host",
    "curl -s -u admin:{letmein} https://example.com",
    'curl --user "admin:{let me in}" https://example.com',
    "postgres://app:{app}@db:5432/app",
    "https://dana:{x}@files.example/",
    "<password>{letmein}</password>",
    "<soap:Password>{letmein}</soap:Password>",
]
KEPT = [
    # Placeholders and references.
    '{"password": "***"}',
    '{"password": "********"}',
    '{"password": "<password>"}',
    '{"password": "${DB_PASSWORD}"}',
    '{"password": "$DB_PASSWORD"}',
    '{"password": "{{ vault.password }}"}',
    '{"password": "[REDACTED]"}',
    '{"password": ""}',
    '{"password": null, "passwords": [], "pwd": {"a": 1}}',
    '{"password": true}',
    '{"properties": {"password": {"type": "string", "format": "password"}}}',
    '{"type": "password", "name": "password"}',
    "password=${DB_PASSWORD}",
    "password=$(cat /run/secrets/db)",
    "PGPASSWORD=$PGPASSWORD psql",
    "mysql --password=<password> -u root",
    "https://user:***@host/x",
    "postgres://app:${PASS}@db/app",
    "postgres://app:<password>@db/app",
    "PWD=/home/agent/project",
    '{"pwd": "/workspace"}',
    "OLDPWD=/tmp",
    # Code.
    "connect(user=user, password=password)",
    "connect(user=user, password=pw, port=1)",
    "password = get_password()",
    "password=getpass.getpass()",
    "password=args.password",
    "password = hashlib.sha256(x)",
    'password = os.environ["DB_PASSWORD"]',
    "if password == expected:",
    "def login(user, password: str) -> bool:",
    "password: string;",
    "password = None",
    # Prose.
    "The password must have 8 characters.",
    "password: required field, see below",
    "Password: must be at least 8 characters long",
    "Forgot your password? Click here: https://example.com/reset",
    "passwords: never write them down",
    "password: incorrect",
    "Error: password: incorrect or expired",
    "Use the --password flag to give it",
    "with --password is deprecated",
    "mysql --password --host db",
    "a two-pass compiler and a bypass: both",
    "password reset: 2026-11-22",
    "password: *required*",
    "password: see the wiki.",
    '{"test": "login", "pass": "yes", "fail": "no"}',
    '{"pass": 12, "fail": 0}',
    "password_policy: 12 characters",
    "password_reset_url: https://example.com/reset?x=1",
    "curl -u 1000 https://example.com",
    "docker run -u 1000:1000 image",
    "<password></password>",
]


def redacted(text: str) -> str:
    """The text as it would stand everywhere."""
    return str(SECRETS.redact(pl.Series([text]))[0][0])


def wrapped(text: str, depth: int) -> str:
    """The text as JSON text, in JSON text …"""
    for _ in range(depth):
        text = json.dumps({"cmd": text, "n": 1})
    return text


def unwrapped(text: str, depth: int) -> str:
    for _ in range(depth):
        decoded = json.loads(text)
        assert decoded["n"] == 1
        text = decoded["cmd"]
    return text


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("marked", GONE)
def test_what_a_place_names_as_a_password_goes_whatever_it_is(marked: str, depth: int) -> None:
    [(start, value)] = [(m.start(), m[1]) for m in re.finditer(r"\{([^{}\":]+)\}", marked)]
    text = marked[:start] + value + marked[start + len(value) + 2 :]
    clean = unwrapped(redacted(wrapped(text, depth)), depth)
    head, tail = marked[:start], marked[start + len(value) + 2 :]
    assert clean.startswith(head)
    assert clean.endswith(tail)
    assert re.fullmatch(r"‹secret:\w+:[0-9a-f]{16}›", clean[len(head) : len(clean) - len(tail)])


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("text", KEPT)
def test_placeholders_code_and_prose_stay(text: str, depth: int) -> None:
    assert redacted(wrapped(text, depth)) == wrapped(text, depth)


@given(st.text(min_size=1, max_size=40), st.integers(0, 3), st.booleans())
@example('a"b\\', 1, True)
@example("\\", 2, True)
@example('x\\"', 3, False)
@settings(max_examples=300, deadline=None)
def test_any_password_of_an_object_goes_whole_however_often_the_object_is_wrapped(
    value: str, depth: int, ascii_only: bool
) -> None:
    text = json.dumps({"password": value, "n": 1}, ensure_ascii=ascii_only)
    for _ in range(depth):
        text = json.dumps({"cmd": text, "n": 1}, ensure_ascii=ascii_only)
    clean = json.loads(unwrapped(redacted(text), depth))
    assert clean["n"] == 1
    if clean["password"] == value:
        assert passwords.readable(json.dumps(value, ensure_ascii=ascii_only)[1:-1], "password")
    else:
        assert TOKEN.match(clean["password"])


@settings(deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 2))
def test_a_number_becomes_a_token_in_quotes(number: int, depth: int) -> None:
    text = wrapped(json.dumps({"password": number, "n": 1}), depth)
    clean = json.loads(unwrapped(redacted(text), depth))
    assert TOKEN.match(clean["password"])


ODD = st.sampled_from(
    [
        "password", "--password ", "pass", ":", "=", " ", "'", '"', "\\", "\\\\", "\n", "x",
        "hunter2", "‹secret:", "›", "{", "}", ",", "curl -u a:", "mysql -p", "<password>",
        "</password>", "1234", "--password", "sshpass -p ",
    ]
)  # fmt: skip


@given(st.lists(ODD, max_size=25).map("".join), st.integers(0, 2))
@settings(max_examples=500, deadline=None)
def test_no_mixture_breaks_the_json_it_stands_in(text: str, depth: int) -> None:
    whole = {"a": [text, {"b": text}, "n"], text + "x": "v", "n": text}
    clean = json.loads(unwrapped(redacted(wrapped(json.dumps(whole), depth)), depth))
    assert len(clean) == len(whole)
    assert (len(clean["a"]), clean["a"][2], list(clean["a"][1])) == (3, "n", ["b"])


@pytest.mark.parametrize("marked", GONE)
def test_what_is_redacted_once_stays_as_it_is(marked: str) -> None:
    once = redacted(marked.replace("{", "", 1))
    assert redacted(once) == once


@pytest.mark.parametrize("kind", patterns.PASSWORD_HEADS)
def test_the_quick_head_matches_wherever_the_exact_one_does(kind: str) -> None:
    """Else the first pass would hide a password from the second."""
    exact = patterns.PASSWORD_HEADS[kind]

    @given(st.from_regex(exact))
    @settings(max_examples=40, deadline=None, database=None)
    def matches(text: str) -> None:
        if not re2.compile(exact).search(text):
            return  # Python folds more letters than RE2
        assert pl.Series([text]).str.contains(patterns.PASSWORD_HEAD).all(), text
        assert any(word in text.lower() for word in patterns.PASSWORD_LITERALS)

    matches()


@pytest.mark.parametrize(
    ("name", "value", "gone"),
    [
        ("db.password", "letmein", True),
        ("db.password", "two words", True),
        ("DB_PASS", "x", True),
        ("admin_password2", "y", True),
        ("db.password", "${X}", False),
        ("process.pwd", "/home/x", False),
        ("password_policy", "strict", False),
    ],
)
def test_an_attribute_that_names_a_password_is_one(
    core: Normalizer, name: str, value: str, gone: bool
) -> None:
    found = core.normalize([record(action(attributes={name: value, "other": "kept"}))])
    [row] = found.frame.to_dicts()
    pairs: dict[str, Any] = {pair["key"]: pair["value"] for pair in row["attributes"]}
    assert pairs["other"] == "kept"
    assert (TOKEN.match(pairs[name]) is not None) is gone
    assert pairs[name] == value or gone


@pytest.mark.parametrize(
    "text",
    [
        '"password": "' * 5_000,
        '"password": "' + '\\"' * 30_000,
        '"password": "' + "\\" * 60_000,
        "--password " * 6_000,
        "curl -u " * 8_000,
        "mysql " * 10_000,
        "password: " + "x" * 60_000,
        "<password>" * 6_000,
        "password='" * 6_000,
        "‹secret:password:" * 3_000,
    ],
)
def test_no_text_takes_more_than_linear_time(text: str) -> None:
    """A quadratic scan would need minutes; the bound is wide because machines differ."""
    start = time.process_time()
    redacted(text)
    assert time.process_time() - start < 5
