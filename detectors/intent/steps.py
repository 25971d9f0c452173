"""Actions of a session that is looked at, one by one."""

import json
import re
from collections.abc import Sequence

import msgspec
import numpy as np
import polars as pl

from tachograph.detectors.facts import Facts, FactTable
from tachograph.detectors.intent.marks import ANSWERS, ARGS, BROUGHT, JOINED, KEPT, MARKS, USERS
from tachograph.detectors.language.fields import ACTIONS
from tachograph.detectors.reference.joins import nulls

_TEXTS = (USERS, ANSWERS, "tool_name", ARGS, "tool_call_id", BROUGHT, "tool_risk")
_NOTED = (
    *("guardrail_verdict", "guardrail_name", "policy_decision", "policy_reason", "outcome"),
    *("approval_decision", "register_purpose", "register_risk_tier", "root_session_id"),
)
_LISTS = ("content_labels", "tool_sensitivity", "source_sensitivity")
_FLAGS = tuple(name for name in JOINED if name.endswith("_allowed"))

_TEXT_PART = re.compile(r'"(?:content|text)"\s*:\s*"((?:[^"\\]|\\.)*)')
_JSON = json.JSONDecoder()


class Step(msgspec.Struct, array_like=True, gc=False):
    """One action of a session that is looked at."""

    facts: Facts
    marks: int
    user: str = ""
    answer: str = ""
    tool: str = ""
    args: str = ""
    call_id: str = ""
    brought: str = ""
    risk: str = ""
    # What reference data and controls say of it, by name.
    notes: dict[str, str] = {}

    @property
    def order(self) -> tuple[int, str]:
        """Its place in the session."""
        return self.facts.time_us, self.facts.event_id

    @property
    def chars(self) -> int:
        """What it weighs."""
        texts = (self.user, self.answer, self.args, self.brought)
        return 1_000 + sum(map(len, texts))


def steps_of(frame: pl.DataFrame) -> list[Step]:
    """Held actions, one by one. `frame`: those of KEPT columns that hold anything."""
    if frame.is_empty():
        return []
    have = frozenset(frame.columns)
    absent = {name: kind for name, kind in KEPT.items() if name not in have}
    frame = frame.hstack(nulls(absent, frame.height))
    rows = np.arange(frame.height)
    facts = FactTable(frame, rows, ACTIONS).at(rows, [])
    texts = zip(*(_said(frame[name]) for name in _TEXTS), strict=True)
    bits = frame[MARKS].to_list()
    steps = [Step(fact, bit, *text) for fact, bit, text in zip(facts, bits, texts, strict=True)]
    for step, notes in zip(steps, _notes(frame), strict=True):
        step.notes = notes
    return steps


def _notes(frame: pl.DataFrame) -> Sequence[dict[str, str]]:
    found: list[dict[str, str]] = [{} for _ in range(frame.height)]
    for name in _NOTED:
        _note(found, name, frame[name])
    for name in _LISTS:
        if frame[name].null_count() < frame.height:
            _note(found, name, frame[name].list.join(", "))
    for name in _FLAGS:
        if frame[name].null_count() < frame.height:
            _note(found, name, frame[name].cast(pl.String))
    return found


def _said(texts: pl.Series) -> list[str]:
    if texts.null_count() == len(texts):
        return [""] * len(texts)
    return [text or "" for text in texts.to_list()]


def _note(found: list[dict[str, str]], name: str, values: pl.Series) -> None:
    if values.null_count() == len(values):
        return
    for note, value in zip(found, values.to_list(), strict=True):
        if value:
            note[name] = value


def user_words(text: str) -> list[str]:
    """What the user says: a prompt as it is, or the texts of a message of a chat request, whatever
    follows it or was cut off.
    """
    if not text.startswith(("{", "[")):
        return [text]
    try:
        message, _ = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        return [found for found in _TEXT_PART.findall(text)[:1] if found]
    messages = message if isinstance(message, list) else [message]
    spoken = [one for one in messages if isinstance(one, dict) and one.get("role") == "user"]
    if not spoken:
        return [text]
    found = []
    for one in spoken:
        parts = one.get("parts", one.get("content"))
        for part in parts if isinstance(parts, list) else [parts]:
            words = part.get("content", part.get("text")) if isinstance(part, dict) else part
            found += [words] if isinstance(words, str) and words else []
    return found
