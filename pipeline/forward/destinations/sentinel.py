"""Microsoft Sentinel by Azure Monitor's Logs Ingestion API, with OAuth client credentials."""

import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

from tachograph.pipeline.errors import RetryLater
from tachograph.pipeline.forward.destination import Outgoing, Secret
from tachograph.pipeline.forward.destinations import _http
from tachograph.pipeline.forward.destinations._http import (
    Client,
    revealed,
    secret_problems,
    taken,
    url_problems,
)
from tachograph.pipeline.forward.formats import sentinel

TYPE = "sentinel"
FORMATS = ("sentinel",)

_API = "2023-01-01"
_TOKEN_BYTES = 16_384
# A token is renewed so long before its end.
_EARLY_S = 120.0


class Options(_http.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "sentinel"`; `url` is the logs endpoint of the collection rule (DCR) or of
    its endpoint (DCE), the secret that of the application.
    """

    dcr_immutable_id: str
    stream: str = "Custom-TachoAlerts_CL"
    tenant_id: str
    client_id: str
    login_url: str = "https://login.microsoftonline.com"
    scope: str = "https://monitor.azure.com/.default"

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the addresses or the secret."""
        login = url_problems("login_url", self.login_url, plain=self.allow_plain_http)
        return super().problems(secret) + login + secret_problems(secret)


def open(options: Options, secret: Secret | None) -> "Sentinel":  # noqa: A001 - name of the seam
    """A sender from checked options. Raises ConfigError when the CA file cannot be used."""
    return Sentinel(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """Nothing: the row is complete."""
    del options
    return {}


class Sentinel:
    """Arrays of rows under a token that is fetched when it is needed."""

    batch_records = 100
    # A call carries 1,048,576 bytes, commas and brackets included.
    batch_bytes = 1_000_000

    def __init__(self, options: Options, secret: Secret | None) -> None:
        self._options, self._secret = options, revealed(secret)
        rule, stream = quote(options.dcr_immutable_id, safe=""), quote(options.stream, safe="")
        self._url = (
            f"{options.url.rstrip('/')}/dataCollectionRules/{rule}/streams/{stream}"
            f"?api-version={_API}"
        )
        tenant = quote(options.tenant_id, safe="")
        self._token_url = f"{options.login_url.rstrip('/')}/{tenant}/oauth2/v2.0/token"
        self._client = Client(options.deadline_s, options.ca_file)
        self._token, self._until_s = "", 0.0

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """One call for all; see `Destination.deliver`."""
        body = sentinel.pack([(record.key, record.body) for record in records])
        headers = {
            "content-type": sentinel.CONTENT_TYPE,
            "authorization": f"Bearer {self._current_token()}",
        }
        answer = self._client.post(self._url, body, headers)
        if answer.status == 401:
            self._until_s = 0.0
        return taken(answer)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _current_token(self) -> str:
        if time.monotonic() < self._until_s:
            return self._token
        form = urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": self._options.client_id,
                "client_secret": self._secret,
                "scope": self._options.scope,
            }
        )
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = self._client.post(
            self._token_url, form.encode(), headers, answer_bytes=_TOKEN_BYTES
        )
        if not answer.ok:
            # The answer of a login server may quote what it was sent.
            raise RetryLater(f"no token: {answer.status} {answer.json().get('error', '')}"[:200])
        told = answer.json()
        token, life_s = told.get("access_token"), told.get("expires_in")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise RetryLater("no token in the answer of the login server")
        life = float(life_s) if isinstance(life_s, int | float) else 0.0
        self._token, self._until_s = token, time.monotonic() + max(0.0, life - _EARLY_S)
        return token
