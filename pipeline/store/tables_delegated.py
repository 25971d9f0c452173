"""What was done for others: actions of agents that somebody started or delegated to, once more for
each of those, so that who asks for whom an agent worked reads these alone.

No roll-up, as what was denied is none (tables_denials.py). But sorted by who delegated, so that on
a sharded cluster what was filled in and what came later may lie apart: copies of one action are
told apart once more by whoever reads. By FINAL too: of copies of one version it takes the one that
it takes among the actions.
"""

from tachograph.pipeline.store.columns import Column
from tachograph.pipeline.store.ddl import STORED_AT, Feed, Table
from tachograph.pipeline.store.tables_actions import ACTION, INNER
from tachograph.pipeline.store.tables_rollups import COUNTED, FEW
from tachograph.pipeline.store.touches import CREDENTIAL, NOT_DONE

_OF_ACTION = {one.name: one for one in (*ACTION, *INNER)}
# What one action may claim: those nearest to the agent.
MAX_BOSSES = 100
_VERSION = _OF_ACTION["row_version"]._replace(default="", codec="Delta(8), ZSTD(1)")


def _few(name: str, comment: str) -> Column:
    return _OF_ACTION["tenant"]._replace(name=name, type=FEW, comment=comment)


def _flag(name: str, comment: str) -> Column:
    return _VERSION._replace(name=name, type="Bool", comment=comment, codec="ZSTD(1)")


_FED: list[Column] = [
    _OF_ACTION["tenant"],
    _few("boss", f"who delegated it or started the agent; the nearest {MAX_BOSSES}"),
    _OF_ACTION["event_time"],
    _VERSION._replace(name="action", comment="its event id, as a number", codec="ZSTD(1)"),
    _few("agent_id", "the agent that did it"),
    _few("principal_id", "human or workload it acted for"),
    _few("credential", "credential used: its id, else its fingerprint"),
    _flag("not_done", "failed or denied"),
    next(one for one in COUNTED if one.name == "bytes_out"),
    _flag("is_twin", "another report shows this action"),
    _VERSION,
    STORED_AT,
]
_SAID = {
    "boss": "arrayJoin(arraySlice(arrayDistinct(arrayFilter(one -> one != '',"
    f" arrayPushBack(delegation_chain, parent_agent_id))), -{MAX_BOSSES}))",
    "action": "cityHash64(event_id)",
    "credential": CREDENTIAL,
    "not_done": NOT_DONE,
    "bytes_out": "ifNull(tool_bytes_out, 0)",
    "is_twin": "twin_of != ''",
}
# No later copy of an action says otherwise.
_SOMEBODYS = "notEmpty(delegation_chain) OR parent_agent_id != ''"


def fed() -> str:
    """The query of what was done for others among the reports of actions."""
    chosen = ",\n    ".join(
        f"{_SAID[one.name]} AS {one.name}" if one.name in _SAID else one.name for one in _FED
    )
    return f"SELECT\n    {chosen}\nFROM tacho.actions_data\nWHERE {_SOMEBODYS}"


def filled() -> str:
    """The statement that writes down what is stored already; what is fed twice counts once."""
    names = ", ".join(one.name for one in _FED)
    return f"INSERT INTO tacho.{DELEGATED_DATA.name} ({names})\n{fed()};\n"


DELEGATED_DATA = Table(
    "delegated_data",
    """Every report of what was done for others, once for each of them; read tacho.blast_radius.
Of copies of one action the one with the highest row_version holds.""",
    _FED,
    "ReplacingMergeTree(row_version)",
    "(tenant, boss, event_time, action)",
)
DELEGATED_FED = Feed(
    "delegated_fed",
    "Writes down again, of every insert into tacho.actions_data, what was done for others.",
    _FED,
    "delegated_data",
    fed(),
)
# Of each action the copy that holds; `boss` is what is asked for.
_HELD = ("agent_id", "principal_id", "credential", "not_done", "bytes_out", "is_twin")
DELEGATED = f"""SELECT tenant, boss, event_time,
        {", ".join(f"held.{at} AS {name}" for at, name in enumerate(_HELD, start=1))}
    FROM (SELECT tenant, boss, event_time, action, argMax(({", ".join(_HELD)}), row_version) AS held
        FROM tacho.delegated_data FINAL GROUP BY tenant, boss, event_time, action)
    WHERE NOT is_twin AND boss != agent_id"""  # noqa: S608 - our own text
