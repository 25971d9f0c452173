"""The entries of reference files, and what a reference consists of.

A list that is left out says nothing; an empty one says that nothing is allowed. Names are patterns
in which `*` stands for any text, compared without regard to case. Times are UTC; `valid_until` and
its like are the first moment that no longer counts.
"""

from datetime import datetime
from typing import Literal

import msgspec

from tachograph.schemas.action import ToolRisk, Trust

Names = list[str]
Tier = Literal["low", "medium", "high", "critical"]
IndicatorType = Literal["domain", "url", "ip", "hash", "package", "email", "server", "file"]


class Entry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What is said of one thing. Without a tenant it is said for all of them."""

    tenant: str | None = None


class Agent(Entry, frozen=True, kw_only=True):
    """An agent as it was approved."""

    id: str
    # Other names it goes by, and services all of whose actions are its own.
    names: Names = []
    services: Names = []
    owner: str | None = None
    purpose: str | None = None
    risk_tier: Tier | None = None
    autonomy: Literal["supervised", "conditional", "autonomous"] | None = None
    status: Literal["active", "suspended", "retired"] | None = None
    expires: datetime | None = None
    actions: Names | None = None
    tools: Names | None = None
    data_classes: Names | None = None
    destinations: Names | None = None
    providers: Names | None = None
    models: Names | None = None
    regions: Names | None = None
    environments: Names | None = None
    peers: Names | None = None
    paths: Names | None = None
    versions: Names | None = None
    prompt_hashes: Names | None = None
    guardrail_hashes: Names | None = None
    # Controls in the state that was approved: `invocation-logging=full`.
    controls: Names | None = None


class Tool(Entry, frozen=True, kw_only=True):
    """A tool, on one server or on any."""

    name: str
    server: str | None = None
    risk: ToolRisk | None = None
    # Sends what it is given to the outside.
    sink: bool | None = None
    trust: Trust | None = None
    sensitivity: Names | None = None
    approval_required: bool | None = None
    # The right that a principal must have for whom it is called.
    entitlement: str | None = None
    definitions: Names | None = None


class Server(Entry, frozen=True, kw_only=True):
    """A tool server, as MCP has them."""

    id: str
    versions: Names | None = None
    publishers: Names | None = None
    digests: Names | None = None
    domains: Names | None = None
    tls: Names | None = None


class Source(Entry, frozen=True, kw_only=True):
    """Where content comes from: a store, a site, a mailbox."""

    name: str
    trust: Trust | None = None
    sensitivity: Names | None = None


class Provider(Entry, frozen=True, kw_only=True):
    """A supplier of models. `{region}` in an endpoint stands for the region."""

    name: str
    aliases: Names = []
    endpoints: Names = []
    approved: bool | None = None
    models: Names | None = None
    regions: Names | None = None
    data_classes: Names | None = None
    key_fingerprints: Names | None = None
    expires: datetime | None = None


class Artifact(Entry, frozen=True, kw_only=True):
    """A package, model, data set, image or skill of the bill of materials."""

    name: str
    type: str | None = None
    approved: bool | None = None
    versions: Names | None = None
    digests: Names | None = None
    publishers: Names | None = None
    registries: Names | None = None
    licenses: Names | None = None


class Credential(Entry, frozen=True, kw_only=True):
    """A credential by id or fingerprint, never the secret."""

    id: str
    agents: Names | None = None
    scopes: Names | None = None
    expires: datetime | None = None


class Person(Entry, frozen=True, kw_only=True):
    """A human or a service that agents act for, that approves or changes things."""

    id: str
    roles: Names | None = None
    entitlements: Names | None = None
    left: datetime | None = None
    trained_until: datetime | None = None


class Approval(Entry, frozen=True, kw_only=True):
    """A standing approval: what may be done without asking each time."""

    id: str
    agents: Names | None = None
    tools: Names | None = None
    targets: Names | None = None
    environments: Names | None = None
    approver: str | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None


class Freeze(Entry, frozen=True, kw_only=True):
    """A time in which nothing is to be changed."""

    id: str
    environments: Names | None = None
    targets: Names | None = None
    except_agents: Names = []
    valid_from: datetime
    valid_until: datetime


class Budget(Entry, frozen=True, kw_only=True):
    """What an agent may spend."""

    agent: str
    usd_hour: float | None = None
    usd_day: float | None = None
    tokens_hour: int | None = None
    tokens_day: int | None = None


class Canary(Entry, frozen=True, kw_only=True):
    """Texts that were planted, and that nobody has a reason to pass on."""

    name: str
    values: Names
    owner: str | None = None


class Indicator(Entry, frozen=True, kw_only=True):
    """Something known to be bad. A package may name its version: `name@1.2.3`."""

    type: IndicatorType
    value: str
    list: str | None = None
    confidence: int | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None


class Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All that a reference says."""

    agents: list[Agent] = []
    tools: list[Tool] = []
    servers: list[Server] = []
    sources: list[Source] = []
    providers: list[Provider] = []
    artifacts: list[Artifact] = []
    credentials: list[Credential] = []
    people: list[Person] = []
    approvals: list[Approval] = []
    freezes: list[Freeze] = []
    budgets: list[Budget] = []
    canaries: list[Canary] = []
    indicators: list[Indicator] = []
    # Values of `%name%` in rules.
    lists: dict[str, Names] = {}


class Table(msgspec.Struct, frozen=True):
    """One kind of entries: its type, the fields that name an entry, and how many there may be."""

    entry: type[Entry]
    key: tuple[str, ...]
    limit: int


TABLES: dict[str, Table] = {
    "agents": Table(Agent, ("id",), 50_000),
    "tools": Table(Tool, ("server", "name"), 50_000),
    "servers": Table(Server, ("id",), 20_000),
    "sources": Table(Source, ("name",), 50_000),
    "providers": Table(Provider, ("name",), 2_000),
    "artifacts": Table(Artifact, ("type", "name"), 100_000),
    "credentials": Table(Credential, ("id",), 100_000),
    "people": Table(Person, ("id",), 200_000),
    "approvals": Table(Approval, ("id",), 10_000),
    "freezes": Table(Freeze, ("id",), 10_000),
    "budgets": Table(Budget, ("agent",), 50_000),
    "canaries": Table(Canary, ("name",), 5_000),
    "indicators": Table(Indicator, ("list", "type", "value"), 500_000),
}
MAX_LIST_VALUES = 500_000
