"""A signed webhook: one POST an alert, taken as delivered when the answer is 2xx.

The receiver checks `tacho-signature: t=<unix seconds>,v1=<hex>`, where v1 is the HMAC-SHA256 of
`<t>.<body>` under the shared secret, refuses a `t` that is minutes old, and may ignore a
`tacho-delivery` (alert id:revision) that it has seen.
"""

import hashlib
import hmac
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tachograph.pipeline.clock import SECOND_US, Clock, system_us
from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.forward.destination import Doubtful, Outgoing, Secret
from tachograph.pipeline.forward.destinations import _http
from tachograph.pipeline.forward.destinations._http import BAD_RECORD, Answer, Client, later, taken
from tachograph.pipeline.forward.formats import template

TYPE = "webhook"
FORMATS = ("ocsf", "ndjson", "cef", "leef", "otlp", "template")

MIN_SECRET_BYTES = 16
# Of other 4xx: what passes, or somebody must mend. All the rest may be either's fault: a firewall
# that dislikes an alert's words answers 403 or 406, and so does a receiver that nobody set up.
_RETRY_STATUS = frozenset({401, 407, 408, 425, 429})


class Options(_http.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "webhook"`."""

    # Unsigned only by word: a receiver cannot tell ours from anybody's.
    unsigned: bool = False
    # A file of JSON for format = "template": the operator's own shape.
    template_file: str | None = None

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the URL or the secret."""
        found = super().problems(secret)
        if secret is None and not self.unsigned:
            found.append("secret_env or secret_file is missing (or say unsigned = true)")
        if secret is not None and len(secret.reveal().encode()) < MIN_SECRET_BYTES:
            found.append(f"the secret is shorter than {MIN_SECRET_BYTES} bytes")
        return found + (template_problems(self.template_file) if self.template_file else [])


def open(options: Options, secret: Secret | None) -> "Webhook":  # noqa: A001 - name of the seam
    """A webhook from checked options. Raises ConfigError when the CA file cannot be used."""
    return Webhook(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """The template, where there is one: all other formats need no help."""
    if options.template_file is None:
        return {}
    return {"template": msgspec.json.decode(Path(options.template_file).read_bytes())}


def template_problems(path: str) -> list[str]:
    """What is wrong with a template file."""
    try:
        content = Path(path).read_bytes()
        if len(content) > template.MAX_BYTES:
            return [f"template_file: {path} is larger than {template.MAX_BYTES} bytes"]
        found = template.problems(msgspec.json.decode(content))
    except OSError as error:
        return [f"template_file: {path}: {error.strerror}"]
    except (msgspec.DecodeError, RecursionError) as error:
        return [f"template_file: {path} is no JSON: {error}"]
    return [f"template_file: {path}: {problem}" for problem in found]


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """Value of `tacho-signature` for a body sent at `at_s`, seconds since the epoch."""
    mac = hmac.new(secret, f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mac}"


class Webhook:
    """POSTs to one URL over a kept connection."""

    batch_records = 1
    batch_bytes = 1

    def __init__(
        self, options: Options, secret: Secret | None, *, clock: Clock = system_us
    ) -> None:
        self._options, self._secret, self._clock = options, secret, clock
        self._client = Client(options.deadline_s, options.ca_file, clock=clock)

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """POST each record; see `Destination.deliver`."""
        answer = ""
        for record in records:
            headers = self._headers(record)
            answer = _judged(self._client.post(self._options.url, record.body, headers))
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _headers(self, record: Outgoing) -> dict[str, str]:
        headers = {"content-type": record.content_type, "tacho-delivery": _ascii(record.key)}
        if self._secret is not None:
            at_s = self._clock() // SECOND_US
            secret = self._secret.reveal().encode()
            headers["tacho-signature"] = signature(secret, at_s, record.body)
        return headers


def _judged(answer: Answer) -> str:
    """A webhook's own words: of a 4xx that does not say whose fault it is, others decide."""
    if 300 <= answer.status < 400:
        raise RetryLater(f"{answer.said} (redirects are not followed: configure the final URL)")
    # A conflict: it has the alert, or never will.
    final = BAD_RECORD | {409}
    if 400 <= answer.status < 500 and answer.status not in final | _RETRY_STATUS:
        # Who asks for a pause minds the time, not the alert.
        raise Doubtful(answer.said) if answer.after_s is None else later(answer)
    return taken(answer, refused=final)


def _ascii(key: str) -> str:
    return key.encode("ascii", "replace").decode().translate({10: "?", 13: "?", 0: "?"})
