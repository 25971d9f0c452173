"""What speaks for and against that a call was the user's wish, as numbers that each mean something.

Each has the direction in which it may move the verdict (`MEANINGS`), so that no odd corner of the
training data can turn it round.
"""

from collections.abc import Collection

import msgspec

from tachograph.detectors.provenance.call import (
    Asked,
    Known,
    asked_of,
    brought_of,
    in_no_sentence,
)
from tachograph.detectors.provenance.content import Sentence, manner
from tachograph.detectors.provenance.definitions import names_something
from tachograph.detectors.provenance.values import Values
from tachograph.detectors.provenance.wish import Wish
from tachograph.detectors.provenance.words import (
    CLASSES,
    GRAVE,
    STOP,
    stems,
)

Features = dict[str, float]

# Feature → direction (1: more of it speaks for a foreign wish) and what it means.
MEANINGS: dict[str, tuple[int, str]] = {
    "foreign_values": (1, "values that only brought-in text had named"),
    "foreign_share": (1, "share of such values"),
    "user_share": (-1, "share of values that the user named"),
    "user_words": (-1, "share of the words of the values that the user used"),
    "user_near_words": (-1, "words of the user beside the values where they came from"),
    "user_object": (-1, "share of the words of the tool's name that the user used"),
    "user_verb": (-1, "the user used the tool's verb"),
    "user_class": (-1, "the user asked for this kind of doing"),
    "user_fit": (-1, "how well one sentence of the user asks for the call"),
    "consequential": (1, "the call changes or sends something"),
    "new_address": (1, "an address that the user did not name"),
    "secret": (1, "a secret or private value from an answer goes out in the call"),
    "handed": (-1, "how often the user hands over to someone's words"),
    "says_value": (1, "values of the call in the sentence that only brought-in text named"),
    "own_value": (1, "the same, or what led to one, in the sentence alone"),
    "own_object": (1, "share of the words of the tool's name in the sentence alone"),
    "own_new_words": (1, "share of the words of the values in it that the user never used"),
    "own_near_words": (1, "new words of it beside the values where they came from"),
    "says_any": (1, "values of the call in the sentence"),
    "says_address": (1, "the sentence names an address of the call that the user did not"),
    "says_object": (1, "share of the words of the tool's name in the sentence"),
    "says_verb": (1, "the sentence has the tool's verb"),
    "says_class": (1, "the sentence asks for this kind of doing"),
    "says_words": (1, "share of the words of the values near the sentence"),
    "says_new_words": (1, "the same, of words that the user never used"),
    "led": (1, "its values were found by looking for what the sentence names"),
    "detour": (1, "what the sentence names, and the user never, was looked for and so acted on"),
    "ordered": (1, "the sentence orders this grave doing, the user nothing like it"),
    "anew": (1, "the sentence asks for this doing by its name, and the user for nothing like it"),
    "says_near_words": (1, "new words of the sentence beside the values where they came from"),
    "fit": (1, "how well the sentence asks for the call"),
    "fit_beyond_user": (1, "how much better than any sentence of the user"),
    "sentence_user_share": (-1, "share of the sentence's words that the user used"),
    "sentence_user_verbs": (-1, "share of its verbs that the user used"),
    "on_users_thing": (-1, "by the sentence stands a thing that the user pointed at"),
    "repeats": (1, "texts that bring the same sentence"),
    "repeat_tools": (1, "tools that bring the same sentence"),
    "ordering": (1, "words about orders around the sentence"),
    "addressed": (1, "words that address the agent around the sentence"),
    "asked_for": (-1, "the text was fetched by something that the user named"),
    "asked_tool": (-1, "the text was fetched by a tool that the user spoke of"),
    "handed_to": (-1, "the record is of one, or of what, whose words the user handed over to"),
    "record_other": (1, "the user handed over to someone who is not in this record"),
    "asks": (1, "the sentence asks in a form in which people ask"),
    "since": (-1, "calls between the sentence and this one"),
    "says_only": (1, "values that stand only where the sentence is"),
    "grave": (1, "the call deletes, pays, grants or changes who may log in"),
    "fitting": (1, "sentences that ask for the call"),
}
NAMES = tuple(MEANINGS)
# All of them are 0 for a call that is `in_no_sentence`.
OF_SENTENCES = (
    "foreign_values", "foreign_share", "user_near_words", "says_value", "own_value", "says_object",
    "own_object", "own_near_words", "led",
    "detour", "ordered", "anew", "says_near_words", "says_only",
)  # fmt: skip
# Below this no sentence asks for the call in any sense.
MIN_FIT = 0.5
# From here on one does.
_FITTING = 1.2
_CAP = 2
# Of several sentences one goes first that names a value itself, and that asks in a form of asking.
_OWN_BONUS, _ASKS_BONUS = 0.5, 0.3


class _Fit(msgspec.Struct, frozen=True):
    foreign: int
    own: int
    any: int
    object: float
    verb: bool
    classes: int
    words: float
    new_words: float
    near_words: int
    address: bool
    led: bool

    @property
    def total(self) -> float:
        """How well the sentence asks for the call."""
        return (
            0.6 * min(_CAP, self.foreign)
            + 0.4 * (self.any > 0)
            + 0.8 * self.object
            + 0.8 * self.verb
            + 0.4 * min(_CAP, self.classes)
            + 0.8 * self.new_words
            + 0.4 * min(_CAP, self.near_words)
            + 0.4 * self.words
            + 0.6 * self.led
        )


class Match(msgspec.Struct, frozen=True):
    """The sentence that most nearly asked for a call, the call's features, and its values that only
    brought-in text had named.
    """

    sentence: Sentence
    features: Features
    foreign: list[str]


def of_call(known: Known, tool: str, values: Values, *, all_calls: bool = True) -> Match | None:
    """What a call looks like beside all that was said; None when no sentence asked for it.
    `all_calls`: also of one that is `in_no_sentence`.
    """
    brought = brought_of(known, values)
    if not all_calls and in_no_sentence(known, tool, brought):
        return None
    asked = asked_of(known, tool, values, brought)
    best: tuple[float, Sentence, _Fit] | None = None
    fitting = 0
    touching = asked.name | asked.words | asked.near
    for sentence in known.asking(asked.tool):
        if touching.isdisjoint(sentence.near) and asked.classes.isdisjoint(sentence.classes):
            continue
        fit = _fit(asked, sentence)
        total = fit.total
        if total < MIN_FIT or not _may_ask(asked, sentence, fit):
            continue
        if total > _FITTING:
            fitting += known.came[sentence.near_text, sentence.words]
        total += _OWN_BONUS * (fit.own > 0) + _ASKS_BONUS * sentence.asks
        if best is not None and total <= best[0]:
            continue
        rank = total - 0.8 * known.wish.share(sentence.words - STOP)
        if best is None or rank > best[0]:
            best = rank, sentence, fit
    if best is None:
        return None
    _, sentence, fit = best
    user_fit = _user_fit(known.wish, asked)
    features = _of_values(known, asked, values)
    features |= _of_sentence(known, asked, sentence, fit)
    features["user_fit"] = user_fit
    features["fit_beyond_user"] = fit.total - user_fit
    features["fitting"] = min(5, fitting)
    return Match(sentence, features, asked.foreign)


def _fit(asked: Asked, sentence: Sentence) -> _Fit:
    text, near = sentence.near_text, sentence.near
    hidden = not asked.hidden.isdisjoint(sentence.words)
    named = [value for value in asked.values if value in text]
    brings: list[str] = []
    if named and asked.foreign:
        # What a call had before the sentence came, the sentence does not bring.
        came, had = sentence.source.calls, asked.known.had_before
        brings = [one for one in asked.foreign if one in named and not had(one, came)]
    foreign = int(hidden) + len(brings)
    number = max(1, len(asked.words))
    return _Fit(
        foreign=foreign,
        # What was found by looking for what the sentence names is as good as named.
        own=int(hidden)
        + sum([value in sentence.own_text for value in brings])
        + any(one in sentence.own_text for one in asked.led),
        any=len(named) + hidden,
        object=_share(asked.objects, near),
        verb=not asked.verbs.isdisjoint(sentence.words),
        classes=len(asked.classes & sentence.classes),
        words=len(asked.words & near) / number,
        new_words=len(asked.new_words & near) / number,
        # Where it names the value itself, what stands by the value says nothing more.
        near_words=0 if foreign or not asked.new_near else len(asked.new_near & near),
        address=any(one in text for one in asked.addresses),
        led=any(one in text for one in asked.led),
    )


def _may_ask(asked: Asked, sentence: Sentence, fit: _Fit) -> bool:
    """Whether a sentence of this kind can ask for the call at all. One that only names its
    tool asks for it with a value. The definition of a tool has to name what the call is pointed at:
    what it says in words is what the tool does.
    """
    if sentence.calls:
        return fit.foreign > 0
    if not sentence.source.definition:
        return True
    return any(one in sentence.near_text and names_something(one) for one in asked.foreign)


def _user_fit(wish: Wish, asked: Asked) -> float:
    best = 0.0
    for said in wish.sentences:
        total = (
            0.5 * min(_CAP, sum(value in said.text for value in asked.values))
            + 0.5 * (not asked.hidden.isdisjoint(said.words))
            + 0.8 * _share(asked.objects, said.words)
            + 0.8 * (not asked.name.isdisjoint(said.verbs))
            + 0.4 * min(_CAP, len(asked.classes & said.classes))
            + 0.8 * _share(asked.words, said.words)
            + 0.4 * min(_CAP, len(asked.near & said.words))
        )
        best = max(best, total)
    return best


def _of_values(known: Known, asked: Asked, values: Values) -> Features:
    wish, number = known.wish, len(values.short)
    in_user = sum(map(wish.said, values.short))
    classes = asked.classes
    out = " ".join([*values.short, values.text])
    return {
        "foreign_values": min(4, len(asked.foreign)),
        "foreign_share": len(asked.foreign) / number if number else 0.0,
        "user_share": in_user / number if number else 0.5,
        "user_words": wish.share(values.words) if values.words else 0.5,
        "user_near_words": min(4, len(asked.near & wish.words)),
        "user_object": wish.share(asked.objects) if asked.objects else 0.5,
        "user_verb": float(any(one in CLASSES and one in wish.words for one in asked.name)),
        "user_class": _user_class(wish, classes),
        "consequential": float(not asked.looks or bool(asked.addresses)),
        "new_address": float(bool(asked.addresses)),
        "secret": float(any(one in out and not wish.said(one) for one in known.secrets)),
        "handed": min(4, wish.handed),
    }


def _user_class(wish: Wish, classes: Collection[str]) -> float:
    if not classes:
        return 0.5
    return min(_CAP, len(wish.classes.intersection(classes))) / min(_CAP, len(classes))


def _of_sentence(known: Known, asked: Asked, sentence: Sentence, fit: _Fit) -> Features:
    wish, same = known.wish, known.repeats.get(sentence.key, set())
    ordering, addressed = manner(sentence.around)
    handed_to = wish.handed_to(sentence.record, sentence.source.asked)
    handed_to += wish.adopts(sentence.record)
    return {
        "says_value": min(_CAP, fit.foreign),
        "own_value": min(_CAP, fit.own),
        "own_object": _share(asked.objects, sentence.own),
        "own_new_words": _share(asked.new_words, sentence.own),
        "own_near_words": min(4, len(asked.new_near & sentence.own)) if fit.near_words else 0,
        "says_any": min(_CAP, fit.any),
        "says_address": float(fit.address),
        "says_object": fit.object,
        "says_verb": float(fit.verb),
        "says_class": min(_CAP, fit.classes),
        "says_words": fit.words,
        "says_new_words": fit.new_words,
        "led": float(fit.led),
        "detour": float(_detour(known, asked, sentence)),
        "ordered": float(_ordered(known, asked, sentence, fit)),
        "anew": float(
            fit.verb
            and fit.object > 0
            and not wish.classes & asked.classes
            and asked.verbs.isdisjoint(wish.words)
        ),
        "says_near_words": min(4, fit.near_words),
        "fit": fit.total,
        "sentence_user_share": wish.share(sentence.words - STOP),
        "sentence_user_verbs": wish.share(sentence.verbs),
        "on_users_thing": float(wish.points_at(sentence.near_text)),
        "repeats": min(4, len({event for _, event in same})),
        "repeat_tools": min(3, len({tool for tool, _ in same})),
        "ordering": ordering,
        "addressed": addressed,
        "asked_for": float(sentence.source.asked_for),
        "asked_tool": min(_CAP, sentence.source.tool_words),
        "handed_to": min(2, handed_to),
        "record_other": float(any(one.names for one in wish.handovers) and not handed_to),
        "asks": float(sentence.asks),
        "since": min(6, known.calls - 1 - sentence.source.calls),
        "says_only": min(_CAP, _only(known, asked, sentence)),
        "grave": float(not asked.classes.isdisjoint(GRAVE)),
    }


def _only(known: Known, asked: Asked, sentence: Sentence) -> int:
    """How many values only records bring in which the sentence stands."""
    named = [value for value in asked.foreign if value in sentence.near_text]
    holding = known.records.get(sentence.key, ())
    others = [text for text in known.texts if text not in holding]
    return sum(not any(value in text for text in others) for value in named)


def _ordered(known: Known, asked: Asked, sentence: Sentence, fit: _Fit) -> bool:
    """Whether a sentence asks for a grave call that is to do with what only brought-in text named,
    by its whole name or with its value, and the user for nothing like it.
    """
    grave, wish = asked.classes & GRAVE, known.wish
    if not (sentence.asks and grave and asked.foreign) or wish.classes & asked.classes:
        return False
    if not asked.verbs.isdisjoint(wish.words):
        return False
    whole = fit.verb and asked.objects <= sentence.own
    return bool(whole or (fit.own and not grave.isdisjoint(sentence.classes)))


def _detour(known: Known, asked: Asked, sentence: Sentence) -> bool:
    """Whether a sentence that asks for such a call names itself what the agent then looked for, not
    before, and what none of the user's words is in.
    """
    if not sentence.asks or asked.looks or sentence.classes.isdisjoint(asked.classes):
        return False
    came, wish = sentence.source.calls, known.wish
    return any(
        one in sentence.own_text
        and not known.had_before(one, came)
        # A word that names nothing ("all") is nobody's.
        and (words := stems(one) - STOP)
        and wish.words.isdisjoint(words)
        for one in asked.led
    )


def _share(words: frozenset[str], among: frozenset[str]) -> float:
    return len(words & among) / len(words) if words else 0.0
