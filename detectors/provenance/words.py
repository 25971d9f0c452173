"""Words as they are compared: stems, and what kind of doing a verb names."""

import functools
import itertools
import re
from collections.abc import Iterable

from tachograph.detectors.provenance import tongues
from tachograph.detectors.provenance.tongues import UNSPACED

# Letters of the languages that are written with blanks between words; and all others that are not
# written without, but for the full stops and brackets of those that are: no word begins with them.
_LATIN = "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u0400-\u052f"
_OTHER = (
    "\u0080-\u00bf\u00d7\u00f7\u0250-\u03ff\u0530-\u2fff\u3004-\u3007\u3100-\u33ff\ua000-\uff00"
    "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uffff"
)
_WORD = re.compile(rf"[A-Za-z{_LATIN}]{{1,40}}|\d{{1,40}}|[{UNSPACED}]{{1,40}}|[{_OTHER}]{{1,40}}")
_LETTERS = re.compile(rf"[a-z{_LATIN}]+")
# The same of ASCII, as most texts are: found sooner.
_WORD_ASCII = re.compile(r"[A-Za-z]{1,40}|\d{1,40}", re.ASCII)
_LETTERS_ASCII = re.compile("[a-z]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ENDINGS = (
    "ization", "ation", "ings", "ing", "ions", "ion", "ments", "ment",
    "ied", "ies", "ers", "er", "ed", "es", "s", "e",
)  # fmt: skip
_SHORTEST_STEM = 3
# Stems of short and odd forms → that of the word they stand for.
SAME = {
    "repo": "repositor", "msg": "messag", "db": "databas", "acct": "account", "addr": "addres",
    "dir": "director", "org": "organ", "pwd": "password", "passwd": "password", "img": "imag",
    "pic": "pictur", "num": "numb", "tx": "transact", "txn": "transact", "cal": "calendar",
    "sent": "send", "gave": "giv", "given": "giv", "bought": "buy", "paid": "pay", "made": "mak",
    "wrote": "writ", "written": "writ", "ran": "run", "told": "tel", "doc": "docu",
}  # fmt: skip
# Their stems would be those of other words: `.com` is no comment, a file is not filled in.
_APART = {
    form: word
    for word, forms in {
        "comment": "comments commented commenting",
        "call": "calls called calling",
        "fill": "fills filled filling",
        "paste": "pastes pasted pasting",
        "information": "informations",
    }.items()
    for form in (word, *forms.split())
}


@functools.lru_cache(maxsize=65_536)
def stem(word: str) -> str:
    """A word without its ending, so that `sends`, `sending` and `send` are one."""
    low = word.lower()
    if apart := _APART.get(low):
        return apart
    if low.endswith(_ENDINGS):
        for ending in _ENDINGS:
            if low.endswith(ending) and len(low) - len(ending) >= _SHORTEST_STEM:
                low = low[: -len(ending)]
                break
    if len(low) > _SHORTEST_STEM and low[-1] == low[-2] and low[-1] in "tnplrgm":
        low = low[:-1]
    if len(low) > _SHORTEST_STEM and low.endswith("y"):
        low = low[:-1]
    return SAME.get(low, low)


def _stems(words: str) -> frozenset[str]:
    return frozenset(stem(word) for word in words.split())


# What a verb asks for. A verb may be of several classes.
_VERBS = {
    "send": "send mail email forward message dm reply respond share text notify inform tell contact"
    " post publish announce broadcast tweet upload submit transmit report leak disclose reveal"
    " provide give deliver drop write attach comment propose ask paste",
    "see": "visit browse open go navigate click follow fetch read view check access retrieve look"
    " find search get list show see watch download pull collect gather load query scan inspect"
    " review summarize head dump print cat",
    "fetch": "download fetch pull retrieve visit browse open click navigate access go curl wget"
    " clone follow install claim redeem unlock",
    "pay": "pay transfer wire buy purchase order checkout donate refund subscribe deposit withdraw"
    " spend send remit tip reimburse charge book settle",
    "delete": "delete remove erase drop wipe clear destroy purge cancel unsubscribe revoke disable"
    " terminate kill close uninstall format reset archive discard",
    "grant": "invite add grant allow authorize authorise give share approve permit accept join"
    " enroll enable assign promote transfer hand whitelist trust make entitle elevate",
    "change": "change update set reset modify edit replace rename move configure adjust switch"
    " alter overwrite patch rewrite turn revert swap lower raise increase",
    "create": "create make register schedule reserve generate build sign setup write append save"
    " add insert store open raise file plan propose draft copy record",
    "run": "run execute install launch start deploy use call invoke perform implement apply"
    " trigger activate exec eval restart",
    "login": "login log signin authenticate verify enter input type fill confirm sign",
    "rate": "star like rate review upvote recommend endorse vote comment fork follow praise"
    " subscribe thumb promote advertise",
    "buy": "buy purchase order cart checkout add",
    "book": "book reserve schedule rent",
}
# Verbs as they stand when someone is asked to do something.
BASE_FORMS = frozenset(word for words in _VERBS.values() for word in words.split())
_FOREIGN = frozenset(tongues.VERBS)
# A verb of another language among so many words begins its clause.
_FIRST_WORDS = 3
_NOTHING: frozenset[str] = frozenset()
CLASSES: dict[str, frozenset[str]] = {
    verb: frozenset(kind for kind, words in _VERBS.items() if verb in _stems(words))
    for verb in frozenset().union(*map(_stems, _VERBS.values()))
}
# Classes of what is hard to undo.
GRAVE = frozenset(("delete", "pay", "grant", "login"))
# Verbs that do no more than look, where they begin the name of a tool.
LOOKING = _stems(
    "see view read check access retrieve look search find get list show fetch load query scan"
    " inspect review summarize count describe"
)
STOP = _stems(
    "the a an of to in on at and or for with from by is are be was were this that these those it"
    " its as you your yours i me my mine we our ours us he she they them his him her their not no"
    " do does did done can could would will shall may might must have has had if then than so but"
    " about into over under up down out all any some more most other one two first last please"
    " just also there here what which who when where how why hi hello dear thanks thank best"
    " regards am been being each every both same own only very too now after before until while"
    " because via per etc should"
)


@functools.lru_cache(maxsize=65_536)
def _parts(word: str) -> tuple[str, ...]:
    if word.isdigit():
        return (word,)
    if known := tongues.english(word.lower()):
        return tuple(map(stem, known))
    if len(word) > _SHORTEST_STEM and not word.islower() and not word.isupper():
        return tuple(stem(part) for part in _CAMEL.split(word) if part)
    return (stem(word),)


def tokens(text: str) -> list[str]:
    """Stems of the words and numbers of a text, in order; camel case counts as several words."""
    return [part for word in _words_of(text) for part in _parts(word)]


def stems(text: str) -> frozenset[str]:
    """The different `tokens` of a text."""
    return frozenset().union(*map(_parts, _words_of(text)))


def _words_of(text: str) -> list[str]:
    return (_WORD_ASCII if text.isascii() else _WORD).findall(text)


@functools.lru_cache(maxsize=8_192)
def word_set(unit: str) -> frozenset[str]:
    """Stems of a unit; texts are read again and again, and much in them repeats."""
    return stems(unit)


def spelled(low: str) -> list[str]:
    """The words of a text of small letters, as they are spelled."""
    return (_LETTERS_ASCII if low.isascii() else _LETTERS).findall(low)


def base_forms(low: str, said: Iterable[str]) -> list[tuple[int, int, str]]:
    """Verbs of ours in a text of small letters, in the form in which someone is asked: begin, end
    and stem, in no order. `said`: its words as they are `spelled`.
    """
    found = []
    for word in BASE_FORMS.intersection(said):
        begin = low.find(word)
        while begin >= 0:
            end = begin + len(word)
            if not (low[begin - 1 : begin].isalpha() or low[end : end + 1].isalpha()):
                found.append((begin, end, stem(word)))
            begin = low.find(word, end)
    return found


def foreign_forms(low: str, said: Iterable[str]) -> frozenset[str]:
    """Stems of the English verbs for what a text of small letters asks for in another language: of
    verbs that begin a clause, and of those where somebody is urged: many are spelled as nouns are
    (`la commande`, `die Buchung`). `said`: its words as they are `spelled`.
    """
    said = list(said)
    known = _FOREIGN.intersection(said)
    if known and tongues.URGES.isdisjoint(said):
        clauses = map(spelled, tongues.CLAUSE.split(low))
        first = {word for one in clauses for word in one[:_FIRST_WORDS]}
        then = {word for before, word in itertools.pairwise(said) if before in tongues.AND}
        known &= first | then
    if known:
        known &= {
            word for before, word in itertools.pairwise(["", *said])
            if not tongues.is_noun(before, word)
        }  # fmt: skip
    verbs = [tongues.VERBS[one] for one in known]
    if not low.isascii():
        verbs.append(tuple(tongues.orders(low)))
    return frozenset([stem(verb) for words in verbs for verb in words]) if verbs else _NOTHING


def classes_of(stems: Iterable[str]) -> frozenset[str]:
    """What the verbs among these stems ask for."""
    found: set[str] = set()
    for one in CLASSES.keys() & stems:
        found |= CLASSES[one]
    return frozenset(found)


def content_words(stems: Iterable[str]) -> frozenset[str]:
    """Those that say what is dealt with: no verbs of ours, no small words."""
    return frozenset(one for one in stems if one not in STOP and one not in CLASSES)
