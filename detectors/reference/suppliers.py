"""What is known of suppliers: providers of models, and the bill of materials."""

from collections.abc import Callable, Iterator

import polars as pl

from tachograph.detectors.reference.entries import Content, Provider
from tachograph.detectors.reference.joins import TIME, ByTime, ByValue, Join, Values, items
from tachograph.detectors.reference.names import Index, allowed, every, host_of

_FLAG = pl.Boolean()
_EXPIRES = "~provider_expires"
_REGION = "{region}"


def _provider_names(content: Content) -> Iterator[tuple[str | None, str, Provider]]:
    for provider in content.providers:
        for name in (provider.name, *provider.aliases):
            yield provider.tenant, name, provider


def _provider_hosts(content: Content) -> Iterator[tuple[str | None, str, tuple[Provider, str]]]:
    for provider in content.providers:
        for endpoint in provider.endpoints:
            yield provider.tenant, endpoint.replace(_REGION, "*"), (provider, endpoint)


def _region(endpoint: str, host: str) -> str | None:
    """The part of the host that stands where the endpoint says {region}."""
    before, marked, after = endpoint.lower().partition(_REGION)
    if not marked:
        return None
    last = before.rpartition("*")[2]
    start = host.find(last) + len(last)
    stop = host.find(after.partition("*")[0], start) if after else len(host)
    region = host[start:stop]
    return region if region and "." not in region else None


def _providers(content: Content) -> Callable[..., Values] | None:
    """Who answers: the host that is called says it, else the name the producer gives."""
    if not content.providers:
        return None
    by_host, by_name = Index(_provider_hosts(content)), Index(_provider_names(content))
    deciding = {one.tenant for one in content.providers if one.approved is not None}

    def known(
        tenant: str | None,
        named: str | None,
        base_url: str | None,
        domain: str | None,
        said_region: str | None,
    ) -> Values:
        listed = tenant in deciding or None in deciding
        host = host_of(base_url)
        found = by_host.find(tenant, host) or by_host.find(tenant, domain)
        provider = by_name.find(tenant, named) if found is None else found[0]
        if provider is None:
            approved = False if listed and named else None
            return (named.lower() if named else None), said_region, approved, None, None
        region = said_region
        if found is not None and region is None:
            region = _region(found[1], host or (domain or "").lower())
        endpoint = None
        if host:
            endpoint = found is not None if provider.endpoints else None
        approved = provider.approved
        if approved is None and listed:
            approved = False
        return provider.name, region, approved, endpoint, provider.expires

    return known


def _terms_of(one: Provider) -> tuple[bool, ...]:
    listed = (one.regions, one.data_classes, one.models, one.key_fingerprints)
    return tuple(names is not None for names in listed)


def _terms(content: Content) -> Callable[..., Values] | None:
    """Whether a call keeps to what the supplier register says of its provider."""
    stated = [one for one in content.providers if any(_terms_of(one))]
    if not stated:
        return None
    index = Index((one.tenant, one.name, one) for one in stated)

    def kept(tenant: str | None, name: str | None, *facts: str | None) -> Values:
        provider = index.find(tenant, name)
        if provider is None:
            return (None,) * 4
        region, labels, model, key = facts
        return (
            allowed(provider.regions)(region),
            every(map(allowed(provider.data_classes), items(labels))),
            allowed(provider.models)(model),
            allowed(provider.key_fingerprints)(key),
        )

    return kept


_ECOSYSTEMS = {
    "pypi": ("pip", "python", "wheel", "sdist", "uv", "poetry", "conda"),
    "npm": ("node", "yarn", "pnpm", "bun", "javascript", "npx"),
    "cargo": ("crate", "rust"),
    "maven": ("gradle", "jar", "java"),
    "golang": ("go", "gomod"),
    "gem": ("ruby", "rubygems", "bundler"),
    "nuget": ("dotnet", "csharp"),
    "docker": ("oci", "image", "container"),
    "model": ("huggingface", "gguf", "safetensors", "checkpoint", "weights", "onnx"),
    "dataset": ("data", "corpus"),
    "skill": ("plugin", "plug-in", "extension"),
    "mcp": ("mcp-server", "mcp_server", "tool-server"),
}
_ECOSYSTEM_OF = {word: name for name, words in _ECOSYSTEMS.items() for word in (name, *words)}


def ecosystem(kind: str | None) -> str | None:
    """The usual name of a kind of artifact, as package URLs have it."""
    low = (kind or "").strip().lower()
    return _ECOSYSTEM_OF.get(low, low) or None


_STATED = ("versions", "digests", "publishers", "registries", "licenses")


def _artifacts(content: Content) -> Callable[..., Values]:
    """The kind of an artifact, and whether it is what the bill of materials says of its name."""
    bill = Index(
        (one.tenant, f"{ecosystem(one.type) or '*'}\n{one.name}", one) for one in content.artifacts
    )
    # A bill of models says nothing of packages.
    kinds = {(one.tenant, ecosystem(one.type)) for one in content.artifacts}

    def known(
        tenant: str | None,
        name: str | None,
        kind: str | None,
        dataset: str | None,
        *facts: str | None,
    ) -> Values:
        system = ecosystem(kind or (None if name or not dataset else "dataset"))
        if not bill or not (name or dataset):
            return system, *(None,) * 7
        found = bill.find(tenant, f"{system or ''}\n{name or dataset}")
        if found is None:
            covered = any((whose, of) in kinds for whose in (tenant, None) for of in (system, None))
            unknown = False if covered else None
            return system, unknown, unknown, *(None,) * 5
        answers = [
            allowed(getattr(found, field))(fact) for field, fact in zip(_STATED, facts, strict=True)
        ]
        approved = found.approved is not False and False not in answers
        return system, True, approved, *answers

    return known


_EXPIRED = ByTime(
    {"provider_expired": _FLAG},
    (_EXPIRES, "provider_name", "event_time"),
    (
        pl.when(pl.col("provider_name").is_not_null() & pl.col(_EXPIRES).is_not_null())
        .then(pl.col("event_time") >= pl.col(_EXPIRES))
        .alias("provider_expired"),
    ),
    lambda content: any(provider.expires for provider in content.providers),
)

JOINS: tuple[Join, ...] = (
    ByValue(
        {
            "provider_name": pl.String(),
            "provider_region": pl.String(),
            "provider_approved": _FLAG,
            "provider_endpoint_known": _FLAG,
            _EXPIRES: TIME,
        },
        ("tenant", "model_provider", "model_base_url", "target_domain", "model_region"),
        _providers,
        when=("model_provider", "model_base_url", "target_domain", "model_region"),
    ),
    _EXPIRED,
    ByValue(
        {
            "provider_region_allowed": _FLAG,
            "provider_data_allowed": _FLAG,
            "provider_model_allowed": _FLAG,
            "provider_key_known": _FLAG,
        },
        ("tenant", "provider_name", "provider_region", "content_labels", "model_name",
         "credential_fingerprint"),
        _terms,
        when=("provider_name",),
    ),
    ByValue(
        {
            "artifact_ecosystem": pl.String(),
            "artifact_known": _FLAG,
            "artifact_approved": _FLAG,
            "artifact_version_approved": _FLAG,
            "artifact_digest_approved": _FLAG,
            "artifact_publisher_approved": _FLAG,
            "artifact_registry_approved": _FLAG,
            "artifact_license_allowed": _FLAG,
        },
        ("tenant", "artifact_name", "artifact_type", "dataset_id", "artifact_version",
         "artifact_digest", "artifact_publisher", "artifact_registry", "artifact_license"),
        _artifacts,
        when=("artifact_name", "dataset_id", "artifact_type"),
    ),
)  # fmt: skip
