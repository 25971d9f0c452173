"""The register of agents: who an agent is, and whether what it does is what it was approved for."""

from collections.abc import Callable, Iterator
from functools import lru_cache

import polars as pl

from tachograph.detectors.reference.entries import Agent, Content
from tachograph.detectors.reference.joins import TIME, ByTime, ByValue, Join, Values, items
from tachograph.detectors.reference.names import Index, allowed, every, host_of, within

_FLAG = pl.Boolean()
_TEXT = pl.String()
# Place of the agent's entry among the agents, for the other joins.
PLACE = "~agent"
_EXPIRES = "~agent_expires"
_WHO = ("tenant", "agent_id", "agent_name", "service_name", "partition_key")
_SAID = ("id", "owner", "purpose", "risk_tier", "autonomy", "status")
_NOBODY: Values = (None,) * (len(_SAID) + 3)


def _named(content: Content) -> Iterator[tuple[str | None, str, int]]:
    for place, agent in enumerate(content.agents):
        for name in (agent.id, *agent.names):
            yield agent.tenant, name, place


def _services(content: Content) -> Iterator[tuple[str | None, str, int]]:
    for place, agent in enumerate(content.agents):
        for name in agent.services:
            yield agent.tenant, name, place


def _register(content: Content) -> Callable[..., Values] | None:
    """Who acts. An action that names no agent may still be its service's; else nothing is known."""
    if not content.agents:
        return None
    agents, services = Index(_named(content)), Index(_services(content))

    def who(
        tenant: str | None,
        agent_id: str | None,
        name: str | None,
        service: str | None,
        place: str | None,
    ) -> Values:
        found = agents.find(tenant, agent_id)
        if found is None:
            found = agents.find(tenant, name)
        named = bool(agent_id or name)
        if found is None and not named:
            found = services.find(tenant, service)
            if found is None:
                found = services.find(tenant, place)
        if found is None:
            unknown = False if named and agents.speaks_of(tenant) else None
            return unknown, *_NOBODY[1:]
        agent = content.agents[found]
        return True, found, agent.expires, *(getattr(agent, field) for field in _SAID)

    return who


Verdict = Callable[[Agent], Callable[..., bool | None]]


def _judged(verdict: Verdict) -> Callable[[Content], Callable[..., Values] | None]:
    """A question to the agent's own entry, made ready once an agent."""

    def make(content: Content) -> Callable[..., Values] | None:
        if not content.agents:
            return None
        ready = lru_cache(4_096)(lambda place: verdict(content.agents[place]))

        def judge(place: int | None, *values: str | None) -> Values:
            return (None if place is None else ready(place)(*values),)

        return judge

    return make


def _one_of(field: str) -> Verdict:
    return lambda agent: allowed(getattr(agent, field))


def _tool(agent: Agent) -> Callable[..., bool | None]:
    """A tool is named alone or as server/tool."""
    ask = allowed(agent.tools)

    def judge(tool: str | None, server: str | None) -> bool | None:
        plain = ask(tool)
        return ask(f"{server}/{tool}") if plain is False and server else plain

    return judge


def _destination(agent: Agent) -> Callable[..., bool | None]:
    ask = allowed(agent.destinations)

    def one(address: str | None) -> bool | None:
        return ask(address) or ask(host_of(address))

    return lambda domain, recipients: every(map(one, [domain, *items(recipients)]))


def _provider(agent: Agent) -> Callable[..., bool | None]:
    ask = allowed(agent.providers)
    return lambda known, named: ask(known or named)


def _labels(agent: Agent) -> Callable[..., bool | None]:
    ask = allowed(agent.data_classes)
    return lambda labels: every(map(ask, items(labels)))


def _purpose(agent: Agent) -> Callable[..., bool | None]:
    approved = " ".join((agent.purpose or "").lower().split())

    def judge(declared: str | None) -> bool | None:
        if not declared or not approved:
            return None
        return " ".join(declared.lower().split()) == approved

    return judge


def _path(agent: Agent) -> Callable[..., bool | None]:
    roots = agent.paths
    return lambda path: None if not path or roots is None else within(path, roots)


def _control(agent: Agent) -> Callable[..., bool | None]:
    """Of a control that no approval names, nothing is said."""
    approved = agent.controls or []
    named = allowed([control.partition("=")[0] for control in approved])
    ask = allowed(approved)

    def judge(control: str | None, state: str | None) -> bool | None:
        return ask(f"{control}={state}") if control and state and named(control) else None

    return judge


def _ask(column: str, verdict: Verdict, *reads: str) -> ByValue:
    return ByValue({column: _FLAG}, (PLACE, *reads), _judged(verdict), when=reads)


def _known(content: Content) -> bool:
    return bool(content.agents)


_EXPIRED = ByTime(
    {"register_expired": _FLAG},
    (_EXPIRES, "register_known", "event_time"),
    (
        pl.when("register_known")
        .then((pl.col("event_time") >= pl.col(_EXPIRES)).fill_null(value=False))
        .alias("register_expired"),
    ),
    _known,
)

JOINS: tuple[Join, ...] = (
    ByValue(
        {
            "register_known": _FLAG,
            PLACE: pl.Int64(),
            _EXPIRES: TIME,
            **{f"register_{field}": _TEXT for field in _SAID},
        },
        _WHO,
        _register,
    ),
    _EXPIRED,
    _ask("register_tool_allowed", _tool, "tool_name", "tool_server"),
    _ask("register_action_allowed", _one_of("actions"), "kind"),
    _ask("register_purpose_matches", _purpose, "agent_purpose"),
    _ask("register_destination_allowed", _destination, "target_domain", "recipients"),
    _ask("register_provider_allowed", _provider, "provider_name", "model_provider"),
    _ask("register_model_allowed", _one_of("models"), "model_name"),
    _ask("register_region_allowed", _one_of("regions"), "provider_region"),
    _ask("register_data_class_allowed", _labels, "content_labels"),
    _ask("register_environment_allowed", _one_of("environments"), "environment"),
    _ask("register_peer_allowed", _one_of("peers"), "peer_agent_id"),
    _ask("register_path_allowed", _path, "file_path"),
    _ask("register_version_approved", _one_of("versions"), "agent_version"),
    _ask("register_prompt_approved", _one_of("prompt_hashes"), "agent_prompt_hash"),
    _ask("register_guardrail_approved", _one_of("guardrail_hashes"), "guardrail_config_hash"),
    _ask("register_control_approved", _control, "control_id", "control_state"),
)
