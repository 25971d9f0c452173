"""Frameworks whose ids rules cite as Sigma tags (`atlas.aml.t0050`), and which rules cover which.

Tags of other namespaces (`attack.t1059`) are their owners' and stay as they are.
"""

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from tachograph.detectors.language.rule import Rule

# Namespace of tags → what a person calls it.
TITLES: dict[str, str] = {
    "atlas": "MITRE ATLAS 2026.09",
    "owasp-llm.2026": "OWASP Top 10 for LLM applications 2026",
    "owasp-llm.2025": "OWASP Top 10 for LLM applications 2025",
    "owasp-asi": "OWASP Top 10 for agentic applications",
    "owasp-threats": "OWASP agentic threats 1.1",
    "owasp-mcp": "OWASP MCP Top 10",
    "nist-ai-rmf": "NIST AI RMF 1.0",
    "iso-42001": "ISO/IEC 42001 Annex A",
}
# A tag that begins so claims to be of one of them, whatever the year it names.
_CLAIMS = tuple(sorted({f"{namespace.partition('.')[0]}." for namespace in TITLES}))


class Coverage(msgspec.Struct, frozen=True):
    """One framework: each of its ids, what it stands for, and the rules that cite it."""

    namespace: str
    title: str
    meanings: dict[str, str]
    rules: dict[str, list[str]]

    @property
    def covered(self) -> int:
        """How many ids some rule cites."""
        return sum(1 for found in self.rules.values() if found)


@functools.cache
def _ids() -> Mapping[str, Mapping[str, str]]:
    text = (Path(__file__).parent / "framework_ids.json").read_text(encoding="utf-8")
    ids: dict[str, dict[str, str]] = json.loads(text)["ids"]
    return ids


@functools.cache
def known_tags() -> dict[str, str]:
    """Tag → what it stands for."""
    return {
        f"{namespace}.{name}": meaning
        for namespace, names in _ids().items()
        for name, meaning in names.items()
    }


def invented(tag: str) -> bool:
    """The tag claims to be an id of one of the frameworks, and is none."""
    tag = tag.lower()
    return tag.startswith(_CLAIMS) and tag not in known_tags()


def coverage(rules: Iterable[Rule]) -> list[Coverage]:
    """The map of all frameworks: which ids are cited by which rules, and which by none.

    A part of a technique (`aml.t0051.001`) counts for the technique too.
    """
    citing: dict[str, list[str]] = {}
    for rule in rules:
        cited = {tag.lower() for tag in rule.meta.tags}
        for tag in cited | {_whole(tag) for tag in cited}:
            citing.setdefault(tag, []).append(rule.meta.rule_id)
    return [
        Coverage(
            namespace,
            TITLES[namespace],
            dict(names),
            {name: sorted(citing.get(f"{namespace}.{name}", [])) for name in names},
        )
        for namespace, names in _ids().items()
    ]


def _whole(tag: str) -> str:
    """The technique that a sub-technique of ATLAS is part of; any other tag as it is."""
    namespace, _, name = tag.partition(".")
    parts = name.split(".")
    return f"{namespace}.{'.'.join(parts[:2])}" if namespace == "atlas" and len(parts) > 2 else tag
