"""Slack by an incoming webhook, whose address is itself the secret."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from tachograph.pipeline.forward import destination
from tachograph.pipeline.forward.destination import Outgoing, Secret
from tachograph.pipeline.forward.destinations._http import (
    Client,
    revealed,
    secret_problems,
    taken,
    url_problems,
)
from tachograph.pipeline.forward.formats import slack

TYPE = "slack"
FORMATS = ("slack",)


class Options(destination.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "slack"`; the secret is the URL of the webhook."""

    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=25)] = 10.0
    ca_file: str | None = None

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the address, which is never shown."""
        found = secret_problems(secret)
        if not found and secret is not None and url_problems("url", secret.reveal()):
            found.append("the secret is no https address of a webhook")
        return found


def open(options: Options, secret: Secret | None) -> "Slack":  # noqa: A001 - name of the seam
    """A sender from checked options. Raises ConfigError when the CA file cannot be used."""
    return Slack(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """Nothing: the message is complete."""
    del options
    return {}


class Slack:
    """Posts messages one by one, as the channel shows them."""

    batch_records = 1
    batch_bytes = 1

    def __init__(self, options: Options, secret: Secret | None) -> None:
        self._url = revealed(secret)
        self._client = Client(options.deadline_s, options.ca_file)

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """POST each record; see `Destination.deliver`."""
        said = ""
        for record in records:
            headers = {"content-type": slack.CONTENT_TYPE}
            said = taken(self._client.post(self._url, record.body, headers))
        return said

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
