"""Text of any origin cut into records (one mail, one issue, one row) and those into units, about a
sentence each, however it is wrapped: prose, JSON, YAML, HTML, tables. All of it in linear time.
"""

import functools
import re
from collections.abc import Sequence

import re2

from tachograph.detectors.provenance.words import (
    CLASSES,
    base_forms,
    foreign_forms,
    spelled,
    word_set,
)

MAX_UNIT_CHARS = 400
MAX_UNITS = 400
MAX_RECORDS = 60
_SHORTEST_UNIT = 4
# A text this short is one record.
_ONE_RECORD_CHARS = 200

# White space is evened out first, so that no run of it is long when the rest is looked at.
_ESCAPED = re.compile(r"\\{1,4}\n ?\\{0,2}|\\{1,4}[nrt]|\\{1,4}(?=[\"'/ ])")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n(?: ?\n)+ ?")
# Each way to cut begins with one of a few characters: elsewhere none of them is tried.
_CUT = re.compile(
    r"""(?=[\s"')\][;{(,:</>|])(?:(?<=[.!?])["')\]]{0,3}\s|\n\n"""
    r"""|\n(?= ?(?:[-*•#>]|\d{1,4}[.)]|\w[\w ]{0,24}:) ?)|; """
    r"""|(?<=[:>]) ?\n|["'] ?[,:}\])]{1,9}\s?|[{\[(,:] ?["']|</?\w{1,20}(?: |/?>)|["'/]>"""
    r"""|[<>]{2}|\s[|]\s|^[|]\s?)"""
)
# Where blanks part no words, none parts sentences.
_WIDE_END = re.compile("(?<=[。！？])")
_RECORD = re.compile(
    r"\n(?=- \w{1,40}:)"
    r"|(?<=[}\])])\s?,\s?(?=(?:['\"][^'\"]{1,60}['\"]\s?:\s?)?[{\[]|\w{1,40}\(\w{1,40}=)"
)
# What may stand before a verb that still begins its sentence.
_LEAD = re.compile(
    r"(?:(?:please|kindly|pls|also|then|first|next|finally|now|and|just|immediately|instead|always"
    r"|simply|so|ok|okay|hey|hi|hello|dear|note|important|urgent|todo|reminder|ps|p\.s|otherwise"
    r"|by the way|one more thing|additionally|furthermore|moreover|never|do|don't|not|be sure to"
    r"|make sure to|go ahead and|in order to|to continue|to proceed|action required)\b[ ,:.!-]*"
    r"|[^A-Za-z]{1,20}|\w{1,20}[,:] )*",
    re.IGNORECASE,
)
# Words before a verb that someone is asked to do, alone and with the word before them.
_ASKING = frozenset(
    ("please", "kindly", "must", "should", "shall", "then", "and", "first", "to", "let's")
)
_ASKING_PAIRS = frozenset(("can you", "could you", "would you", "will you", "let us"))
_BEFORE_CHARS = 24
# What stands after a word that is a key, an attribute, a label, or stands alone.
_DATA = re.compile(r"[\w -]{0,24}(?:: \S|=)|[^A-Za-z0-9]*$|_|[-.]\w")
# A report of something done asks for nothing: `File x created`, `Order 7 has been refunded`.
_REPORT = re.compile(
    r"\w{1,30} \S{1,80} (?:\S{1,80} )?(?:successfully|[a-z]{1,30}ed|sent|done|incorrect)\W{0,9}$"
    r"|(?:[\w.#@/:'-]{1,80} ){0,3}(?!that|which|who)[\w.#@/:'-]{1,80}"
    r" (?:has|have|was|were) (?:been )?[a-z]{1,30}ed\b",
    re.IGNORECASE,
)
# Words of one who asks in a roundabout way: then a verb in any form is what he asks for.
_WISHING = (
    r"\b(?:would|could|might|can|will|wouldn't|won't|shouldn't) (?:you|someone|anyone|it be|not)\b"
    r"|\bbe (?:so kind|great|nice|lovely|good|kind|possible|grateful|glad|happy)\b"
    r"|\b(?:expected|supposed|meant|obliged|asked|invited|advised|encouraged|welcome) to\b"
    r"|\b(?:you|assistants?|agents?|readers?|whoever|anyone|everyone) (?:is|are|may|might|shall"
    r"|ought|needs?)\b|\b(?:outstanding|still (?:missing|open|to be|needs?|without)"
    r"|not yet|is to|are to|appreciate|mind|favou?r|wish|hope"
    # What is wanting, and what something else hangs on.
    r"|pending|due|overdue|await(?:s|ing)?|missing|lacks?|has no|without|so far|wanted|unless|until"
    r"|as long as|once|subject to|condition(?:al|ed)? (?:up)?on|depends on|in (?:return|exchange)"
    r" for)\b"
)
_WISHES = re.compile(_WISHING, re.IGNORECASE)
# The same of ASCII, in one pass over many units.
_WISHES_ASCII = re2.compile(f"(?i){_WISHING}".encode())
# A name of several words without blanks, as a program has it.
_CALLED = re.compile(
    r"(?<![\w/.@-])[A-Za-z][a-z0-9]{1,30}(?:_{1,2}[A-Za-z0-9]{1,30}){1,6}(?![\w/.@-])"
    r"|(?<![\w/.@-])[a-z]{2,30}(?:[A-Z][a-z0-9]{1,30}){1,6}(?![\w/.@-])"
)
_HUMP = re.compile("[a-z][A-Z]")
MAX_NAMED = 20
# Words between what is done and whom it is done to.
_TOWARDS = re.compile(
    r"(?:\b(?:to|at|with|via|for|as)|->|=>|→) [\"'<(]?[\w.+-]{1,64}@[\w-]{1,63}\.\w", re.IGNORECASE
)


def evened(text: str) -> str:
    """Escapes undone, runs of white space cut down."""
    plain = _spaced(text)
    if "\\" in plain:
        plain = _spaced(_ESCAPED.sub(_unescaped, plain))
    return _LINES.sub("\n\n", plain) if "\n\n" in plain or "\n \n" in plain else plain


def _spaced(text: str) -> str:
    """Most texts are as they should be. White space other than a blank is not printable."""
    if "  " in text or not text.replace("\n", "").isprintable():
        return _SPACES.sub(" ", text)
    return text


def _unescaped(found: re.Match[str]) -> str:
    return "\n" if found[0][-1] in "nr" else " "


def records(text: str) -> list[str]:
    """The mails, issues, messages or rows that a tool's answer is made of."""
    if len(text) <= _ONE_RECORD_CHARS:
        return [text] if text.strip() else []
    parts = _RECORD.split(text) if _may_split(text) else [text]
    found = [part for part in parts if part.strip()]
    if len(found) > MAX_RECORDS:
        found[MAX_RECORDS - 1 :] = ["\n".join(found[MAX_RECORDS - 1 :])]
    return found


def _may_split(text: str) -> bool:
    """Without a bracket that closes and a comma, or a list, a text is one record."""
    return "\n- " in text or ("," in text and any(end in text for end in "}])"))


def units(text: str) -> list[str]:
    """About a sentence each; of an `evened` text."""
    found: list[str] = []
    parts = _CUT.split(text)
    if not text.isascii() and _WIDE_END.search(text):
        parts = [one for part in parts for one in _WIDE_END.split(part)]
    for part in parts:
        unit = part.strip(" \t\n\"'|{}[]()<>*#-\\").replace("\n", " ")
        size = len(unit)
        if size < _SHORTEST_UNIT:
            continue
        if size <= MAX_UNIT_CHARS:
            found.append(unit)
        else:
            found += _pieces(unit)
        if len(found) >= MAX_UNITS:
            return found[:MAX_UNITS]
    return found


def _pieces(unit: str) -> list[str]:
    """A unit that is too long, cut up."""
    pieces = (unit[at : at + MAX_UNIT_CHARS] for at in range(0, len(unit), MAX_UNIT_CHARS))
    return [piece for piece in pieces if len(piece) >= _SHORTEST_UNIT]


@functools.lru_cache(maxsize=8_192)
def asked_verbs(unit: str) -> frozenset[str]:
    """Stems of the verbs that the unit asks someone to do: those that begin it, and those after a
    word of asking, each with something to do it to. Keys and attributes of data are none.
    """
    low = unit.lower()
    said = spelled(low)
    verbs, foreign = base_forms(low, said), foreign_forms(low, said)
    if not verbs or _REPORT.match(unit):
        return foreign
    # A few letters grow when they are made small: then places would not agree.
    unit = unit if len(unit) == len(low) else low
    begins = _LEAD.match(unit)
    lead = begins.end() if begins else 0
    return foreign.union(
        verb
        for begin, end, verb in verbs
        if (begin <= lead + 1 or _is_asked(low[max(0, begin - _BEFORE_CHARS) : begin]))
        and not _DATA.match(unit, end)
    )


def may_point(units: Sequence[str]) -> list[bool]:
    """Of each unit, which holds no line break, whether it may have `pointing_verbs`."""
    # Where words of other alphabets end is not the same to both.
    found = ["@" in unit or not unit.isascii() for unit in units]
    text = "\n".join(units).encode(errors="replace")
    at = last = 0
    for hint in _WISHES_ASCII.finditer(text):
        at += text.count(b"\n", last, hint.start())
        last = hint.start()
        found[at] = True
    return found


@functools.lru_cache(maxsize=8_192)
def pointing_verbs(unit: str) -> frozenset[str]:
    """Stems of the verbs, in any form, of a unit that asks in no form that we know and yet may: it
    wishes for something (`it would be lovely if you starred it`, `the assistant is expected to have
    sent it`), or points to someone's address (`it should have been with eve@mail.example by noon`).
    """
    towards = "@" in unit and _TOWARDS.search(unit) is not None
    if not towards and (_WISHES.search(unit) is None or _REPORT.match(unit) is not None):
        return frozenset()
    return word_set(unit) & CLASSES.keys()


@functools.lru_cache(maxsize=8_192)
def named_calls(unit: str) -> frozenset[str]:
    """Names of tools in a unit, in small letters, as a program writes them (`send_email`,
    `sendEmail`): whoever names one where data should be wants it called, in whatever words.
    """
    # Without a blank in it a name has a `_`, or a capital behind a small letter.
    if "_" not in unit and (unit[1:].islower() or unit.isupper() or not _HUMP.search(unit)):
        return frozenset()
    found = _CALLED.findall(unit)[:MAX_NAMED]
    return frozenset(one.lower() for one in found if not word_set(one).isdisjoint(CLASSES))


def _is_asked(before: str) -> bool:
    """Whether a verb after these words is asked for."""
    if before.endswith((": ", "- ")):
        return True
    words = before.split()[-2:]
    return bool(words) and (words[-1] in _ASKING or " ".join(words) in _ASKING_PAIRS)
