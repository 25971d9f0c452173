"""Hunts: questions to ClickHouse that ship as files, `hunts/NAME.sql`.

A file begins with a comment that holds TOML: what the hunt finds, its parameters with type and
default, the risk categories it serves and a row of an example result. What follows is the query, as
any ClickHouse client can run it: parameters are ClickHouse's own `{name:Type}`.
"""

import difflib
import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any, get_args

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.schemas.alert import RiskCategory

RISK_CATEGORIES: tuple[str, ...] = get_args(RiskCategory)
MAX_VALUE_BYTES = 64 * 1024

_HEADER = re.compile(r"\A/\*\n(.*?)\n\*/\n", re.DOTALL)
_PLACEHOLDER = re.compile(r"\{\s*([A-Za-z_]\w*)\s*:\s*([A-Za-z][\w(), ']*?)\s*\}")
_LITERAL = re.compile(r"'(?:\\.|''|[^'\\])*'|--[^\n]*|/\*.*?\*/", re.DOTALL)


class Parameter(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter of a hunt."""

    name: str
    type: str
    default: str
    description: str


class Plot(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which columns make a curve: `y` over `x`, one curve for each value of `by`."""

    x: str
    y: str
    by: str | None = None


class Hunt(msgspec.Struct, frozen=True, kw_only=True):
    """A query with a name."""

    name: str
    description: str
    risk_categories: list[RiskCategory]
    parameters: list[Parameter]
    columns: list[str]
    example: dict[str, Any]
    plot: Plot | None
    sql: str


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    type: str
    default: str
    description: str


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    description: str
    risk_categories: list[RiskCategory]
    example: dict[str, Any]
    parameters: dict[str, _Asked] = {}
    plot: Plot | None = None


@cache
def hunts() -> dict[str, Hunt]:
    """All hunts that ship, by name."""
    folder = resources.files("tachograph.pipeline.query") / "hunts"
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    found = (
        parsed(name.removesuffix(".sql"), (folder / name).read_text("utf-8")) for name in names
    )
    return {hunt.name: hunt for hunt in found}


def parsed(name: str, text: str) -> Hunt:
    """The hunt that a file holds. Raises ConfigError saying what is wrong with it."""
    head = _HEADER.match(text)
    if head is None:
        raise ConfigError(f"hunt {name}: begins with no /* header */")
    try:
        header = msgspec.convert(tomllib.loads(head[1]), _Header)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"hunt {name}: {error}") from error
    sql = text[head.end() :].strip().rstrip(";")
    declared = {key: one.type for key, one in header.parameters.items()}
    if declared != placeholders(sql):
        raise ConfigError(f"hunt {name}: header and query differ in parameters or their types")
    return Hunt(
        name=name,
        description=header.description,
        risk_categories=header.risk_categories,
        parameters=[
            Parameter(name=key, type=one.type, default=one.default, description=one.description)
            for key, one in header.parameters.items()
        ],
        columns=list(header.example),
        example=header.example,
        plot=header.plot,
        sql=sql,
    )


def found(name: str) -> Hunt:
    """The hunt of this name. Raises ConfigError naming those that are near."""
    known = hunts()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"; near it: {', '.join(near)}" if near else ""
    raise ConfigError(f"no hunt is named {name!r}{hint}; `tacho query --list` shows all")


def placeholders(sql: str) -> dict[str, str]:
    """Parameters of a query with their types; braces in strings and comments are none."""
    return dict(_PLACEHOLDER.findall(_LITERAL.sub("''", sql)))


def values(sql: str, given: list[str], defaults: dict[str, str]) -> dict[str, str]:
    """What each parameter of a query is, from `name=value` words. Raises ConfigError."""
    wanted = placeholders(sql)
    told = dict(defaults)
    for word in given:
        name, equals, value = word.partition("=")
        if not equals:
            raise ConfigError(f"--param {word!r}: write name=value")
        if name not in wanted:
            there = ", ".join(f"{key} ({kind})" for key, kind in wanted.items()) or "none"
            raise ConfigError(f"--param {name}: the query has no such parameter; it has {there}")
        if len(value.encode()) > MAX_VALUE_BYTES:
            raise ConfigError(f"--param {name}: longer than {MAX_VALUE_BYTES // 1024} KB")
        told[name] = value
    if missing := [name for name in wanted if name not in told]:
        words = " ".join(f"--param {name}=…" for name in missing)
        raise ConfigError(f"the query asks for {', '.join(missing)}: add {words}")
    return told
