"""Ids of frameworks that a shipped rule may cite, as Sigma tags (`atlas.aml.t0050`)."""

import functools
import json
from pathlib import Path


@functools.cache
def known_tags() -> dict[str, str]:
    """Tag → what it stands for. Other namespaces are somebody else's and stay as they are."""
    text = (Path(__file__).parent / "framework_ids.json").read_text(encoding="utf-8")
    ids: dict[str, dict[str, str]] = json.loads(text)["ids"]
    return {
        f"{namespace}.{name}": meaning
        for namespace, names in ids.items()
        for name, meaning in names.items()
    }
