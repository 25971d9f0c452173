"""What a simple rule finds, to compare with: an argument of a call stands in an earlier answer of a
tool, after a phrase that orders something.
"""

import re
from collections.abc import Sequence

from tachograph.detectors.provenance.parts import Step
from tachograph.detectors.provenance.values import read

_ORDERS = re.compile(
    r"please|you (?:must|should|need to|have to)|do the following|before you can"
    r"|ignore (?:all|the|any|previous)|make sure|important|instructions?:|instead,|first,",
    re.IGNORECASE,
)
_SHORTEST = 4


def naively_flagged(steps: Sequence[Step]) -> bool:
    """Whether the rule says something of a session, whose steps come in order."""
    # Of each answer what follows its first order.
    ordered: list[str] = []
    for part in (part for step in steps for part in step.parts):
        if part.role == "content":
            found = _ORDERS.search(part.text)
            if found is not None:
                ordered.append(" ".join(part.text[found.end() :].lower().split()))
        elif part.role == "call" and ordered:
            values = [one for one in read(part.text).short if len(one) >= _SHORTEST]
            if any(value in text for value in values for text in ordered):
                return True
    return False
