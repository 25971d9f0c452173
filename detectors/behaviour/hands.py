"""What a person's hand takes at the least, to tell a person from a machine that says it is one.

Time needed is added up over what was done. More time needed than there was is no person, whatever
the person's own habits. The costs are lower bounds of practised people, not means: eight calls in
ten seconds fill a window; text typed at 150 words a minute (12.5 characters a second, where the
mean of 136 million keystrokes is 52 words), and pasted text costs no more than MOST_TEXT_MS.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from tachograph.detectors.behaviour.features import SCALES, Finding

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

HAND = Finding(
    "d2b7c5e8-1f4a-5b96-8e03-9a6c4d7f2b01",
    "Faster than the person that the session claims",
    "A01",
    [
        "atlas.aml.t0124",
        "owasp-llm.2026.llm03",
        "owasp-asi.asi10",
        "owasp-asi.asi03",
        "nist-ai-rmf.measure-2.4",
        "iso-42001.a.6.2.6",
    ],
    "Ask the person. If nobody sits there, revoke the session's credentials; a machine uses them.",
)

CLOCKWORK = Finding(
    "8f6e2d1c-0b7a-5c43-9d58-6e1f4a3b2c09",
    "More regular than the person that the session claims",
    "A09",
    ["atlas.aml.t0124", "owasp-asi.asi10", "owasp-asi.asi03", "nist-ai-rmf.measure-2.4"],
    "Ask the person. A script that is paced like a person still keeps time like a clock.",
)

CALL_MS = 1250
PROMPT_MS = 1000
APPROVAL_MS = 800
CHARACTER_MS = 80
MOST_TEXT_MS = 2000

# Share of a window, in percent, that a hand may need: short ones may hold a burst, and nobody works
# for an hour without a pause. By the place of the length in SCALES.
FILLS_PERCENT = (220, 110, 60, 45)
# Fewer actions than this say nothing.
LEAST_DEEDS = (10, 20, 60, 200)

# Counts of a clock are alike: their variance, in percent of their mean, is small, where that of
# people, who come in bursts, is 100 and more. Asked of so many base panes and actions; then fewer
# than one in ten thousand windows of independent actions are so regular.
CLOCK_PERCENT = 20
CLOCK_PANES = 24
CLOCK_ACTS = 24

# An agent's kind that says a person acts, and one that says a person drives an agent.
PERSONS = ("human", "human_interactive", "chat_user", "browser_user")
DRIVEN = ("interactive",)
_TRIGGERS = ("human_interactive", "keyboard", "human")

CALLS = ("tool_call", "http", "process", "file", "retrieval", "memory_write", "message")

_is_call = pl.col("kind").is_in(CALLS)
_is_word = ((pl.col("kind") == "prompt") & (pl.col("content_role").fill_null("user") == "user")) | (
    pl.col("kind") == "approval"
)
_nobody_else = pl.all_horizontal(pl.col("agent_kind", "agent_id", "agent_name").is_null())
_driven = pl.col("agent_kind").is_in(DRIVEN) | pl.col("session_trigger").is_in(_TRIGGERS)

# What says that a person's hand did it: the kind of agent or session, or the principal of something
# that no agent did, as far as is known; "" otherwise.
BY_KIND, BY_PRINCIPAL = "kind", "principal"
CLAIM = (
    pl.when(pl.col("agent_kind").is_in(PERSONS) & (_is_call | _is_word))
    .then(pl.lit(BY_KIND))
    .when(_driven & _is_word)
    .then(pl.lit(BY_KIND))
    .when(pl.col("principal_type").is_in(["human", "user"]) & _nobody_else & (_is_call | _is_word))
    .then(pl.lit(BY_PRINCIPAL))
    .otherwise(pl.lit(""))
)
# Nobody takes in what is shown faster than this, a character: three times the pace of reading (238
# words a minute, of 5.7 characters).
READ_MS = 15
MOST_READ_MS = 4000
_read_ms = (pl.coalesce("content_text", "tool_args").str.len_chars().fill_null(0) * READ_MS).clip(
    0, MOST_READ_MS
)
_text_ms = (pl.col("content_text").str.len_chars().fill_null(0) * CHARACTER_MS).clip(
    0, MOST_TEXT_MS
)
NEEDED_MS = (
    pl.when(_is_call)
    .then(CALL_MS)
    .when(pl.col("kind") == "approval")
    .then(APPROVAL_MS + _read_ms)
    .when(_is_word)
    .then(PROMPT_MS + _text_ms)
    .otherwise(0)
)

_THERE_MS = np.array([scale.span_us // 1000 for scale in SCALES])
_FILLS = np.array(FILLS_PERCENT)
_LEAST_DEEDS = np.array(LEAST_DEEDS)


def too_fast(scales: Ints, needed_ms: Ints, deeds: Ints) -> Bools:
    """Windows that hold more than a hand can do."""
    fills = needed_ms * 100 >= _THERE_MS[scales] * _FILLS[scales]
    found: Bools = fills & (deeds >= _LEAST_DEEDS[scales])
    return found


def too_regular(panes: Ints, acts: Ints, squared: Ints) -> Bools:
    """Windows that keep time as no hand can. `squared`: the squares of the acts of each base pane,
    added up.
    """
    # The variance over the mean, both times the panes and the acts.
    even = 100 * (panes * squared - acts * acts) <= CLOCK_PERCENT * panes * acts
    found: Bools = even & (panes >= CLOCK_PANES) & (acts >= CLOCK_ACTS)
    return found
