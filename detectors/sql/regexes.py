"""Expressions of the engine (Rust's spelling) as ClickHouse's `match` takes them (RE2's).

Both run in linear time and agree on most. What differs is respelled: classes that mean Unicode
there mean ASCII here, and `.` finds line ends here. What RE2 cannot say raises NotExpressible.
"""

import functools
import re

import re2

from tachograph.detectors.sql.text import NotExpressible

_WORD_BOUNDARY = "(?-u:\\b)"
# Unicode's classes, as members of a set: white space; decimal digits; letters, marks and the rest
# that a word is made of.
_CLASSES: dict[str, tuple[str, ...]] = {
    "s": (
        r"\t", r"\n", r"\v", r"\f", r"\r", " ", r"\x{85}", r"\x{a0}", r"\x{1680}",
        r"\x{2000}-\x{200a}", r"\x{2028}", r"\x{2029}", r"\x{202f}", r"\x{205f}", r"\x{3000}",
    ),
    "d": (r"\p{Nd}",),
    "w": (
        r"\p{L}", r"\p{M}", r"\p{Nd}", r"\p{Nl}", "_", r"\x{203f}\x{2040}\x{2054}",
        r"\x{fe33}\x{fe34}\x{fe4d}-\x{fe4f}\x{ff3f}", r"\x{200c}\x{200d}", r"\x{24b6}-\x{24e9}",
        r"\x{1f130}-\x{1f149}\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}",
    ),
}  # fmt: skip
# `match` is told that a line end is no `.`, as everywhere else.
_DOT = "(?-s)"
_ANY, _NONE = "(?s:.)", "[^\\x00-\\x{10ffff}]"
_CODE = re.compile(r"\\u\{([0-9a-fA-F]+)\}|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})")
_GROUP_NAME = re.compile(r"\(\?<(?=[A-Za-z_])")


@functools.lru_cache(maxsize=4096)
def re2_of(regex: str) -> str:
    """The expression in RE2's spelling, checked. Raises NotExpressible."""
    spelled = _DOT + _respelled(_GROUP_NAME.sub("(?P<", regex.replace(_WORD_BOUNDARY, "\\b")))
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(spelled, options)
    except re2.error as error:
        reason = error.args[0]
        words = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise NotExpressible(f"RE2 refuses /{regex}/: {words}") from error
    return spelled


def _respelled(pattern: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern[at] == "[":
            end = _set_end(pattern, at)
            out.append(_set(pattern[at + 1 : end]))
            at = end + 1
            continue
        token = _token(pattern, at)
        at += len(token)
        out.append(_alone(token))
    return "".join(out)


def _token(pattern: str, at: int) -> str:
    """One character, or one escape with all that belongs to it."""
    if pattern[at] != "\\":
        return pattern[at]
    code = _CODE.match(pattern, at)
    if code is not None:
        return code[0]
    following = pattern[at + 1 : at + 2]
    if following in {"p", "P", "x"} and pattern[at + 2 : at + 3] == "{":
        return pattern[at : pattern.index("}", at) + 1]
    return pattern[at : at + 2]


def _alone(token: str) -> str:
    """A token outside a set."""
    kind = _class_of(token)
    if kind is not None:
        return _of_class(kind)
    if token == r"\B":  # noqa: S105 - a part of an expression
        raise NotExpressible("\\B means other words in ClickHouse")
    return _plain(token)


def _class_of(token: str) -> str | None:
    """`s` for \\s, `S` for \\S and so on."""
    return token[1] if len(token) == 2 and token[0] == "\\" and token[1] in "sSdDwW" else None


def _of_class(kind: str) -> str:
    negated = "^" if kind.isupper() else ""
    return f"[{negated}{''.join(_CLASSES[kind.lower()])}]"


def _plain(token: str) -> str:
    code = _CODE.fullmatch(token)
    return f"\\x{{{next(filter(None, code.groups()))}}}" if code is not None else token


def _set_end(pattern: str, start: int) -> int:
    """Place of the `]` that ends a set."""
    at = start + 1
    at += pattern[at : at + 1] == "^"
    while at < len(pattern):
        if pattern.startswith("[:", at):
            at = pattern.index(":]", at) + 2
        elif pattern[at] == "]":
            return at
        else:
            at += len(_token(pattern, at))
    raise NotExpressible(f"a set has no end in /{pattern}/")


def _set(inner: str) -> str:
    """A set, its members given without brackets."""
    negated, inner = inner.startswith("^"), inner.removeprefix("^")
    kinds: list[str] = []
    members: list[str] = []
    tokens = _tokens(inner)
    for place, part in enumerate(tokens):
        kind = _class_of(part)
        if kind is not None:
            kinds.append(kind)
        elif part == "-" and not _ranges(tokens, place):
            members.append("\\-")
        else:
            members.append(_plain(part))
    if "-" not in members:
        return _without(kinds, members) if negated else _with(kinds, members)
    # A range is one member.
    joined = "\0".join(members).replace("\0-\0", "-").split("\0")
    return _without(kinds, joined) if negated else _with(kinds, joined)


def _tokens(inner: str) -> list[str]:
    found: list[str] = []
    at = 0
    while at < len(inner):
        named = inner.startswith("[:", at) and ":]" in inner[at:]
        found.append(inner[at : inner.index(":]", at) + 2] if named else _token(inner, at))
        at += len(found[-1])
    return found


def _ranges(tokens: list[str], place: int) -> bool:
    """A `-` between two characters, the first of which is not the end of another range."""
    if not 0 < place < len(tokens) - 1:
        return False
    around = (tokens[place - 1], tokens[place + 1])
    if any(_class_of(one) or one.startswith("[:") for one in around):
        return False
    return not (tokens[place - 2 : place - 1] == ["-"] and _ranges(tokens, place - 2))


def _with(kinds: list[str], members: list[str]) -> str:
    """Any of these."""
    if any(kind.swapcase() in kinds for kind in kinds):
        return _ANY
    inside = [part for kind in kinds if kind.islower() for part in _CLASSES[kind]]
    outside = [_of_class(kind) for kind in kinds if kind.isupper()]
    sets = [f"[{''.join([*members, *inside])}]"] if members or inside else []
    return sets[0] if not outside else f"(?:{'|'.join([*sets, *outside])})"


def _without(kinds: list[str], members: list[str]) -> str:
    """None of these: what is of every class whose opposite is named, less the rest."""
    outside = {kind.lower() for kind in kinds if kind.isupper()}
    inside = [part for kind in kinds if kind.islower() for part in _CLASSES[kind]]
    if not outside:
        return f"[^{''.join([*members, *inside])}]"
    if outside & {kind for kind in kinds if kind.islower()}:
        return _NONE
    [kind, *more] = sorted(outside)
    parts = _CLASSES[kind]
    gone = {*members, *inside}
    if more or not gone <= set(parts):
        raise NotExpressible(f"RE2 cannot take a set apart that names {kinds}")
    left = [part for part in parts if part not in gone]
    return f"[{''.join(left)}]" if left else _NONE
