"""What the values of a call name, so that two alerts can rest on the same. Pure.

A signal tells of a call's values in one text, "2024-05-19, eh9025920092". As they stand they are
seldom twice the same: dates and words come and go around the account. Each alone would join too
much: a colleague's address, a shop's host and "phone number" come to agents that have nothing to do
with each other. So two things are taken of them: what they name together, without dates, short
numbers and words; and alone whatever is too peculiar to be met twice by chance: an account, an
order, a key.
"""

import re
from collections.abc import Iterator

BETWEEN = ", "
MAX_VALUES = 12
MIN_CODE_CHARS = 8
MIN_CODE_DIGITS = 4
# An address (203.0.113.9) has a number more than a date.
_WHEN = re.compile(
    r"(?<!\d)(?<!\d[-/.])\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?![-/.]?\d)"
    r"|\d{1,2}:\d{2}(?::\d{2})?"
    r"|(?<!\d)(?:19|20)\d{6}(?!\d)"
)
_SHORT_NUMBER = re.compile(r"\W*\d{1,5}\W*")
_NAMING = re.compile(r"[\d@/‹]|\w\.\w")
# Of places: many share one, and what was reached joins as a target.
_PLACE = re.compile(
    r"[@/‹]|\.[a-z]{2}|\d(?:\.\d{1,3}){3}"
    # An address of IPv6, bare or in brackets.
    r"|(?:^|\[)(?:(?:[\da-fA-F]{1,4}:){7}[\da-fA-F]{1,4}|[\da-fA-F:]*::[\da-fA-F:.]*)(?:[\]%]|$)"
)


def named(values: str) -> Iterator[str]:
    """What a list of values names, as it may be shared: together, then alone."""
    each = [one for one in values.split(BETWEEN)[:MAX_VALUES] if _names(one)]
    if each:
        yield BETWEEN.join(sorted(set(each)))
    yield from (one for one in each if any(map(_is_code, one.split())))


def _names(value: str) -> bool:
    """Whether it can name one thing: words, dates and short numbers cannot."""
    left = _WHEN.sub("", value)
    return _NAMING.search(left) is not None and _SHORT_NUMBER.fullmatch(left) is None


def _is_code(word: str) -> bool:
    left = "" if _PLACE.search(word) else _WHEN.sub("", word)
    digits = sum(char.isdecimal() for char in left)
    return len(left) >= MIN_CODE_CHARS and digits >= MIN_CODE_DIGITS
