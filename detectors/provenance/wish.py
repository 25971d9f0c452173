"""What the user asked for, in his own words, and whose words he made his own: "do what Bob's mail
says" makes Bob's mail the user's wish, and no other.
"""

import re

import msgspec

from tachograph.detectors.provenance import sentences
from tachograph.detectors.provenance.values import plain
from tachograph.detectors.provenance.words import CLASSES, STOP, classes_of, stem, tokens

MAX_CHARS = 60_000
MAX_SENTENCES = 300
MAX_NAMES = 200
MAX_ADOPTED_CHARS = 4_000
# Shorter ones stand in texts by chance.
_SHORTEST_ADOPTED = 8


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NAME = re.compile(r"\b[A-Z][a-z]{2,30}\b")
_POINTED = re.compile(
    r"(?:/[\w.-]{1,80}){2,10}|[\w.+-]{1,64}@[\w-]{1,63}\.[\w.]{1,63}|(?:https?://|www\.)\S{0,199}[\w/]"
    r"|\b\w{1,60}/\w{1,60}\b|\"[^\"\n]{3,60}\"|'[^'\n]{3,60}'|\b[A-Za-z]{0,40}[_\d]\w{0,40}\b"
)
_ENDS = re.compile(r"(?<=[.!?])\s|\n")
_NO_NAMES = _words(
    "please check can could would will the my for from this that when what how use using first then"
    " also after before find look make sure create delete remove send buy add get download upload"
    " transfer give tell show read write post visit summarize open note should new need want help"
    " hey hello if it is are there here yes today yesterday monday tuesday wednesday thursday"
    " friday saturday sunday january february march april may june july august september october"
    " november december url app web api top you your have has with and but not all any"
)
# Ways to say that someone else's words are to be done.
_HANDED = re.compile(
    r"\b(?:accord(?:ing|ance)|follow(?:ing)?|as (?:\w+ ){0,4}(?:says?|said|asks?|asked|told"
    r"|requests?|requested|describes?|described|mention(?:s|ed)?|stated?|instruct(?:s|ed)?"
    r"|suggest(?:s|ed)?|specif(?:y|ies|ied)|listed|wants?)"
    # What someone asked the user for, in words of his that are not given here.
    r"|(?:told|asks?|asked|wants?|requested|reminded|instructed) (?:me|us)(?! (?:to|that|if)\b)"
    r"|details|instructions?|requests?|tasks?|to-?do|do (?:what|whatever|as|all|everything)"
    r"|handle|respond to|reply to|address|resolve|complete|finish|take care|carry out|based on"
    r"|steps|guide|readme|requirements?|needs|help (?:him|her|them)|deal with|fulfil+|achieve)\b",
    re.IGNORECASE,
)
# Things that hold someone's words.
_HOLDERS = frozenset(
    map(
        stem,
        _words(
            "email mail message inbox issue ticket comment note task todo list instruction request"
            " file document page website web site url link invitation post letter memo guide readme"
            " chat channel review"
        ),
    )
)


class UserSentence(msgspec.Struct, frozen=True):
    """One sentence of the user."""

    words: frozenset[str]
    verbs: frozenset[str]
    classes: frozenset[str]
    text: str


class Wish:
    """All that the user (and whoever set the agent up) said in a session."""

    def __init__(self) -> None:
        self.text = ""
        self.words: set[str] = set()
        self.classes: frozenset[str] = frozenset()
        self.sentences: list[UserSentence] = []
        self.handed = 0
        self.names: set[str] = set()
        # Names, and things pointed at, in sentences that hand over to someone else's words.
        self.handed_names: set[str] = set()
        self.handed_things: set[str] = set()
        self.things: set[str] = set()

    def hear(self, text: str) -> None:
        """Take in what was said, up to a limit in all."""
        text = text[: max(0, MAX_CHARS - len(self.text))]
        if not text:
            return
        self.text += " " + " ".join(text.lower().split())
        said = tokens(text)
        self.words.update(said)
        self.classes |= classes_of(said)
        for unit in sentences.units(sentences.evened(text)):
            if len(self.sentences) < MAX_SENTENCES:
                self.sentences.append(_sentence(unit))
        for part in _ENDS.split(text):
            self._note_names(part[:2_000])

    def _note_names(self, part: str) -> None:
        names = {
            name.lower()
            for name in _NAME.findall(part)
            if name.lower() not in _NO_NAMES and stem(name) not in CLASSES
        }
        things = {plain(one.strip("\"'")) for one in _POINTED.findall(part)}
        things = {one for one in things if len(one) > 3}
        handing = len(_HANDED.findall(part))
        self.handed += handing
        if len(self.names) < MAX_NAMES:
            self.names |= names
        if len(self.things) < MAX_NAMES:
            self.things |= things
        if handing or not _HOLDERS.isdisjoint(tokens(part)):
            self.handed_names |= names & self.names
            self.handed_things |= things & self.things

    def adopt(self, record: str) -> None:
        """A record that the user handed over to: what it points at is his to be done with too."""
        for one in _POINTED.findall(record[:MAX_ADOPTED_CHARS]):
            if len(self.handed_things) >= MAX_NAMES:
                return
            thing = plain(one.strip("\"'"))
            if len(thing) >= _SHORTEST_ADOPTED:
                self.handed_things.add(thing)

    def handed_to(self, low: str) -> int:
        """How much in a text is of those, or of that, whose words the user handed over to."""
        if not self.handed:
            return 0
        return _among(self.handed_names, low) + _among(self.handed_things, low)

    def points_at(self, low: str) -> bool:
        """Whether a text has a thing that the user pointed at."""
        return any(thing in low for thing in self.things if len(thing) >= _SHORTEST_ADOPTED)

    def said(self, value: str) -> bool:
        """Whether a plain value stands in the user's words."""
        return value in self.text

    def share(self, words: frozenset[str]) -> float:
        """How much of these words the user used."""
        return len(words & self.words) / len(words) if words else 0.0


def _among(values: set[str], low: str) -> int:
    return sum(value in low for value in values)


def _sentence(unit: str) -> UserSentence:
    words = frozenset(one for one in tokens(unit) if one not in STOP)
    verbs = words & CLASSES.keys()
    return UserSentence(words, frozenset(verbs), classes_of(verbs), " ".join(unit.lower().split()))
