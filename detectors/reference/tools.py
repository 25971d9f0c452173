"""What is known of tools, of the servers that offer them, and of the sources content comes from."""

from collections.abc import Callable

import polars as pl

from tachograph.detectors.reference.entries import Content, Server, Tool
from tachograph.detectors.reference.joins import ByValue, Join, Values
from tachograph.detectors.reference.names import Index, allowed, every

_FLAG = pl.Boolean()
# What an operator says of risk and trust; it goes before what the producer claims.
RISK, TRUST = "~tool_risk", "~tool_trust"
ENTITLEMENT = "~tool_entitlement"
_SAID = ("risk", "trust", "sink", "sensitivity", "approval_required", "entitlement")


def _tools(content: Content) -> Callable[..., Values] | None:
    if not content.tools:
        return None
    index = Index((tool.tenant, _full(tool), tool) for tool in content.tools)

    def known(
        tenant: str | None, name: str | None, server: str | None, definition: str | None
    ) -> Values:
        if not name:
            return (None,) * 8
        tool = index.find(tenant, f"{server or ''}/{name}")
        if tool is None:
            unknown = False if index.speaks_of(tenant) else None
            return unknown, *(None,) * 7
        approved = allowed(tool.definitions)(definition)
        return True, approved, *(getattr(tool, field) for field in _SAID)

    return known


def _full(tool: Tool) -> str:
    """Server and name as one; a tool of any server matches whatever stands before the last /."""
    return f"{'*' if tool.server is None else tool.server}/{tool.name}"


def _servers(content: Content) -> Callable[..., Values] | None:
    if not content.servers:
        return None
    index = Index((server.tenant, server.id, server) for server in content.servers)

    def known(tenant: str | None, name: str | None, *facts: str | None) -> Values:
        if not name:
            return None, None, None
        server = index.find(tenant, name)
        if server is None:
            return False if index.speaks_of(tenant) else None, None, None
        version, digest, publisher, domain, tls = facts
        package = _answers(server, ("versions", version), ("digests", digest),
                           ("publishers", publisher))  # fmt: skip
        return True, package, _answers(server, ("domains", domain), ("tls", tls))

    return known


def _answers(server: Server, *asked: tuple[str, str | None]) -> bool | None:
    return every(allowed(getattr(server, field))(value) for field, value in asked)


def _sources(content: Content) -> Callable[..., Values] | None:
    """A source is named by the content, its store, its site, or the tool that read it."""
    if not content.sources:
        return None
    index = Index((source.tenant, source.name, source) for source in content.sources)

    def known(tenant: str | None, *names: str | None) -> Values:
        for name in names:
            source = index.find(tenant, name)
            if source is not None:
                return source.trust, source.sensitivity
        return None, None

    return known


JOINS: tuple[Join, ...] = (
    ByValue(
        {
            "tool_registered": _FLAG,
            "tool_definition_approved": _FLAG,
            RISK: pl.String(),
            TRUST: pl.String(),
            "tool_sink": _FLAG,
            "tool_sensitivity": pl.List(pl.String),
            "tool_approval_required": _FLAG,
            ENTITLEMENT: pl.String(),
        },
        ("tenant", "tool_name", "tool_server", "tool_definition_hash"),
        _tools,
        when=("tool_name",),
    ),
    ByValue(
        {
            "server_known": _FLAG,
            "server_package_approved": _FLAG,
            "server_endpoint_approved": _FLAG,
        },
        ("tenant", "tool_server", "artifact_version", "artifact_digest", "artifact_publisher",
         "target_domain", "tls_fingerprint"),
        _servers,
        when=("tool_server",),
    ),
    ByValue(
        {"source_trust": pl.String(), "source_sensitivity": pl.List(pl.String)},
        ("tenant", "content_source", "retrieval_store", "target_domain", "tool_name"),
        _sources,
        when=("content_source", "retrieval_store", "target_domain", "tool_name"),
    ),
)  # fmt: skip
