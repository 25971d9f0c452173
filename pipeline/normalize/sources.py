"""Where raw records come from: our own raw topics, those that an operator names beside them, and
the format of each record.
"""

from collections.abc import Mapping
from typing import Final

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.normalize.formats.mapping import BadMapping
from tachograph.pipeline.normalize.formats.registry import Formats
from tachograph.pipeline.normalize.raw import FORMATS, RawRecord
from tachograph.pipeline.settings import paths_of
from tachograph.schemas.contracts import RECORD_HEADER

# Names the format of a record where neither its topic nor its content does.
FORMAT_HEADER: Final = "tacho-format"
TOPICS_VARIABLE: Final = "TACHO_RAW_TOPICS"
MAPPINGS_VARIABLE: Final = "TACHO_MAPPINGS"
_OURS: Final = {"otlp_spans": "otlp_spans", "otlp_logs": "otlp_logs"}


class Sources:
    """What is read, and how."""

    def __init__(
        self, topics: Mapping[str, str] | None = None, formats: Formats | None = None
    ) -> None:
        """`topics`: format by topic, beside our own."""
        self.formats = formats or Formats()
        self.topics = dict(topics or {})
        self._of_topic = {**self.topics, **_OURS}

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Sources":
        """As the environment has it: TACHO_RAW_TOPICS (`kong-logs=kong,proxy=my_proxy`) and
        TACHO_MAPPINGS (mapping files, separated as PATH is). Raises ConfigError.
        """
        try:
            formats = Formats(paths_of(environ, MAPPINGS_VARIABLE))
        except BadMapping as error:
            raise ConfigError(str(error)) from error
        return cls(_topics(environ.get(TOPICS_VARIABLE, ""), formats), formats)

    def format_of(self, record: RawRecord) -> str:
        """The format of a record; `actions` are ours, with those of others recognised item by
        item.
        """
        if record.format != "auto":
            return record.format
        headers = record.headers
        if headers:
            if headers.get(RECORD_HEADER) == b"state_snapshot":
                return "state"
            named = headers.get(FORMAT_HEADER)
            if named is not None and (name := named.decode("utf-8", "replace")) in self.formats:
                return name
        return self._of_topic.get(record.topic, "actions")


def _topics(text: str, formats: Formats) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        topic, _, name = part.partition("=")
        name = name or "actions"
        if name not in formats and name not in FORMATS:
            raise ConfigError(
                f"{TOPICS_VARIABLE}: {topic}={name}: no format of that name; known are"
                f" {', '.join([*FORMATS[1:4], *formats.names])}"
            )
        if topic.startswith("agent.") or topic in _OURS:
            raise ConfigError(f"{TOPICS_VARIABLE}: {topic} is one of our own topics")
        found[topic] = name
    return found
