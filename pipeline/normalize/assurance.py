"""Who may speak for which agents: the operator's table, and what it says of an action.

A TOML file that TACHO_ASSURANCE_FILE names. A producer that writes to Kafka itself is known only by
the topic that its ACL lets it write to; one that came through the door by its principal.

    [[topic]]                       # only these agents' producers may write to it
    name = "otlp_spans"
    agents = ["shop", "shop/*"]

    [[principal]]                   # at the door: speaks for these and for no others
    name = "shop-gateway"
    tenant = "acme"                 # any tenant where it is left out
    agents = ["shop", "cart-*"]

In names of agents and principals `*` stands for any characters. Entries of one name add up; who is
not named is neither proved nor refuted. An agent is known by two names, the partition key and
`agent_id`: both must be among those of the entry.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import polars as pl
import re2

from tachograph.pipeline.errors import ConfigError
from tachograph.schemas.action import Assurance

ENVIRONMENT: Final = "TACHO_ASSURANCE_FILE"
MAX_FILE_BYTES: Final = 4_194_304
MAX_PATTERNS: Final = 10_000
# Decisions remembered: one for each agent, sender and topic.
KNOWN: Final = 100_000
MISMATCH: Final = "identity_mismatch"
_NOTHING: Final = r"[^\x00-\x{10FFFF}]"
_NAMES: Final = ("partition_key", "agent_id")


class _Topic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    agents: list[str]


class _Principal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    agents: list[str]
    tenant: str | None = None


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file, as it is written."""

    topic: list[_Topic] = []
    principal: list[_Principal] = []


class Sender(NamedTuple):
    """How a record came: its topic, whether the door signed it, and whom the door named."""

    topic: str
    tenant: str
    door: bool
    principal: str | None


class Decision(NamedTuple):
    """What the table says of one action."""

    assurance: Assurance
    mismatch: bool | None = None


class Assured:
    """The table, ready to be asked. Without one only the door's word counts. One thread."""

    def __init__(self, table: Table | None = None) -> None:
        table = table or Table()
        self._topics = {
            name: _matcher(agent for entry in table.topic if entry.name == name
                           for agent in entry.agents)
            for name in {entry.name for entry in table.topic}
        }  # fmt: skip
        self._principals = [
            (_matcher([entry.name]), entry.tenant, _matcher(entry.agents))
            for entry in table.principal
        ]
        self._known: dict[tuple[Sender, tuple[str, ...]], Decision] = {}

    @property
    def silent(self) -> bool:
        """It says nothing of anyone."""
        return not self._topics and not self._principals

    def of(self, sender: Sender, names: tuple[str, ...]) -> Decision:
        """What holds for an action of an agent under these names."""
        key = sender, names
        decision = self._known.get(key)
        if decision is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            decision = self._known[key] = self._decided(sender, names)
        return decision

    def _decided(self, sender: Sender, names: tuple[str, ...]) -> Decision:
        if sender.principal is not None:
            admits = self._speaking(sender.principal, sender.tenant)
            if not admits or all(any(one.fullmatch(n) for one in admits) for n in names):
                return Decision("authenticated")
            return Decision("asserted", mismatch=True)
        # The topic's ACL admits the door, too: it speaks for no agent behind it.
        admitted = None if sender.door else self._topics.get(sender.topic)
        if admitted is None:
            return Decision("asserted")
        if all(admitted.fullmatch(name) for name in names):
            return Decision("acl")
        return Decision("asserted", mismatch=True)

    def _speaking(self, principal: str, tenant: str) -> list[Any]:
        return [
            agents
            for named, of_tenant, agents in self._principals
            if of_tenant in (None, tenant) and named.fullmatch(principal)
        ]

    def frame(self, frame: pl.DataFrame, senders: Sequence[Sender]) -> pl.DataFrame:
        """The frame with `assurance`, and `identity_mismatch` where the table contradicts.

        `senders`: of each row.
        """
        columns = [frame[name].to_list() for name in _NAMES]
        decisions = [
            self.of(sender, tuple(name for name in names if name is not None))
            for sender, *names in zip(senders, *columns, strict=True)
        ]
        made = [pl.Series("assurance", [d.assurance for d in decisions], pl.String)]
        if any(decision.mismatch for decision in decisions):
            made.append(pl.Series(MISMATCH, [d.mismatch for d in decisions], pl.Boolean))
        return frame.with_columns(made)


def _matcher(patterns: Iterable[str]) -> Any:
    """One expression for all the patterns; linear, for names are what agents call themselves."""
    parts = [".*".join(map(re.escape, pattern.split("*"))) for pattern in patterns]
    return re2.compile(f"(?s:{'|'.join(parts)})" if parts else _NOTHING)


def load(environ: Mapping[str, str]) -> Assured:
    """The table that the environment names. Raises ConfigError that names file and mistake."""
    named = environ.get(ENVIRONMENT)
    if not named:
        return Assured()
    try:
        return Assured(read(Path(named)))
    except re2.error as error:
        raise ConfigError(f"{named}: too many names: {error}") from error


def read(path: Path) -> Table:
    """The table of a file. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{ENVIRONMENT}: cannot read {path}: {error.strerror}") from error
    if len(text) > MAX_FILE_BYTES:
        raise ConfigError(f"{path}: more than {MAX_FILE_BYTES} bytes")
    try:
        table = msgspec.convert(tomllib.loads(text.decode()), Table)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ConfigError(f"{path}: {error}") from error
    problems = list(_problems(table))
    if problems:
        raise ConfigError(f"{path}: " + "; ".join(problems))
    return table


def _problems(table: Table) -> Iterable[str]:
    named = [(f"topic {at}", one.name, one.agents) for at, one in enumerate(table.topic, 1)]
    named += [
        (f"principal {at}", one.name, one.agents) for at, one in enumerate(table.principal, 1)
    ]
    for place, name, agents in named:
        if not name or "" in agents:
            yield f"{place}: an empty name"
    count = sum(len(agents) for *_, agents in named)
    if count > MAX_PATTERNS:
        yield f"{count} agents are named; {MAX_PATTERNS} may be"
