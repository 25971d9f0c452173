"""A session read in order: what is known when a call comes, and what speaks for and against that
the call was the user's wish.
"""

from collections.abc import Sequence

import msgspec

from tachograph.detectors.provenance import content, values
from tachograph.detectors.provenance.call import Arguments, Known, Texts, looks_only, tool_words
from tachograph.detectors.provenance.content import Source
from tachograph.detectors.provenance.features import Match, of_call
from tachograph.detectors.provenance.parts import Part, Role, Step, canonical
from tachograph.detectors.provenance.values import Values
from tachograph.detectors.provenance.wish import Wish
from tachograph.detectors.provenance.words import content_words

MAX_CALLS = 2_000
# After a pause this long what came before is forgotten.
PAUSE_S = 6 * 3600
MICROS = 1_000_000
_NOTHING = values.read("")


class Judged(msgspec.Struct, frozen=True):
    """A call that a sentence asked for. `call`: with its arguments in one spelling; `cut`: a text
    before it was too long to be read whole.
    """

    step: Step
    call: Part
    values: Values
    match: Match
    cut: bool


class Session:
    """Reads the steps of one session, in order."""

    def __init__(self, *, all_calls: bool = True) -> None:
        """`all_calls`: see `of_call`."""
        self._all_calls = all_calls
        self._last_us: int | None = None
        self._begin()

    def _begin(self) -> None:
        self.known = Known(Wish(), Texts(), [], {}, {}, {}, set(), {}, Arguments(), {}, set())
        self.cut = False
        self._heard: set[tuple[Role, str]] = set()
        # Words of the user that nothing asked to be held against yet.
        self._unread: list[str] = []
        # Calls by id and tool: their arguments as they came first, and in one spelling where such a
        # call came again.
        self._called: dict[tuple[str, str], str] = {}
        self._again: dict[tuple[str, str], set[str]] = {}
        # Arguments by call: what an answer was asked for by.
        self._arguments: dict[str, str] = {}
        # The values of the latest arguments that were read: an answer mostly follows its call.
        self._latest: tuple[str, Values] = "", _NOTHING

    def read(self, steps: Sequence[Step]) -> list[Judged]:
        """Take in what comes next; the calls in it that some sentence may have asked for."""
        found = []
        for step in steps:
            last_us, self._last_us = self._last_us, step.facts.time_us
            if last_us is not None and self._last_us - last_us > PAUSE_S * MICROS:
                self._begin()
            for part in step.parts:
                self.cut = self.cut or part.cut
                if part.role != "call":
                    self._hear(step, part)
                elif (judged := self._call(step, part)) is not None:
                    found.append(judged)
        self.known.texts.rest()
        return found

    def _hear(self, step: Step, part: Part) -> None:
        """Words; the same ones, sent again with every request, count once."""
        said = part.role, part.text
        if said in self._heard:
            return
        self._heard.add(said)
        match part.role:
            case "user":
                self._unread.append(part.text)
            case "trusted":
                self.known.texts.add([" ".join(part.text.lower().split())])
            case _:
                self._bring_in(step, part)

    def _listen(self) -> Wish:
        """Read the user's words: in most sessions nothing asks for anything, so nobody needs to."""
        wish = self.known.wish
        for text in self._unread:
            wish.hear(text)
        self._unread.clear()
        return wish

    def _bring_in(self, step: Step, part: Part) -> None:
        known, event_id = self.known, step.facts.event_id
        taken = content.take(part.text, lambda: self._source(event_id, part), known.wish)
        fetched = self._arguments.get(part.call_id, "")
        known.texts.add(taken.texts)
        for text in taken.texts:
            known.fetched.setdefault(text, fetched)
        known.secrets.update(taken.secrets)
        for sentence in taken.sentences:
            known.bring(sentence)

    def _source(self, event_id: str, part: Part) -> Source:
        wish = self._listen()
        asked = self._values(self._arguments.get(part.call_id, ""))
        return Source(
            event_id=event_id,
            tool=part.tool,
            asked_for=any(map(wish.said, asked.short)),
            asked=tuple(asked.short),
            calls=self.known.calls,
            definition=part.role == "definition",
            tool_words=len(content_words(tool_words(part.tool)) & wish.words),
        )

    def _values(self, arguments: str) -> Values:
        if self._latest[0] != arguments:
            self._latest = arguments, values.read(canonical(arguments))
        return self._latest[1]

    def _told_before(self, call_id: str, part: Part) -> bool:
        name = call_id, part.tool
        first = self._called.get(name)
        if first is None:
            self._called[name] = part.text
            return False
        told = self._again.setdefault(name, {canonical(first)})
        before = len(told)
        told.add(canonical(part.text))
        return len(told) == before

    def _call(self, step: Step, part: Part) -> Judged | None:
        """A call that was told of twice (asked for, then done) counts at its first place."""
        call_id = part.call_id or step.facts.event_id
        if self._told_before(call_id, part):
            return None
        known = self.known
        known.calls += 1
        self._arguments[call_id] = part.text
        if known.calls > MAX_CALLS:
            return None
        known.called.add(part.text)
        # What only looks and names no address changes nothing and reaches nobody.
        # An escape may stand for a dot.
        dotted = "." in part.text or "\\" in part.text
        if not known.asked or (looks_only(part.tool) and not dotted):
            return None
        named = self._values(part.text)
        if not named.addresses and looks_only(part.tool):
            return None
        self._listen()
        found = of_call(known, part.tool, named, all_calls=self._all_calls)
        if found is None:
            return None
        told = msgspec.structs.replace(part, text=canonical(part.text))
        return Judged(step, told, named, found, self.cut)
