"""What agents were not let do: few of their actions, kept a second time, so that who asks for them
reads these alone.

No roll-up: a copy of an action that is written again is written again here, under the same key,
and the same copy holds in both. So nothing has to settle, and what is said here is what the actions
say.
"""

from tachograph.pipeline.store.columns import Column
from tachograph.pipeline.store.ddl import STORED_AT, Feed, Table, View
from tachograph.pipeline.store.tables_actions import ACTION, INNER

# No later copy of an action says otherwise.
DENIED = "outcome = 'denied' OR policy_decision = 'deny' OR approval_decision = 'refused'"
_TAKEN = ("event_id", "tenant", "partition_key", "event_time", "principal_id", "agent_id",
          "agent_name", "session_id", "tool_name")  # fmt: skip
_OF_ACTION = {one.name: one for one in ACTION}
_TEXT = _OF_ACTION["target_resource"]
SHOWN = [
    *(_OF_ACTION[name] for name in _TAKEN),
    _TEXT._replace(name="target", comment="resource, URL, host or file it was to be done to"),
    _TEXT._replace(name="reason", comment="why not: reason, error, decision or outcome"),
]
_SAID = {
    "target": "coalesce(nullIf(target_resource, ''), nullIf(target_url, ''),"
    " nullIf(target_host, ''), file_path)",
    "reason": "coalesce(nullIf(policy_reason, ''), nullIf(error_message, ''),"
    " nullIf(policy_decision, ''), toString(outcome))",
}
_INNER = [one._replace(default="") for one in INNER if one.name in ("twin_of", "row_version")]
_FED: list[Column] = [*SHOWN, *_INNER, STORED_AT]


def denied(where: str) -> str:
    """The query of what was denied among the rows of a table of actions."""
    chosen = ",\n    ".join(
        f"{_SAID[one.name]} AS {one.name}" if one.name in _SAID else one.name for one in _FED
    )
    return f"SELECT\n    {chosen}\nFROM {where}\nWHERE {DENIED}"


DENIALS_DATA = Table(
    "denials_data",
    """Every report of an action that was denied; read tacho.denials instead.
Sorted as the actions are, and the copy that holds there holds here.""",
    _FED,
    "ReplacingMergeTree(row_version)",
    "(tenant, partition_key, event_time, event_id)",
)
DENIALS_FED = Feed(
    "denials_fed",
    "Writes down again, of every insert into tacho.actions_data, what was denied.",
    _FED,
    "denials_data",
    denied("tacho.actions_data"),
)
DENIALS = View(
    "denials",
    "What agents tried and were not let: each action once.",
    [*SHOWN, STORED_AT],
    "FROM tacho.denials_data FINAL\nWHERE twin_of = ''",
)
