"""When each host and each recipient was first spoken to, hour by hour: the roll-up of what was
touched once more, without the agents, so that who asks what is new reads a hundredth of it.

Fed by what is rolled up, whichever process does that. It holds only what may be written twice.
"""

from tachograph.pipeline.store.columns import Column
from tachograph.pipeline.store.ddl import STORED_AT, Feed, Table, View
from tachograph.pipeline.store.tables_rollups import OTHERS, TOUCHED, TOUCHED_DATA, either, touches
from tachograph.pipeline.store.touches import DESTINATIONS as TOUCHES
from tachograph.pipeline.store.touches import IS_DESTINATION

_NAMES = ("tenant", "touched_type", "touched", "hour")
_OF_TABLE = {one.name: one for one in TOUCHED_DATA.columns}
_KEY: list[Column] = [*(_OF_TABLE[name] for name in _NAMES), _OF_TABLE["rolled_to"]]
_BEGAN = _OF_TABLE["began_us"]
_FED = [*_KEY, _BEGAN, STORED_AT]
_SHOWN = [one for one in TOUCHED if one.name in (*_NAMES, "first_seen")]


def _least(column: Column, function: str) -> Column:
    kind = f"SimpleAggregateFunction({function}, {column.type})"
    return column._replace(type=kind)


def fed() -> str:
    """The query of hosts and recipients among rows of the roll-up."""
    names = ", ".join(one.name for one in _KEY)
    return (
        f"SELECT {names}, min(began_us) AS began_us, max(stored_at) AS stored_at\n"
        f"FROM tacho.{TOUCHED_DATA.name}\nWHERE {IS_DESTINATION}\nGROUP BY {names}"
    )


def filled() -> str:
    """The statement that writes down what is rolled up already."""
    names = ", ".join(one.name for one in _FED)
    return f"INSERT INTO tacho.{DESTINATIONS_DATA.name} ({names})\n{fed()};\n"


DESTINATIONS_DATA = Table(
    "destinations_data",
    """When a host or a recipient was first spoken to in an hour; read tacho.destinations instead.
Only rows whose rolled_to is that of their hour count.""",
    [*_KEY, _least(_BEGAN, "min"), _least(STORED_AT, "max")],
    "AggregatingMergeTree",
    "(tenant, touched_type, touched, hour, rolled_to)",
)
DESTINATIONS_FED = Feed(
    "destinations_fed",
    "Writes down again, of what is rolled up, hosts and recipients.",
    _FED,
    "destinations_data",
    fed(),
)
DESTINATIONS = View(
    "destinations",
    """When each host and each recipient was first spoken to in each hour.
The least first_seen of one is when it was new.""",
    _SHOWN,
    either(DESTINATIONS_DATA, _SHOWN, touches(_SHOWN, OTHERS, touched=TOUCHES, by="hour")),
)
