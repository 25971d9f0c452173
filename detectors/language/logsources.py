"""Which rules are asked of agents' actions, by the log source they are written for.

A rule for other products would run on actions as nonsense, or never match and say nothing: it is
not asked, and whoever loads it is told. A processing pipeline that maps its fields gives it a log
source of ours (`change_logsource`). Raw logs are what their reader says they are: there all rules
are asked.
"""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tachograph.detectors.language.documents import Problem
from tachograph.detectors.language.fields import FieldMap
from tachograph.schemas import behaviour
from tachograph.schemas.action import KINDS

if TYPE_CHECKING:
    from sigma.rule import SigmaLogSource

PRODUCT = "ai_agent"
# Without a product, these categories are ours: any action, its kinds, and names for several kinds.
CATEGORIES = frozenset({"action", "any", "memory", "process_creation", behaviour.KIND, *KINDS})
MAX_SAID = 20


def foreign(logsource: "SigmaLogSource", fields: FieldMap) -> str | None:
    """The log source in words, if events of these fields are not of it."""
    if fields.columns is None or logsource.product == PRODUCT:
        return None
    if logsource.product is None and logsource.service is None and logsource.category in CATEGORIES:
        return None
    parts = {
        "product": logsource.product,
        "category": logsource.category,
        "service": logsource.service,
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value)


def notes_in_words(notes: Sequence[Problem]) -> list[str]:
    """What a person is told of rules that are asked, and not quite as their authors meant them."""
    counts = Counter(problem.reason for problem in notes).most_common(MAX_SAID)
    return [f"{count:,} rule(s) {reason}" for reason, count in counts]


def in_words(skipped: Sequence[Problem]) -> list[str]:
    """What a person is told of rules that are not asked, by log source, most first."""
    counts = Counter(problem.reason for problem in skipped).most_common()
    lines = [f"{count:,} rule(s) not asked: {reason}" for reason, count in counts[:MAX_SAID]]
    rest = sum(count for _, count in counts[MAX_SAID:])
    return [*lines, f"{rest:,} rule(s) not asked: of other log sources"] if rest else lines
