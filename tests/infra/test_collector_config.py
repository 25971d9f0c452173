"""The Collector's configuration, ours and the one in the docs, fits the topics it writes to."""

import re
from pathlib import Path
from typing import Any

import yaml

from infra.collector.build import CONFIG
from tachograph.schemas import contracts

SOURCES = Path(__file__).parents[2] / "docs" / "sources.md"


def exporter(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["exporters"]["kafka"]
    return found


def documented() -> dict[str, Any]:
    [text] = re.findall(r"```yaml\n(exporters:\n.*?)```", SOURCES.read_text("utf-8"), re.DOTALL)
    return exporter(text)


def test_the_docs_say_what_our_collector_does() -> None:
    ours, said = exporter(CONFIG.read_text("utf-8")), documented()
    for part in ("producer", "traces", "logs"):
        assert said[part] == ours[part], part


def test_its_topics_are_ours_and_take_its_largest_record() -> None:
    ours = exporter(CONFIG.read_text("utf-8"))
    topics = contracts.topics()
    for part in ("traces", "logs"):
        topic = topics[ours[part]["topic"]]
        assert topic.raw
        assert ours["producer"]["max_message_bytes"] <= topic.max_message_bytes
