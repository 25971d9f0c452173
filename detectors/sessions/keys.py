"""What all detectors that follow sessions do alike."""

from collections.abc import Mapping

import msgspec

from tachograph.detectors.facts import Facts
from tachograph.detectors.links import Linked
from tachograph.detectors.signals import changed
from tachograph.schemas.alert import Signal

# (tenant, partition key, session): the session of one service is none of another's.
Key = tuple[str, str, str]


def key_of(facts: Facts) -> Key:
    """The session of an action."""
    session = facts.session_id or facts.trace_id or ""
    return facts.tenant, facts.partition_key or "", session


def linked_facts(facts: Facts, link: Linked) -> Facts:
    """An action of a trace whose session or agent became known."""
    fell_back = facts.session_id is None or facts.session_id == facts.trace_id
    return msgspec.structs.replace(
        facts,
        session_id=link.session_id if fell_back else facts.session_id,
        agent_id=facts.agent_id or link.agent_id,
        agent_name=facts.agent_name or link.agent_name,
        principal_id=facts.principal_id or link.principal_id,
    )


def differences(
    before: Mapping[str, Signal], after: Mapping[str, Signal], revision: int
) -> list[Signal]:
    """What is to be said when this stood and that stands now."""
    found = [
        changed(signal, "retracted", revision)
        for signal_id, signal in before.items()
        if signal_id not in after
    ]
    for signal_id, signal in after.items():
        old = before.get(signal_id)
        if old is None:
            found.append(changed(signal, "new", revision))
        elif old != signal:
            found.append(changed(signal, "revised", revision))
    return found
