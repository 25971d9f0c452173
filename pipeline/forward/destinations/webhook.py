"""A signed webhook: one POST an alert, taken as delivered when the answer is 2xx.

The receiver checks `tacho-signature: t=<unix seconds>,v1=<hex>`, where v1 is the HMAC-SHA256 of
`<t>.<body>` under the shared secret, refuses a `t` that is minutes old, and may ignore a
`tacho-delivery` (alert id:revision) that it has seen. The URL comes from the configuration alone:
nothing of an alert reaches it, and no redirect is followed.
"""

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Annotated, Any

import httpx
import msgspec

from tachograph.pipeline.clock import SECOND_US, Clock, system_us
from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.forward import destination
from tachograph.pipeline.forward.destination import Busy, Outgoing, Secret
from tachograph.pipeline.forward.formats._values import product_version

TYPE = "webhook"
FORMATS = ("ocsf", "cef")

MIN_SECRET_BYTES = 16
# Of an answer we read so much, for the log and for `forward test`.
MAX_ANSWER_BYTES = 2_048
MAX_RETRY_AFTER_S = 3_600.0
_RETRY_STATUS = frozenset({408, 425, 429})


class Options(destination.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "webhook"`."""

    url: str
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=25)] = 10.0
    ca_file: str | None = None
    # For a receiver on the same host or behind a tunnel; loopback needs no leave.
    allow_plain_http: bool = False
    # Unsigned only by word: a receiver cannot tell ours from anybody's.
    unsigned: bool = False

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the URL or the secret."""
        found = _url_problems(self)
        if secret is None and not self.unsigned:
            found.append("secret_env or secret_file is missing (or say unsigned = true)")
        if secret is not None and len(secret.reveal().encode()) < MIN_SECRET_BYTES:
            found.append(f"the secret is shorter than {MIN_SECRET_BYTES} bytes")
        return found


def open(options: Options, secret: Secret | None) -> "Webhook":  # noqa: A001 - name of the seam
    """A webhook from checked options. Raises ConfigError when the CA file cannot be used."""
    return Webhook(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """Nothing: formats of a webhook need no help."""
    del options
    return {}


def signature(secret: bytes, at_s: int, body: bytes) -> str:
    """Value of `tacho-signature` for a body sent at `at_s`, seconds since the epoch."""
    mac = hmac.new(secret, f"{at_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at_s},v1={mac}"


class Webhook:
    """POSTs to one URL over a kept connection, each within one deadline, whatever is slow."""

    batch_records = 1

    def __init__(
        self, options: Options, secret: Secret | None, *, clock: Clock = system_us
    ) -> None:
        self._options, self._secret, self._clock = options, secret, clock
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            verify=_tls(options.ca_file),
            follow_redirects=False,
            # A proxy or a .netrc of the environment must not see what a SIEM sees.
            trust_env=False,
            timeout=None,  # noqa: S113 - the deadline below holds for the request as a whole
            headers={"user-agent": f"tachograph/{product_version()}"},
        )

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """POST each record; see `Destination.deliver`."""
        answer = ""
        for record in records:
            answer = self._runner.run(self._post(record))
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._runner.run(self._client.aclose())
        self._runner.close()

    async def _post(self, record: Outgoing) -> str:
        try:
            async with asyncio.timeout(self._options.deadline_s):
                return await self._exchange(record)
        except TimeoutError:
            raise RetryLater(f"no answer within {self._options.deadline_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, OSError, UnicodeError) as error:
            raise RetryLater(f"{type(error).__name__}: {error}") from error

    async def _exchange(self, record: Outgoing) -> str:
        request = self._client.stream(
            "POST", self._options.url, content=record.body, headers=self._headers(record)
        )
        async with request as response:
            text = await _start_of(response)
            return self._judged(response, text)

    def _headers(self, record: Outgoing) -> dict[str, str]:
        headers = {"content-type": record.content_type, "tacho-delivery": _ascii(record.key)}
        if self._secret is not None:
            at_s = self._clock() // SECOND_US
            secret = self._secret.reveal().encode()
            headers["tacho-signature"] = signature(secret, at_s, record.body)
        return headers

    def _judged(self, response: httpx.Response, text: str) -> str:
        status = response.status_code
        said = f"{status} {response.reason_phrase}: {text}" if text else f"{status}"
        if 200 <= status < 300:
            return said
        if status in _RETRY_STATUS or status >= 500:
            after_s = self._retry_after_s(response.headers.get("retry-after"))
            raise RetryLater(said) if after_s is None else Busy(said, after_s)
        if 300 <= status < 400:
            raise Refused(f"{said} (redirects are not followed: configure the final URL)")
        raise Refused(said)

    def _retry_after_s(self, value: str | None) -> float | None:
        """Seconds that Retry-After asks for (number or date), within bounds; None without it."""
        if value is None:
            return None
        if value.strip().isdecimal():
            wanted = float(value[:10])
        else:
            try:
                at = parsedate_to_datetime(value)
            except ValueError:
                return None
            now = datetime.fromtimestamp(self._clock() / SECOND_US, UTC)
            wanted = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
        return min(max(0.0, wanted), MAX_RETRY_AFTER_S)


async def _start_of(response: httpx.Response) -> str:
    """The first bytes of the answer, printable; the rest is not read."""
    read = b""
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) >= MAX_ANSWER_BYTES:
            break
    text = read[:MAX_ANSWER_BYTES].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)[:200].strip()


def _ascii(key: str) -> str:
    return key.encode("ascii", "replace").decode().translate({10: "?", 13: "?", 0: "?"})


def _tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file}: {error}") from error


def _url_problems(options: Options) -> list[str]:
    try:
        url = httpx.URL(options.url)
    except (httpx.InvalidURL, TypeError) as error:
        return [f"url: {error}"]
    if url.scheme not in {"http", "https"} or not url.host:
        return [f"url: {options.url!r} is no http or https address"]
    if url.userinfo:
        return ["url: credentials do not belong into the URL; use secret_env or secret_file"]
    if url.scheme == "http" and not (options.allow_plain_http or _loopback(url.host)):
        return ["url: plain http to another host; use https or say allow_plain_http = true"]
    return []


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
