"""OTLP logs over HTTP: one export request an alert, so that a rejection names it."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from tachograph.pipeline.errors import Refused
from tachograph.pipeline.forward.destination import Outgoing, Secret
from tachograph.pipeline.forward.destinations import _http
from tachograph.pipeline.forward.destinations._http import Answer, Client, secret_problems, taken

TYPE = "otlp"
FORMATS = ("otlp",)

_TYPES = {"json": "application/json", "protobuf": "application/x-protobuf"}


class Options(_http.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "otlp"`; `url` is the whole address, usually ending in /v1/logs."""

    encoding: Literal["json", "protobuf"] = "protobuf"
    # The header that the secret goes into as it is (`Bearer …`, an API key).
    auth_header: str = "authorization"

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the URL or the secret; a collector may need none."""
        found = super().problems(secret)
        name = self.auth_header.replace("-", "")
        if not (name.isascii() and name.isalnum()):
            found.append(f"auth_header: {self.auth_header!r} is no name of a header")
        return found + (secret_problems(secret) if secret is not None else [])


def open(options: Options, secret: Secret | None) -> "Otlp":  # noqa: A001 - name of the seam
    """A sender from checked options. Raises ConfigError when the CA file cannot be used."""
    return Otlp(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """Nothing: the record is complete."""
    del options
    return {}


class Otlp:
    """POSTs to one URL over a kept connection."""

    batch_records = 1
    batch_bytes = 1

    def __init__(self, options: Options, secret: Secret | None) -> None:
        self._options = options
        self._headers = {"content-type": _TYPES[options.encoding]}
        if secret is not None:
            self._headers[options.auth_header.lower()] = secret.reveal()
        self._client = Client(options.deadline_s, options.ca_file)

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """POST each record; see `Destination.deliver`."""
        said = ""
        for record in records:
            body = record.body if self._options.encoding == "json" else protobuf(record.body)
            answer = self._client.post(self._options.url, body, self._headers)
            said = taken(answer)
            rejected, reason = self._partial(answer)
            if rejected:
                raise Refused(f"rejected: {reason[:200]}")
        return said

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _partial(self, answer: Answer) -> tuple[int, str]:
        """How many records a success nevertheless rejected, and why."""
        if self._options.encoding == "json":
            partial = answer.json().get("partialSuccess") or {}
            return int(partial.get("rejectedLogRecords") or 0), str(partial.get("errorMessage", ""))
        try:
            told = ExportLogsServiceResponse.FromString(answer.body).partial_success
        except DecodeError:
            return 0, ""
        return told.rejected_log_records, told.error_message


def protobuf(body: bytes) -> bytes:
    """One of our OTLP/JSON requests as protobuf; it holds no ids, whose JSON would differ."""
    request = json_format.ParseDict(msgspec.json.decode(body), ExportLogsServiceRequest())
    return request.SerializeToString()
