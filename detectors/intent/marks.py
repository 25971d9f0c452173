"""What each action may mean for the intent of its session, as bits of a number, found a column at a
time: most actions mean nothing and go no further.
"""

import functools
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import re2

from tachograph.detectors.facts import FACT_COLUMNS
from tachograph.detectors.frames import Some, rows_at
from tachograph.detectors.intent import answers, vocabulary
from tachograph.detectors.sessions.together import KEY
from tachograph.detectors.sessions.waiting import SESSION
from tachograph.schemas.batch import COLUMNS

USER, PRESSES, REFUSED, ANSWER, CALL = 1, 2, 4, 8, 16
SENSITIVE, SINK, OUTSIDE, RUN, CODE, KEYS = 32, 64, 128, 256, 512, 1024
# Of several sessions: content that outsiders wrote, a memory read that names an address.
TOLD, RECALLED, REMEMBERS = 2048, 4096, 8192
# What an action weighs that is looked at later, in any case.
MAX_WORDS_CHARS, MAX_ARGS_CHARS, MAX_BROUGHT_CHARS = 8_000, 16_000, 16_000
MAX_ANSWER_CHARS = 4_000
MARKS, LATE = "~marks", "~late"
# Texts of an action, by what they are to its session.
TEXTS = USERS, ANSWERS, ARGS, BROUGHT = "~user", "~answer", "~args", "~brought"
# Data classes that are to stay where they are.
KEPT_IN = ("secret", "pii", "phi", "confidential", "restricted", "financial", "credential")
JOINED = (
    *(
        "content_trust",
        "tool_risk",
        "tool_sink",
        "tool_sensitivity",
        "source_sensitivity",
        "register_purpose",
    ),
    *("register_risk_tier", "register_tool_allowed", "register_action_allowed"),
    *("register_data_class_allowed", "register_destination_allowed"),
)
_READ = (
    *("kind", "outcome", "tool_name", "tool_args", "tool_call_id", "tool_result", "content_text"),
    *("content_role", "content_direction", "content_labels", "input_messages", "memory_value"),
    *("guardrail_verdict", "guardrail_name", "policy_decision", "policy_reason", "late", "far"),
    *("approval_decision", "process_command_line", "target_url", "finish_reasons", "recipients"),
    *("http_method", "session_id", "trace_id", "root_session_id", "memory_source_trust"),
)
# Columns that a prepared frame must have.
NEEDED = (*JOINED, *_READ)

# Tools that tell somebody something, who answers: what they bring in is an outsider's, too, so that
# no class of tools has them.
TALKS = ["chat", "chat_with", "say", "tell", "talk", "talk_to"]
# Sets of columns for which questions are kept ready.
MAX_READY = 256
_NO = pl.lit(value=False)
_BAD = ["deny", "denied", "block", "blocked", "refuse", "refused", "reject", "rejected"]
Bools = npt.NDArray[np.bool_]
_USER_MESSAGE = r'(?s).*(\{[^{}]{0,40}"role"\s*:\s*"user".*)'
# Writings that are read in another way: base64, hex, a letter at a time, pieces to be joined.
_BLOB = (
    r"[A-Za-z0-9+]{20}[A-Za-z0-9+/_-]{20}|(?:[0-9a-fA-F]{2}[ :]){16}|(?:\b[A-Za-z][ .\-_*]){7}"
    r"|[\w\"'`] \+ [\w\\\"'`]|(?i:\b(?:concat|assembl|join|combin))"
)
_REDACTED = "‹secret:"
# Words that say that what stands beside them is nobody else's business.
_NAMES_PRIVATE = (
    r"(?i)\b(?:passport|ssn|social security|iban|routing|card|cvv|cvc|pin|licen[cs]e|birth"
    r"|private.?key|secret|api.?key|tax.?id|id.?number|phone|medical|diagnosis|salary|account)\b"
    r"[^\n:=]*[:=]"
)
# Such a value; with digits, for words alone are prose.
PRIVATE = (
    _NAMES_PRIVATE.removesuffix("*[:=]") + r"{0,30}[:=][\s\"'\\]{0,4}"
    r"([A-Za-z+/_.@#-][A-Za-z+/_.@# -]{0,40}?[0-9][A-Za-z0-9+/_.@# -]{2,62}[A-Za-z0-9]"
    r"|[0-9][A-Za-z0-9+/_.@# -]{3,62}[A-Za-z0-9])"
)
# Files whose content opens doors, as a call names them.
CREDENTIAL_FILES = (
    r"(?i)/\.?ssh/id_[a-z0-9]+|\bid_(?:rsa|dsa|ecdsa|ed25519)\b|\.aws/credentials|/etc/shadow"
    r"|\.netrc\b|\.git-credentials|\.kube/config|\.pgpass|\.npmrc\b|\.pypirc|\.env\b"
    r"|\.(?:pem|p12|pfx|jks|kdbx|keytab)\b|/private.?key"
)
# Without one of these nothing in a text is an address or a number.
_ADDRESS = r"[@0-9]|\w\.\w"
_LOW = ["untrusted", "unknown"]
_CODE = r"```|(?m)^\s{0,8}(?:\$ |sudo |curl |select |insert |update |delete |drop )"


@functools.cache
def _ready(regex: str) -> Any:
    """Linear in the text, whatever it is."""
    return re2.compile(regex)


@functools.cache
def _hints() -> tuple[str, str, str]:
    """Every text that `asks` may find pressing or harmful, and not many others, matches the first,
    or both of the others.
    """
    stems: set[str] = set(vocabulary.UNBOUND) | {"jailbr"}
    for acts, things in vocabulary.HARMS.values():
        sides = [one for one in (acts, things) if one]
        stems |= min(sides, key=_common)
    return (
        f"{_words(stems)}|{_BLOB}",
        _words(vocabulary.RULES),
        _words(vocabulary.SET_ASIDE | vocabulary.PERSONA),
    )


def _words(stems: Iterable[str]) -> str:
    return rf"(?i:\b(?:{'|'.join(sorted(stems))}))"


def _common(stems: Collection[str]) -> int:
    """How common words are, roughly: short ones are."""
    return sum(4 ** max(0, 6 - len(one)) for one in stems)


def marked(frame: pl.DataFrame) -> Some:
    """Actions that mean something, with their texts cut to size.

    `frame`: prepared, with those of NEEDED columns that hold anything.
    """
    bits = _Bits(frame)
    rows = np.flatnonzero(bits.found)
    if not len(rows):
        return Some(rows, pl.DataFrame(schema=KEPT | {LATE: pl.Boolean()}))
    texts = {name: text for name, text in bits.texts.items() if text.null_count() < len(text)}
    here = frozenset(frame.columns)
    columns = [frame.get_column(name) for name in KEPT if name in here]
    whole = rows_at(pl.DataFrame([*columns, *texts.values()]), rows)
    own = {MARKS: bits.found[rows], LATE: bits.late[rows]}
    marks = [pl.Series(name, values) for name, values in own.items()]
    return Some(rows, whole.hstack([*marks, *whole.select(SESSION)]))


def _valued_rows(text: pl.Series) -> Bools:
    if text.null_count() == len(text):
        return np.zeros(len(text), np.bool_)
    return text.is_not_null().to_numpy()


def _kind(name: str) -> pl.DataType:
    if name in COLUMNS:
        return COLUMNS[name]
    if name.endswith("_allowed") or name == "tool_sink":
        return pl.Boolean()
    return pl.List(pl.String) if name.endswith("sensitivity") else pl.String()


class _Questions:
    """What is asked of a frame's rows, by name. A column without any value is as good as absent."""

    def __init__(self, have: frozenset[str]) -> None:
        """`have`: columns with a value in some row."""
        self._have = have

    def _valued(self, name: str) -> pl.Expr:
        return pl.col(name).is_not_null() if name in self._have else _NO

    def _flag(self, name: str) -> pl.Expr:
        return pl.col(name).fill_null(value=False) if name in self._have else _NO

    def _in(self, name: str, values: Sequence[str]) -> pl.Expr:
        if name not in self._have:
            return _NO
        return pl.col(name).is_in(values).fill_null(value=False)

    def _of(self, *names: str) -> pl.Expr:
        """The first of these columns that has a value."""
        here = [name for name in names if name in self._have]
        return pl.coalesce(here) if here else pl.lit(None, pl.String)

    def texts(self) -> dict[str, pl.Expr]:
        """Words of the user, answers of the model, what tools were given and what they brought."""
        text = self._of("content_text")
        outward = self._in("content_direction", ["out"]) | self._in("content_role", ["assistant"])
        outward |= ~self._valued("content_direction") & self._in("kind", ["completion"])
        said = self._in("kind", ["prompt"]) & ~self._in("content_role", ["system", "assistant"])
        asked = self._of("input_messages")
        of_user = pl.when(asked.str.contains('"user"', literal=True)).then(asked)
        brought = [
            self._of("tool_result"),
            pl.when(self._in("kind", ["tool_result", "retrieval"])).then(text),
            pl.when(self._in("kind", ["memory_read", "memory_write"])).then(
                self._of("memory_value", "content_text")
            ),
        ]
        given = self._of("tool_args", "process_command_line", "target_url")
        last = pl.coalesce(of_user.str.extract(_USER_MESSAGE), of_user)
        answers = self._in("kind", ["completion", "message"]) & outward
        return {
            USERS: pl.coalesce(pl.when(said).then(text), last).str.head(MAX_WORDS_CHARS),
            ANSWERS: pl.when(answers).then(text).str.head(MAX_ANSWER_CHARS),
            ARGS: given.str.head(MAX_ARGS_CHARS),
            BROUGHT: pl.coalesce(brought).str.head(MAX_BROUGHT_CHARS),
        }

    def conditions(self) -> dict[str, pl.Expr]:
        done = ~self._in("outcome", ["denied", "cancelled", "failed"])
        call = self._in("kind", ["tool_call", "http", "process"]) & done
        upload = self._in("http_method", ["POST", "PUT", "PATCH"])
        return {
            "here": self._valued("session_id") | self._valued("trace_id"),
            "late": self._flag("late") | self._flag("far"),
            "call": call,
            "run": (self._in("kind", ["process"]) | self._in("tool_risk", ["execute"])) & call,
            "sink": (self._flag("tool_sink") | upload | self._in("tool_name", TALKS)) & call,
            "denied": self._denied(),
            "outside": self._outside(),
            "kept in": self._kept_in(),
            "told": self._in("content_trust", ["untrusted"]) & self._valued("root_session_id"),
            "recalls": self._in("kind", ["memory_read"]),
            "remembers": self._in("kind", ["memory_write"])
            & (self._in("content_trust", _LOW) | self._in("memory_source_trust", _LOW)),
        }

    def _denied(self) -> pl.Expr:
        found = self._in("outcome", ["denied"])
        for name in ("guardrail_verdict", "policy_decision", "approval_decision"):
            found |= self._in(name, _BAD)
        if "finish_reasons" in self._have:
            filtered = pl.col("finish_reasons").list.contains("content_filter")
            found |= filtered.fill_null(value=False)
        return found

    def _outside(self) -> pl.Expr:
        names = [f"register_{name}_allowed" for name in ("tool", "action", "data_class")]
        found = _NO
        for name in names:
            if name in self._have:
                found |= ~pl.col(name).fill_null(value=True)
        return found

    def _kept_in(self) -> pl.Expr:
        found = _NO
        for name in ("content_labels", "tool_sensitivity", "source_sensitivity"):
            if name in self._have:
                labels = pl.col(name).list.eval(pl.element().str.to_lowercase().is_in(KEPT_IN))
                found |= labels.list.any().fill_null(value=False)
        return found


@functools.lru_cache(maxsize=MAX_READY)
def _questions(have: frozenset[str]) -> dict[str, pl.Expr]:
    """Made once for frames with the same columns: it takes longer than the answer."""
    asked = _Questions(have)
    made = {**asked.texts(), **asked.conditions()}
    return {name: value.alias(name) for name, value in made.items()}


@functools.cache
def _asked_of() -> frozenset[str]:
    """The columns that some question is of."""
    every = _questions(frozenset({*COLUMNS, *NEEDED}))
    return frozenset(name for value in every.values() for name in value.meta.root_names())


class _Bits:
    """The marks of a frame's rows. Text is only looked at where there is any."""

    def __init__(self, frame: pl.DataFrame) -> None:
        self.found = np.zeros(frame.height, np.uint32)
        valued = (c.name for c in frame.get_columns() if c.null_count() < frame.height)
        asked = _questions(_asked_of().intersection(valued))
        made = frame.select(asked.values())
        if made.height != frame.height:
            # Nothing but constants was asked for.
            made = frame.select(
                pl.lit(value[0], made.schema[name]).alias(name)
                for name, value in made.to_dict().items()
            )
        self.texts = {name: made[name] for name in TEXTS}
        self._has = {name: _valued_rows(text) for name, text in self.texts.items()}
        self._said: dict[str, list[str | None]] = {}
        self._is = {name: made[name].to_numpy() for name in asked if name not in TEXTS}
        self.late = self._is["late"]
        self._words()
        self._calls()
        self._brought()
        self._mark(REFUSED, self._is["denied"])
        self._mark(OUTSIDE, self._is["outside"])
        self.found[~self._is["here"]] = 0

    def _mark(self, bit: int, rows: Bools) -> None:
        self.found[rows] |= np.uint32(bit)

    def _matching(self, name: str, regex: str, among: Bools | None = None, head: int = 0) -> Bools:
        """Rows (of these) whose text matches; `head`: so much of it is looked at."""
        rows = self._has[name]
        at = np.flatnonzero(rows if among is None else rows & among)
        found = np.zeros(len(rows), np.bool_)
        if len(at):
            # Few texts: an expression made ready once is quicker than a column's.
            search = _ready(regex).search
            said = self._said.get(name)
            if said is None:
                said = self._said[name] = self.texts[name].to_list()
            texts = [(said[place] or "")[: head or None] for place in at.tolist()]
            # Mostly none of them matches: then one look at all of them at once is enough.
            if search("\n".join(texts)) is not None:
                found[at] = [search(one) is not None for one in texts]
        return found

    def _words(self) -> None:
        self._mark(USER, self._has[USERS])
        self._mark(ANSWER, self._has[ANSWERS])
        alone, rules, getting_past = _hints()
        ruled = self._matching(USERS, rules)
        presses = self._matching(USERS, alone) | self._matching(USERS, getting_past, ruled)
        self._mark(PRESSES, presses)
        self._mark(REFUSED, self._matching(ANSWERS, answers.REFUSES, head=answers.HEAD_CHARS))
        self._mark(CODE, self._matching(ANSWERS, _CODE))

    def _calls(self) -> None:
        run = self._is["run"]
        self._mark(CALL, self._is["call"])
        self._mark(RUN, run)
        sink = self._is["sink"] | self._matching(ARGS, UPLOADS, run)
        self._mark(SINK, sink)
        self._mark(KEYS, self._matching(ARGS, CREDENTIAL_FILES, sink))

    def _brought(self) -> None:
        brought = self._has[BROUGHT]
        beside = self._matching(BROUGHT, _NAMES_PRIVATE)
        private = self._matching(BROUGHT, _REDACTED) | self._matching(BROUGHT, PRIVATE, beside)
        private |= self._matching(ARGS, CREDENTIAL_FILES, brought) | self._is["kept in"] & brought
        self._mark(SENSITIVE, private)
        self._mark(TOLD, self._is["told"] & brought)
        self._mark(RECALLED, self._matching(BROUGHT, _ADDRESS, self._is["recalls"]))
        self._mark(REMEMBERS, self._matching(BROUGHT, _ADDRESS, self._is["remembers"]))


# Commands that hand something over to another machine.
UPLOADS = (
    r"(?i)\bcurl\b[^|;&]*\s(?:-d|-F|-T|--data[a-z-]*|--form|--upload-file|-X\s*(?:POST|PUT))(?:\s|=|$)"
    r"|\bwget\b[^|;&]*--post-(?:data|file)|\b(?:scp|rsync|sftp)\b[^|;&]*\s[a-z0-9_.@-]+:"
    r"|\baws\s+s3\s+(?:cp|sync|mv)\b|\b(?:rclone|gsutil)\s+(?:copy|cp|sync)\s|\bnc\s+\S+\s+\d+"
    r"|requests\.(?:post|put)\("
)

# Columns that are kept of actions that wait to be looked at.
KEPT: dict[str, pl.DataType] = {
    **{name: COLUMNS[name] for name in FACT_COLUMNS if name in COLUMNS},
    **dict.fromkeys((*TEXTS, "tool_call_id"), pl.String()),
    **{name: _kind(name) for name in JOINED if name != "tool_sink"},
    **{name: COLUMNS[name] for name in ("content_labels", "guardrail_verdict", "guardrail_name",
                                        "policy_decision", "policy_reason", "outcome",
                                        "approval_decision")},
    "root_session_id": pl.String(),
    MARKS: pl.UInt32(),
}  # fmt: skip


def by_session(frame: pl.DataFrame) -> dict[str, int]:
    """All bits that the actions of a session have, by session. `frame`: with a column KEY."""
    found: dict[str, int] = {}
    pairs = zip(frame.get_column(KEY).to_list(), frame.get_column(MARKS).to_list(), strict=True)
    for session, bits in pairs:
        found[session] = found.get(session, 0) | bits
    return found
