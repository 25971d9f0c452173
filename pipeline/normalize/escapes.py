"""JSON texts as a person reads them: a character that a producer wrote as `\\u202e` stands there
itself. Python's encoder writes all but ASCII so, Go's `<`, `>` and `&`, and who hides something
writes any: what rules and redaction look for is the text.

Quotation mark, backslash and control characters stay as they are: they would end the string that
they are in.
"""

import re
from codecs import raw_unicode_escape_decode, raw_unicode_escape_encode
from typing import Final

import polars as pl

_TEXTS: Final = (
    "tool_result", "input_messages", "output_messages", "system_instructions", "tool_definitions",
    "tool_schema", "content_text", "memory_value",
)  # fmt: skip
_ESCAPE: Final = "\\u"
_STAYS: Final = re.compile(r"(\\u00(?:[01][0-9a-fA-F]|22|5[cC]|7[fF]))")
_BEGINS: Final = re.compile(r"\s*[\[{\"]")
# A pair of backslashes is one of the text; two halves beyond the first plane are one character.
_ONE: Final = re.compile(
    r"\\\\|\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})|\\u([0-9a-f]{4})", re.IGNORECASE
)
_NEVER: Final = {*range(0x20), ord('"'), ord("\\"), 0x7F, *range(0xD800, 0xE000)}


def readable(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with its JSON texts readable; what is no JSON stays as it is."""
    made = [_column(frame[name]) for name in _TEXTS if name in frame.columns]
    return frame.with_columns([column for column in made if column is not None])


def _column(texts: pl.Series) -> pl.Series | None:
    places = texts.str.contains(_ESCAPE, literal=True).arg_true()
    if not len(places):
        return None
    plain = [
        _plain(text) if _BEGINS.match(text) else text for text in texts.gather(places).to_list()
    ]
    return texts.scatter(places, plain)


def _plain(text: str) -> str:
    parts = _STAYS.split(text)
    try:
        parts[::2] = map(_decoded, parts[::2])
        return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:  # cut off inside an escape, or half a character
        return _ONE.sub(_character, text)


def _decoded(text: str) -> str:
    """A text without escapes that stay; of a character beyond the first plane come two halves."""
    # What this codec reads is what JSON writes, and it knows pairs of backslashes.
    return raw_unicode_escape_decode(raw_unicode_escape_encode(text)[0])[0]


def _character(match: re.Match[str]) -> str:
    high, low, one = match.groups()
    if high is not None:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if one is None or int(one, 16) in _NEVER:
        return match[0]
    return chr(int(one, 16))
