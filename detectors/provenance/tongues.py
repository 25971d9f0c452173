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
# Words by which somebody is asked or told to, wherever the verb stands then.
_SAID = """
    bitte unbedingt müssen musst müsst muss sollen sollst sollte solltest soll
    veuillez prière merci devez dois doit faut devriez svp
    favor debes debe deben deberá deberás tienes tiene hay
    prega favore deve devi devono occorre bisogna
    deverá precisa preciso precisam
    пожалуйста нужно надо необходимо должны должен следует требуется
"""
URGES = frozenset(_SAID.split())
# Behind these a clause begins whose verb stands first.
_JOINING = "und dann et puis y luego poi depois и затем"
AND = frozenset(_JOINING.split())
# What stands behind these is a noun, even if it is spelled as a verb is.
_BEFORE_NOUNS = """
    der die das den dem des ein eine einen einem einer ihre ihren ihrer
    le la les un une votre el los las una su tu il lo gli os um uma
"""
_ARTICLES = frozenset(_BEFORE_NOUNS.split())
# In French some are pronouns before an infinitive: `veuillez les envoyer`.
_PRONOUNS = frozenset(("le", "la", "les"))
_INFINITIVE = ("er", "ir", "re")
_URGES_UNSPACED = re.compile(
    "请|請|务必|務必|必须|必須|需要|应该|應該|把|将|將|ください|下さい|お願い|なさい|せよ|しろ|すること|べき"
)
# What one is told to do next, and to whom.
_THEN = ("后", "後", "再", "并", "並", "且", "就")
_TOWARDS = ("到", "给", "給", "至")
# So far from where a text or its clause begins does a verb begin it, without blanks.
_BEGINNING_CHARS = 2
# Letters of either half of a compound.
_SHORTEST_HALF = 4
CLAUSE = re.compile(r"[，。、；：！？,.;:!?\n「『（(–—]")


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
_THINGS = _turned(_READ.words)
WORDS = {
    form: tuple(dict.fromkeys((*VERBS.get(form, ()), *_THINGS.get(form, ()))))
    for form in VERBS.keys() | _THINGS.keys()
}


def _sought(forms: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(filter(_UNSPACED.match, forms), key=lambda one: (-len(one), one))
    return re.compile("|".join(map(re.escape, longest_first)))


_ANY = _sought(frozenset(WORDS))
_VERB = _sought(frozenset(VERBS))


@functools.lru_cache(maxsize=8_192)
def english(word: str) -> tuple[str, ...]:
    """English words for a word of small letters in another language; of writing without blanks,
    and of a word that is made of two, for all words in it. Empty where none is known.
    """
    if word in WORDS:
        return WORDS[word]
    if not _UNSPACED.match(word):
        return _compound(word)
    return tuple(one for form in _ANY.findall(word) for one in WORDS[form])


def _compound(word: str) -> tuple[str, ...]:
    """Both words of one like `Einkaufskonto`."""
    for at in range(_SHORTEST_HALF, len(word) - _SHORTEST_HALF + 1):
        first, second = word[:at], _THINGS.get(word[at:])
        if second and (known := _THINGS.get(first) or _THINGS.get(first.removesuffix("s"))):
            return known + second
    return ()


def is_noun(before: str, word: str) -> bool:
    """Whether a word that is spelled as a verb is a noun, by the word before it."""
    pronoun = before in _PRONOUNS and word.endswith(_INFINITIVE)
    return before in _ARTICLES and not pronoun


def orders(low: str) -> list[str]:
    """English verbs for what a text of small letters, written without blanks, asks for: those that
    begin a clause, and all where somebody is urged.
    """
    found: list[str] = []
    urged = _URGES_UNSPACED.search(low) is not None
    for sought in _VERB.finditer(low):
        begin, end = sought.span()
        if low[:begin].endswith(_DONE_BEFORE) or low[end:].startswith(_DONE_AFTER):
            continue
        begins = begin <= _BEGINNING_CHARS or CLAUSE.search(low[begin - 3 : begin])
        if urged or begins or low[:begin].endswith(_THEN) or low[end:].startswith(_TOWARDS):
            found += VERBS[sought[0]]
    return found
