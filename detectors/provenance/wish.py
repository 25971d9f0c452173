"""What the user asked for, in his own words, and whose words he made his own: "do what Bob's mail
says" makes Bob's mail the user's wish, and no other.
"""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from tachograph.detectors.provenance import sentences
from tachograph.detectors.provenance.values import plain, stands_in
from tachograph.detectors.provenance.words import CLASSES, STOP, classes_of, stem, tokens

MAX_CHARS = 60_000
MAX_SENTENCES = 300
MAX_NAMES = 200
MAX_HANDOVERS = 20
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
_PLACE = re.compile(r"\w[/.]\w")
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
    r"\b(?:accord(?:ing|ance)|(?<!the )follow(?:ing)?|as (?:\w+ ){0,4}(?:says?|said|asks?|asked"
    r"|told|requests?|requested|describes?|described|mention(?:s|ed)?|stated?|instruct(?:s|ed)?"
    r"|suggest(?:s|ed)?|specif(?:y|ies|ied)|listed|wants?)"
    # What someone asked the user for, in words of his that are not given here.
    r"|(?:told|asks?|asked|wants?|requested|reminded|instructed) (?:me|us)(?! (?:to|that|if)\b)"
    r"|details|instructions?|requests?|tasks?|to-?do|do (?:what|whatever|as|all|everything)"
    r"|handle|respond to|reply to|address (?:his|hers?|their|the|this|that|these|it|any|all)"
    r"|resolve|complete|finish|take care|carry out|based on(?! what you| your)"
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


class Handover(NamedTuple):
    """Whose words, and those of what, the user made his own in a sentence."""

    names: frozenset[str]
    things: frozenset[str]


class Wish:
    """All that the user (and whoever set the agent up) said in a session."""

    def __init__(self) -> None:
        self.text = ""
        self.words: set[str] = set()
        self.classes: frozenset[str] = frozenset()
        self.sentences: list[UserSentence] = []
        self.handed = 0
        self.handovers: list[Handover] = []
        # What the records point at whose words the user handed over to.
        self.adopted: set[str] = set()
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
        before: Handover | None = None
        for part in _ENDS.split(text):
            before = self._note_names(part[:2_000], before)

    def _note_names(self, part: str, before: Handover | None) -> Handover | None:
        """Take in a sentence of the user. `before`: what the one before it told of, where that is
        something that may hold words; the same of this one.
        """
        names = frozenset(
            name.lower()
            for name in _NAME.findall(part)
            if name.lower() not in _NO_NAMES
            and stem(name) not in CLASSES
            and not _HANDED.fullmatch(name)
        )
        pointed = {plain(one.strip("\"'")) for one in _POINTED.findall(part)}
        things = frozenset(one for one in pointed if len(one) > 3)
        handing = len(_HANDED.findall(part))
        self.handed += handing
        if len(self.things) < MAX_NAMES:
            self.things |= things
        said = Handover(names, things) if names or things else None
        if handing and len(self.handovers) < MAX_HANDOVERS:
            self.handovers += [one for one in (before, said) if one is not None]
        return said if not _HOLDERS.isdisjoint(tokens(part)) else None

    def adopt(self, record: str) -> None:
        """A record that the user handed over to: what it points at is his to be done with too."""
        for one in _POINTED.findall(record[:MAX_ADOPTED_CHARS]):
            if len(self.adopted) >= MAX_NAMES:
                return
            thing = plain(one.strip("\"'"))
            # His own address stands in every mail, and keys of data in every record.
            if len(thing) >= _SHORTEST_ADOPTED and _PLACE.search(thing) and "@" not in thing:
                self.adopted.add(thing)

    def handed_to(self, low: str, asked: Sequence[str] = ()) -> int:
        """How much in a record is of those, or of that, whose words the user handed over to.
        `asked`: the values by which it was fetched. Where he named someone, a record that does not
        is another's.
        """
        most = 0
        for names, things in self.handovers:
            found = _among(names, low) + _among(things, low)
            if not names or found:
                found += 2 * any(stands_in(one, value) for one in things for value in asked)
            most = max(most, found)
        return most

    def adopts(self, low: str) -> int:
        """How much of what records point at that the user handed over to is in this one."""
        return _among(self.adopted, low)

    def points_at(self, low: str) -> bool:
        """Whether a text has a thing that the user pointed at."""
        long = (thing for thing in self.things if len(thing) >= _SHORTEST_ADOPTED)
        return any(stands_in(thing, low) for thing in long)

    def said(self, value: str) -> bool:
        """Whether a plain value stands in the user's words."""
        return value in self.text

    def share(self, words: frozenset[str]) -> float:
        """How much of these words the user used."""
        return len(words & self.words) / len(words) if words else 0.0


def _among(values: Collection[str], low: str) -> int:
    return sum(stands_in(value, low) for value in values)


def _sentence(unit: str) -> UserSentence:
    words = frozenset(one for one in tokens(unit) if one not in STOP)
    verbs = words & CLASSES.keys()
    return UserSentence(words, frozenset(verbs), classes_of(verbs), " ".join(unit.lower().split()))
