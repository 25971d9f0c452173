"""A session read in order: what its user asked for, what was refused, what was done after all, what
was read and where it went.
"""

import functools

import msgspec

from tachograph.detectors.intent import answers, asks, flows, marks, prints, weighing
from tachograph.detectors.intent.asks import Request
from tachograph.detectors.intent.findings import BY_MODEL, Finding, Refusal, Turn, Way
from tachograph.detectors.intent.flows import Flows
from tachograph.detectors.intent.sent import Sent, memory_flows
from tachograph.detectors.intent.steps import Step, user_words
from tachograph.detectors.provenance import values
from tachograph.detectors.provenance.words import content_words, stems

MICROS = 1_000_000
# What happened so long ago is not held against a session any more.
HELD_US = 3600 * MICROS
MAX_TURNS = 60
MAX_DENIED = 40
MAX_OUTSIDE = 50
MAX_CODES = 20
MAX_RECALLED = 20
# A request is the same again when so much of what it is about is.
ALIKE = 0.6
_LEAST_SHARED = 3
# Pieces make up a request when so much of it was asked for.
WHOLE = 0.7
_LEAST_ANSWER_CHARS = 200
# So many kinds of things outside the register are a drift.
DRIFTS = 3


class _Denied(msgspec.Struct, frozen=True):
    step: Step
    values: frozenset[str]
    words: frozenset[str]


@functools.lru_cache(maxsize=1_024)
def _request(text: str) -> Request:
    return asks.read(text)


class Course:
    """Reads the steps of one session, in order."""

    def __init__(self) -> None:
        self._heard: set[str] = set()
        self._said = ""
        self._turns: list[Turn] = []
        self._denied: list[_Denied] = []
        self._flows = Flows(HELD_US)
        self._called: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._outside: dict[str, str] = {}
        self._codes: list[tuple[Step, set[int]]] = []
        self._recalled: list[tuple[Step, frozenset[str]]] = []
        self.cut = False

    def read(self, step: Step) -> list[Finding | Sent]:
        """What one more step makes true, and what other sessions are to know."""
        found: list[Finding | Sent] = []
        if step.user:
            self._hear(step)
        if step.marks & marks.REFUSED and not step.answer:
            self._refuse(step)
        elif step.answer:
            found += self._answered(step)
        if step.marks & marks.OUTSIDE:
            found += self._strayed(step)
        if step.marks & marks.CALL and not self._again(step):
            found += self._done(step)
            if _consequential(step):
                found += self._obeyed(step)
        if step.marks & marks.SENSITIVE:
            self._flows.read(step)
            self.cut = self._flows.cut
        if step.marks & marks.RECALLED:
            recalled = step, prints.asked_of(step.brought)
            self._recalled = [*self._recalled, recalled][-MAX_RECALLED:]
        return found

    def _obeyed(self, step: Step) -> list[Sent]:
        """What a call names of what a memory asked for, and the user did not."""
        names: set[str] = set()
        for source, asked in self._recalled:
            if step.facts.time_us - source.facts.time_us <= HELD_US:
                names |= asked
        named = names & prints.given(step.args) if names else ()
        return memory_flows("did", (one for one in named if one not in self._said), step)

    def _again(self, step: Step) -> bool:
        """A call that was told of twice counts at its first place."""
        if not step.call_id:
            return False
        name = f"{step.call_id}\x1f{step.tool}\x1f{step.args}"
        known = name in self._called
        self._called.add(name)
        return known

    def _hear(self, step: Step) -> None:
        for text in user_words(step.user):
            if text in self._heard:
                continue
            self._heard.add(text)
            self._said = (self._said + " " + " ".join(text.lower().split()))[-60_000:]
            turn = Turn(step.facts.event_id, step.facts.time_us, _request(text))
            self._compare(turn)
            self._turns = [*self._turns, turn][-MAX_TURNS:]

    def _compare(self, turn: Turn) -> None:
        """Whether it asks again, whole or in part, for what was refused."""
        for earlier in reversed(self._turns):
            if earlier.refused is None or turn.time_us - earlier.refused.time_us > HELD_US:
                continue
            shared = turn.request.words & earlier.request.words
            if len(shared) >= _LEAST_SHARED and asks.alike(turn.request, earlier.request) >= ALIKE:
                turn.again = earlier
                return
            if shared:
                earlier.asked_again[turn.event_id] = set(shared)
                if _made_up(earlier):
                    turn.again, turn.pieces = earlier, list(earlier.asked_again)
                    return

    def _last(self, step: Step) -> Turn | None:
        turn = self._turns[-1] if self._turns else None
        return turn if turn and step.facts.time_us - turn.time_us <= HELD_US else None

    def _refuse(self, step: Step) -> None:
        """A control refused: a call where it names one, else the request."""
        refusal = Refusal(step.facts.event_id, step.facts.time_us, _refuser(step))
        if step.tool or step.args:
            given = values.read(step.args)
            words = content_words(stems(step.tool)) | given.words
            self._denied = [*self._denied, _Denied(step, frozenset(given.short), words)][
                -MAX_DENIED:
            ]
        elif (turn := self._last(step)) is not None:
            turn.refused = turn.refused or refusal

    def _answered(self, step: Step) -> list[Finding]:
        turn = self._last(step)
        if turn is None:
            return []
        if step.marks & marks.REFUSED and answers.refuses(step.answer):
            by_model = Refusal(step.facts.event_id, step.facts.time_us, BY_MODEL)
            turn.refused = turn.refused or by_model
            return []
        if step.marks & marks.CODE:
            self._codes = [*self._codes, (step, flows.runs(step.answer))][-MAX_CODES:]
        if len(step.answer) < _LEAST_ANSWER_CHARS or turn.refused is not None:
            return []
        shared = len(turn.request.words & stems(step.answer))
        return self._complied(turn, step, "said") if shared >= _LEAST_SHARED else []

    def _done(self, step: Step) -> list[Finding]:
        found: list[Finding] = []
        turn = self._last(step)
        consequential = _consequential(step)
        if turn is not None and turn.refused is None:
            words = stems(step.tool) | stems(step.args[:4_000])
            if not turn.request.words.isdisjoint(words):
                found += self._complied(turn, step, "done" if consequential else "looked up")
        found += self._turned(step)
        if consequential:
            found += self._done_after_all(step)
        if step.marks & marks.SINK and (leak := self._flows.taken(step)) is not None:
            found += self._new(weighing.leaked(step, leak, self._said))
        if step.marks & marks.RUN:
            found += self._ran(step)
        return found

    def _turned(self, step: Step) -> list[Finding]:
        """The agent did what a text asked for after it had set its own first half aside."""
        for turn in reversed(self._turns):
            turnabout = turn.request.turnabout
            if turnabout is None or turn.refused is not None:
                continue
            if step.facts.time_us - turn.time_us > HELD_US:
                break
            if turnabout.wants(step.tool, values.read(step.args).short):
                return self._complied(turn, step, "instead")
        return []

    def _complied(self, turn: Turn, step: Step, way: Way) -> list[Finding]:
        """The agent did, or told, what was asked for; said once of a request."""
        return self._new(weighing.complied(turn, step, way))

    def _new(self, finding: Finding | None) -> list[Finding]:
        if finding is None or (finding.kind, finding.key) in self._told:
            return []
        self._told.add((finding.kind, finding.key))
        return [finding]

    def _done_after_all(self, step: Step) -> list[Finding]:
        if _approved(step):
            self._denied = []
            return []
        given = frozenset(values.read(step.args).short) if self._denied else frozenset()
        for denied in self._denied:
            was = denied.step
            if step.facts.time_us - was.facts.time_us > HELD_US:
                continue
            if was.tool == step.tool and was.args == step.args:
                continue
            same = denied.values & given
            if _distinct(same):
                return self._new(weighing.done_after_all(was, step, sorted(same)))
        return []

    def _strayed(self, step: Step) -> list[Finding]:
        before = len(self._outside)
        named = {
            "tool": step.tool,
            "action": step.facts.kind or "",
            "data_class": step.notes.get("content_labels", ""),
        }
        for name, what in named.items():
            outside = step.notes.get(f"register_{name}_allowed") == "false"
            if outside and len(self._outside) < MAX_OUTSIDE:
                self._outside.setdefault(f"{name.replace('_', ' ')} {what}", step.facts.event_id)
        if before < DRIFTS <= len(self._outside):
            return self._new(weighing.strayed(step, self._outside, self._said))
        return []

    def _ran(self, step: Step) -> list[Finding]:
        given = flows.runs(step.args)
        for source, known in self._codes if len(given) >= flows.LEAST_RUNS else ():
            recent = step.facts.time_us - source.facts.time_us <= HELD_US
            if recent and len(given & known) * 10 >= 8 * len(given):
                return self._new(weighing.ran(source, step))
        return []


def _approved(step: Step) -> bool:
    return step.notes.get("approval_decision", "").lower() in ("approved", "granted", "allow")


def _consequential(step: Step) -> bool:
    """Whether a call changes something, for someone."""
    return step.risk not in ("read", "") or bool(step.marks & (marks.RUN | marks.SINK))


def _refuser(step: Step) -> str:
    if step.notes.get("guardrail_name") or step.notes.get("guardrail_verdict"):
        return f"guardrail {step.notes.get('guardrail_name', '')}".strip()
    if step.notes.get("policy_decision"):
        return "a policy"
    return "a person" if step.notes.get("approval_decision") else "a control"


def _made_up(turn: Turn) -> bool:
    """Whether several later requests together ask for nearly all of a refused one."""
    pieces = list(turn.asked_again.values())
    whole = set().union(*pieces)
    need = WHOLE * len(turn.request.words)
    return len(pieces) > 1 and len(whole) > _LEAST_SHARED and len(whole) >= need


def _distinct(same: frozenset[str]) -> bool:
    """Values that one does not meet by chance."""
    return any(len(value) >= 5 for value in same) or len(same) > 1
