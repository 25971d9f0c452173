"""Personal data, and what an operator names himself: replaced by keyed tokens as secrets are, where
it is asked for.

    TACHO_REDACT=email,phone,iban,card,national_id     (or all; ip besides)
    TACHO_REDACT_RULES=/etc/tacho/redact.toml

Off by default: an address is often the name of a principal, and what is replaced here no register
and no rule can read any more. Equal values still get equal tokens. Every expression runs in linear
time, and what can be checked (IBAN, card, national numbers) is, by python-stdnum.
"""

import functools
import importlib
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import polars as pl
import re2

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.redact import (
    FINGERPRINT_CHARS,
    PERSONAL,
    Hit,
    Redactor,
    Secrets,
)
from tachograph.pipeline.normalize.suspects import Suspects
from tachograph.pipeline.secrets import derive
from tachograph.schemas.identity import Key

VARIABLE: Final = "TACHO_REDACT"
RULES_VARIABLE: Final = "TACHO_REDACT_RULES"
MAX_RULES: Final = 100
MAX_RULES_BYTES: Final = 262_144

Check = Callable[[str], bool]


class Kind(msgspec.Struct, frozen=True):
    """One kind of value. `head` matches wherever `regex` does, and seldom elsewhere; a match
    counts if the check holds.
    """

    name: str
    head: str
    regex: str
    check: Check


def card(text: str) -> bool:
    """Whether the digits carry the check digit of cards."""
    found = "".join(filter(str.isdigit, text))
    return 13 <= len(found) <= 19 and len(set(found)) > 1 and _number("luhn")(found)


def phone(text: str) -> bool:
    """International form, as long as numbers are."""
    return 8 <= sum(map(str.isdigit, text)) <= 15


@functools.cache
def _number(kind: str) -> Check:
    """What python-stdnum knows of a kind of number. It is loaded where it is asked for."""
    is_valid: Check = importlib.import_module(f"stdnum.{kind}").is_valid

    def check(text: str) -> bool:
        try:
            return is_valid(text)
        except (LookupError, ValueError, TypeError, AttributeError):
            # It trips over some of what is none, as a place in its tables that has no county, and
            # anybody may send that.
            return False

    return check


def _checked(kind: str) -> Check:
    """Loads nothing before there is a number to check."""

    def check(text: str) -> bool:
        return _number(kind)(text)

    return check


def nino(text: str) -> bool:
    """United Kingdom: prefixes that are given out."""
    plain = text.replace(" ", "")
    never = ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")
    return plain[:2] not in never and plain[1] != "O"


def ipv4(text: str) -> bool:
    """Each part fits a byte."""
    return all(int(part) < 256 for part in text.split("."))


def _any(_text: str) -> bool:
    return True


KINDS: Final[dict[str, tuple[Kind, ...]]] = {
    "email": (
        Kind("email", r"[A-Za-z0-9_%+-]@[A-Za-z0-9]",
             r"[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}", _any),
    ),
    "phone": (Kind("phone", r"\+[1-9][0-9 ().-]{6}", r"\+[1-9][0-9 ().-]{6,18}[0-9]", phone),),
    "iban": (
        Kind("iban", r"[A-Z]{2}[0-9]{2} ?[A-Z0-9]{4}",
             r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", _checked("iban")),
    ),
    "card": (Kind("card", r"[2-6][0-9]{3}[ -]?[0-9]{4}", r"\b[2-6][0-9]{3}(?:[ -]?[0-9]){9,15}\b",
                  card),),
    # Of countries whose numbers are told by their shape and check digits; where eleven digits are
    # all there is, too much else would be taken for one.
    "national_id": (
        Kind("us_ssn", r"[0-9]{3}-[0-9]{2}-[0-9]{4}", r"\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
             _checked("us.ssn")),
        Kind("us_itin", r"9[0-9]{2}-[0-9]{2}-[0-9]{4}", r"\b9[0-9]{2}-[0-9]{2}-[0-9]{4}\b",
             _checked("us.itin")),
        Kind("es_dni", r"[0-9]{8}-?[A-Z]", r"\b[0-9]{8}-?[A-Z]\b", _checked("es.dni")),
        Kind("es_nie", r"[XYZ]-?[0-9]{7}-?[A-Z]", r"\b[XYZ]-?[0-9]{7}-?[A-Z]\b",
             _checked("es.nie")),
        Kind("uk_nino", r"[A-Z]{2} ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]",
             r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[A-D]\b", nino),
        Kind("fr_nir", r"[12] ?[0-9]{2} ?[01][0-9]",
             r"\b[12] ?[0-9]{2} ?[01][0-9] ?[0-9]{2} ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}\b",
             _checked("fr.nir")),
        Kind("it_codice_fiscale", r"[A-Z]{6}[0-9L-V]{2}[A-EHLMPRST][0-9L-V]{2}[A-Z]",
             r"\b[A-Z]{6}[0-9L-V]{2}[A-EHLMPRST][0-9L-V]{2}[A-Z][0-9L-V]{3}[A-Z]\b",
             _checked("it.codicefiscale")),
        Kind("fi_hetu", r"[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-Y]",
             r"\b[0-3][0-9][01][0-9]{3}[-+A-FU-Y][0-9]{3}[0-9A-Y]\b", _checked("fi.hetu")),
        Kind("be_nn", r"[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}",
             r"\b[0-9]{2}\.[0-9]{2}\.[0-9]{2}-[0-9]{3}[ .][0-9]{2}\b", _checked("be.nn")),
        Kind("ch_ahv", r"756\.[0-9]{4}\.[0-9]{4}", r"\b756\.[0-9]{4}\.[0-9]{4}\.[0-9]{2}\b",
             _checked("ch.ssn")),
        Kind("se_personnummer", r"[0-9]{6}[-+][0-9]{4}",
             r"\b(?:[0-9]{2})?[0-9]{6}[-+][0-9]{4}\b", _checked("se.personnummer")),
        Kind("br_cpf", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}",
             r"\b[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}\b", _checked("br.cpf")),
        Kind("mx_curp", r"[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]",
             r"\b[A-Z]{4}[0-9]{6}[HMX][A-Z]{5}[0-9A-Z][0-9]\b", _checked("mx.curp")),
        Kind("cn_ric", r"[1-9][0-9]{16}[0-9X]", r"\b[1-9][0-9]{16}[0-9X]\b", _checked("cn.ric")),
    ),
    "ip": (Kind("ip", r"[0-9]\.[0-9]{1,3}\.[0-9]", r"\b[0-9]{1,3}(?:\.[0-9]{1,3}){3}\b", ipv4),),
}  # fmt: skip
# An address of a machine is seldom a person's: it is asked for by name.
_ALL: Final = tuple(name for name in KINDS if name != "ip")


class Personal:
    """A Redactor of these kinds."""

    def __init__(self, key: Key, kinds: list[Kind]) -> None:
        self._key = key
        self._kinds = [(kind, re2.compile(kind.regex)) for kind in kinds]
        self.suspects = "|".join(f"(?:{kind.head})" for kind in kinds)
        self._suspects = Suspects(self.suspects)

    def redact(self, texts: pl.Series) -> tuple[pl.Series, list[Hit]]:
        """See Redactor."""
        places = self._suspects.places(texts)
        hits: list[Hit] = []
        changed: dict[int, str] = {}
        for at, text in zip(places, texts.gather(places).to_list(), strict=True):
            cleaned = self._one(text, at, hits)
            if cleaned is not text:
                changed[at] = cleaned
        if not changed:
            return texts, []
        return texts.scatter(list(changed), list(changed.values())), hits

    def _one(self, text: str, at: int, hits: list[Hit]) -> str:
        for kind, regex in self._kinds:
            text = self._replaced(text, kind, regex, at, hits)
        return text

    def _replaced(self, text: str, kind: Kind, regex: Any, at: int, hits: list[Hit]) -> str:
        pieces: list[str] = []
        done = 0
        for match in regex.finditer(text):
            start, end = match.span()
            inside_token = start > 0 and text[start - 1] == ":" and text[end : end + 1] == "›"
            if inside_token or not kind.check(match.group()):
                continue
            fingerprint = self._key.digest(match.group().encode())[:FINGERPRINT_CHARS]
            hits.append(Hit(at, f"{PERSONAL}{kind.name}", fingerprint))
            pieces += (text[done:start], f"‹personal:{kind.name}:{fingerprint}›")
            done = end
        return "".join([*pieces, text[done:]]) if pieces else text


class _Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An operator's own pattern."""

    name: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9_]{0,39}$")]
    regex: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]


class _Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pattern: Annotated[list[_Rule], msgspec.Meta(max_length=MAX_RULES)] = []


def redactors(secret: bytes, environ: Mapping[str, str] | None = None) -> list[Redactor]:
    """What this installation redacts: secrets always, the rest as the environment says. `secret`:
    the operator's key. Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    key = Key(derive(secret, "redaction"))
    kinds = [*_asked(environ.get(VARIABLE, "")), *_own(environ.get(RULES_VARIABLE))]
    found: list[Redactor] = [Secrets(key)]
    return [*found, Personal(key, kinds)] if kinds else found


def _asked(text: str) -> list[Kind]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    names = [each for name in names for each in (_ALL if name == "all" else (name,))]
    if unknown := [name for name in names if name not in KINDS]:
        raise ConfigError(f"{VARIABLE}: {unknown[0]!r} is none of all, {', '.join(KINDS)}")
    return [kind for name in dict.fromkeys(names) for kind in KINDS[name]]


def _own(path: str | None) -> list[Kind]:
    if not path:
        return []
    try:
        content = Path(path).read_bytes()[:MAX_RULES_BYTES].decode()
        rules = msgspec.convert(tomllib.loads(content), _Rules)
    except OSError as error:
        raise ConfigError(f"{RULES_VARIABLE}: cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error
    return [_kind(rule, path) for rule in rules.pattern]


def _kind(rule: _Rule, path: str) -> Kind:
    """Raises ConfigError for what RE2 does not take, or what matches the empty text."""
    try:
        empty = re2.compile(rule.regex).match("") is not None
        Suspects(rule.regex)
    except re2.error as error:
        raise ConfigError(f"{path}: {rule.name}: no regular expression of ours") from error
    if empty:
        raise ConfigError(f"{path}: {rule.name}: it matches the empty text")
    return Kind(rule.name, rule.regex, rule.regex, _any)
