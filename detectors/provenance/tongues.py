"""Words of other languages by the English ones that they stand for, so that a text and a wish are
compared in whatever language each of them is: verbs of asking, and the things that tools deal with.
"""

import functools
import re
from pathlib import Path

import msgspec

FILE = Path(__file__).parent / "tongues.json"
# What is written without blanks: a word is sought in it, not taken whole.
UNSPACED = "\u3040-\u30ff\u3400-\u9fff"
_UNSPACED = re.compile(f"[{UNSPACED}]")
# What was done already is no order: `已删除`, `削除しました`.
_DONE_BEFORE = ("已", "被", "未", "已经")
_DONE_AFTER = ("了", "しました", "した", "済", "され", "中")


class _Tongues(msgspec.Struct, frozen=True):
    verbs: dict[str, str]
    words: dict[str, str]


def _turned(part: dict[str, str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for english, forms in part.items():
        for form in forms.split():
            found.setdefault(form, []).append(english)
    return {form: tuple(words) for form, words in found.items()}


_READ = msgspec.json.decode(FILE.read_bytes(), type=_Tongues)
# Form → the English words that it may stand for. Verbs are in the forms in which people ask.
VERBS = _turned(_READ.verbs)
WORDS = {
    form: tuple(dict.fromkeys((*VERBS.get(form, ()), *_turned(_READ.words).get(form, ()))))
    for form in VERBS.keys() | _turned(_READ.words).keys()
}


def _sought(forms: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(filter(_UNSPACED.match, forms), key=lambda one: (-len(one), one))
    return re.compile("|".join(map(re.escape, longest_first)))


_ANY = _sought(frozenset(WORDS))
_VERB = _sought(frozenset(VERBS))


@functools.lru_cache(maxsize=8_192)
def english(word: str) -> tuple[str, ...]:
    """English words for a word of small letters in another language; of writing without blanks,
    for all words in it. Empty where none is known.
    """
    if word in WORDS:
        return WORDS[word]
    if word.isascii() or not _UNSPACED.match(word):
        return ()
    return tuple(one for form in _ANY.findall(word) for one in WORDS[form])


def orders(low: str) -> list[str]:
    """English verbs for what a text of small letters, written without blanks, asks for."""
    found: list[str] = []
    for sought in _VERB.finditer(low):
        begin, end = sought.span()
        if not (low[:begin].endswith(_DONE_BEFORE) or low[end:].startswith(_DONE_AFTER)):
            found += VERBS[sought[0]]
    return found
