"""Sixty-odd kinds of secrets and personal values, made here; in pieces, so that no scanner of code
takes this file for one that holds keys.
"""

B64 = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7"
_HEX = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
_MIX = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4y5Z6"


def _url(scheme: str, password: str) -> tuple[str, str]:
    return f"{scheme}://app:{password}@db.internal:5432/app", password


def _whole(text: str) -> tuple[str, str]:
    return text, text


# Kind → the text that an agent sends, and the part of it that nobody may see again.
PLANTED: dict[str, tuple[str, str]] = {
    # Keys and tokens that have a form of their own.
    "aws access key": _whole("AKIA" + "IOSFODNN7ABCDEFG"),
    "aws temporary key": _whole("ASIA" + "IOSFODNN7ABCDEFG"),
    "google api key": _whole("AIza" + "SyA1234567890abcdefghijklmnopqrstuvw"),
    "github personal token": _whole("ghp_" + _MIX[:36]),
    "github app token": _whole("ghs_" + _MIX[:36]),
    "github fine-grained token": _whole("github_" + "pat_" + _MIX[:40]),
    "gitlab token": _whole("glpat-" + "abcDEF123456_7890xyz"),
    "slack bot token": _whole("xoxb-" + "1234567890-abcdefghij"),
    "slack app token": _whole("xapp-" + "1-A0123456789-abcdef"),
    "slack webhook": ("https://hooks.slack.com/services/" + "T0000/B0000/" + _MIX[:24],
                      _MIX[:24]),
    "stripe key": _whole("sk_" + "live_" + "abcdefghijklmnop1234"),
    "stripe webhook secret": _whole("whsec_" + _MIX[:32]),
    "openai project key": _whole("sk-" + "proj-" + "abcdefghijklmnopqrst1234"),
    "openai key": _whole("sk-" + _MIX[:48]),
    "anthropic key": _whole("sk-" + "ant-api03-abcdefghijklmnopqrst"),
    "openrouter key": _whole("sk-" + "or-v1-" + _HEX),
    "huggingface token": _whole("hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz012345"),
    "npm token": _whole("npm_" + _MIX[:36]),
    "pypi token": _whole("pypi-" + "AgEIcHlwaS5vcmc" + _MIX),
    "sendgrid key": _whole("SG." + "abcdefghijklmnopqrstuv." + "a1B2c3" * 7),
    "mailgun key": _whole("key-" + _HEX),
    "mailchimp key": _whole(_HEX + "-us14"),
    "digitalocean token": _whole("dop_" + "v1_" + _HEX * 2),
    "databricks token": _whole("dapi" + _HEX),
    "shopify token": _whole("shpat_" + _HEX),
    "telegram bot token": _whole("123456789:" + "AA" + _MIX[:33]),
    "groq key": _whole("gsk_" + _MIX[:48]),
    "replicate token": _whole("r8_" + _MIX[:37]),
    "perplexity key": _whole("pplx-" + _MIX[:44]),
    "linear key": _whole("lin_" + "api_" + _MIX[:40]),
    "notion token": _whole("ntn_" + _MIX[:44]),
    "vault token": _whole("hvs." + "CAESIAbcdefghijklmnopqrst"),
    "grafana token": _whole("glsa_" + _MIX[:40]),
    "new relic key": _whole("NRAK-" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ1"),
    "square token": _whole("sq0atp-" + _MIX[:22]),
    "docker token": _whole("dckr_" + "pat_" + _MIX[:27]),
    "figma token": _whole("figd_" + _MIX[:40]),
    "supabase token": _whole("sbp_" + _HEX + _HEX[:8]),
    "age key": _whole("AGE-SECRET-" + "KEY-1" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123" * 2),
    "json web token": _whole("eyJ" + "hbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jV"
                             "mNHl0w5N_XgL0"),
    "private key": (f"-----BEGIN RSA PRIVATE KEY-----\n{B64}\n{B64}\n-----END RSA PRIVATE KEY-----",
                    B64),
    "azure storage key": ("AccountKey=" + "a1B2" * 21 + "==", "a1B2" * 21),
    # What only its place tells.
    "postgres password": _url("postgres", "Pa55-w0rd-pg"),
    "mysql password": _url("mysql", "Pa55-w0rd-my"),
    "mongodb password": _url("mongodb+srv", "Pa55-w0rd-mo"),
    "redis password": _url("redis", "Pa55-w0rd-re"),
    "amqp password": _url("amqps", "Pa55-w0rd-am"),
    "url password": ("https://dana:Pa55-w0rd-url@files.example/x", "Pa55-w0rd-url"),
    "bearer token": ("Authorization: Bearer " + "abcdef0123456789abcdef", "abcdef0123456789abcdef"),
    "basic credentials": ("Authorization: Basic " + "ZGFuYTpodW50ZXIyLWh1bnRlcjI=",
                          "ZGFuYTpodW50ZXIyLWh1bnRlcjI"),
    "password in a config": ("db_password = 'hunter2-hunter2'", "hunter2-hunter2"),
    "password as a flag": ("tool --password=hunter3-hunter3", "hunter3-hunter3"),
    "password of curl": ("curl -u dana:hunter4-hunter4 https://x.example", "hunter4-hunter4"),
    "client secret": ("client_secret = 'a1b2c3d4-hunter5'", "a1b2c3d4-hunter5"),
    "api key by name": ("X_API_KEY=zz9PluralZalpha42", "zz9PluralZalpha42"),
    # Personal values, where the operator asked for it.
    "email": _whole("dana.smith+work@mail.acme.example"),
    "phone": _whole("+43 (1) 234-5678"),
    "iban with spaces": _whole("GB82 WEST 1234 5698 7654 32"),
    "iban": _whole("DE89370400440532013000"),
    "card with spaces": _whole("4111 1111 1111 1111"),
    "card with hyphens": _whole("5500-0000-0000-0004"),
    "us social security number": _whole("536-22-8791"),
    "spanish dni": _whole("12345678Z"),
    "british national insurance number": _whole("AB 12 34 56 C"),
    "french nir": _whole("1 85 05 78 006 084 91"),
    "ip address": _whole("203.0.113.9"),
}  # fmt: skip
