"""HTTP for destinations: one request within one deadline, whatever is slow, and its answer judged.

The address comes from the configuration alone, no redirect is followed, and no proxy or .netrc of
the environment is used: nothing of an alert can change where a record goes.
"""

import asyncio
import ssl
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Annotated, Any

import httpx
import msgspec

from tachograph.pipeline.clock import SECOND_US, Clock, system_us
from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.forward import destination
from tachograph.pipeline.forward.destination import Busy, Secret
from tachograph.pipeline.forward.formats._values import product_version

# Of an answer we read so much, for the log and for `forward test`.
MAX_ANSWER_BYTES = 2_048
MAX_RETRY_AFTER_S = 3_600.0
_SAID_CHARS = 200
# What says that the record itself is at fault; anything else may be mended at the other end.
BAD_RECORD = frozenset({400, 413, 422})


class Options(destination.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every destination over HTTP can be told."""

    url: str
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=25)] = 10.0
    ca_file: str | None = None
    # For a receiver on the same host or behind a tunnel; loopback needs no leave.
    allow_plain_http: bool = False

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the URL."""
        del secret
        return url_problems("url", self.url, plain=self.allow_plain_http)


class Answer(msgspec.Struct, frozen=True):
    """What the other end answered."""

    status: int
    # Status and beginning of the body, printable.
    said: str
    body: bytes
    after_s: float | None

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """The body as JSON; an empty dict for anything else, for it is the other end's word."""
        try:
            value = msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return {}
        return value if isinstance(value, dict) else {}


class Client:
    """Requests over kept connections; made, used and closed by one thread."""

    def __init__(
        self, deadline_s: float, ca_file: str | None = None, *, clock: Clock = system_us
    ) -> None:
        self._deadline_s, self._clock = deadline_s, clock
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(
            verify=_tls(ca_file),
            follow_redirects=False,
            trust_env=False,
            timeout=None,  # noqa: S113 - the deadline below holds for the request as a whole
            headers={
                "user-agent": f"tachograph/{product_version()}",
                # Answers are short, and are read up to a bound as they come: packed ones are not.
                "accept-encoding": "identity",
            },
        )

    def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        *,
        answer_bytes: int = MAX_ANSWER_BYTES,
        method: str = "POST",
    ) -> Answer:
        """Send one request. Raises RetryLater when no answer came within the deadline."""
        request = self._client.build_request(method, url, content=body, headers=dict(headers))
        return self._runner.run(self._within_deadline(request, answer_bytes))

    def close(self) -> None:
        """Close the connections."""
        self._runner.run(self._client.aclose())
        self._runner.close()

    async def _within_deadline(self, request: httpx.Request, answer_bytes: int) -> Answer:
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._exchange(request, answer_bytes)
        except TimeoutError:
            raise RetryLater(f"no answer within {self._deadline_s:g} s") from None
        except (httpx.HTTPError, httpx.StreamError, OSError, UnicodeError) as error:
            raise RetryLater(f"{type(error).__name__}: {error}") from error

    async def _exchange(self, request: httpx.Request, answer_bytes: int) -> Answer:
        response = await self._client.send(request, stream=True)
        try:
            body = await _start_of(response, answer_bytes)
        finally:
            await response.aclose()
        text = _printable(body)
        said = f"{response.status_code} {response.reason_phrase}: {text}"
        return Answer(
            status=response.status_code,
            said=said if text else f"{response.status_code}",
            body=body,
            after_s=self._retry_after_s(response.headers.get("retry-after")),
        )

    def _retry_after_s(self, value: str | None) -> float | None:
        """Seconds that Retry-After asks for (number or date), within bounds; None without it."""
        if value is None:
            return None
        if value.strip().isdecimal():
            wanted = float(value[:10])
        else:
            try:
                at = parsedate_to_datetime(value)
            except (ValueError, OverflowError):
                return None
            now = datetime.fromtimestamp(self._clock() / SECOND_US, UTC)
            wanted = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
        return min(max(0.0, wanted), MAX_RETRY_AFTER_S)


def taken(answer: Answer, *, refused: Collection[int] = BAD_RECORD) -> str:
    """What the other end said, when it took the records. `refused`: statuses that are final.

    Raises Refused for those, RetryLater (Busy where a pause was asked for) for all other answers: a
    wrong token or a missing index is no fault of the record, and can be mended.
    """
    if answer.ok:
        return answer.said
    if answer.status in refused:
        raise Refused(answer.said)
    raise later(answer)


def later(answer: Answer) -> RetryLater:
    """The error that says: not now."""
    if answer.after_s is None:
        return RetryLater(answer.said)
    return Busy(answer.said, answer.after_s)


def url_problems(name: str, text: str, *, plain: bool = False) -> list[str]:
    """What is wrong with a configured address; `plain` allows http to another host."""
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, TypeError) as error:
        return [f"{name}: {error}"]
    if url.scheme not in {"http", "https"} or not url.host:
        return [f"{name}: {text!r} is no http or https address"]
    if url.userinfo:
        return [f"{name}: credentials do not belong into the URL; use secret_env or secret_file"]
    if url.scheme == "http" and not (plain or _loopback(url.host)):
        return [f"{name}: plain http to another host; use https or say allow_plain_http = true"]
    return []


def revealed(secret: Secret | None) -> str:
    """The secret of a destination that cannot do without. Raises ConfigError."""
    if secret is None:
        raise ConfigError("secret_env or secret_file is missing")
    return secret.reveal()


def secret_problems(secret: Secret | None) -> list[str]:
    """What is wrong with a secret that is needed and goes into a header."""
    if secret is None:
        return ["secret_env or secret_file is missing"]
    text = secret.reveal()
    return [] if text.isascii() and text.isprintable() else ["the secret is no plain ASCII text"]


async def _start_of(response: httpx.Response, most: int) -> bytes:
    """The first bytes of the answer; the rest is not read."""
    read = b""
    async for chunk in response.aiter_raw():
        read += chunk
        if len(read) >= most:
            break
    return read[:most]


def _printable(body: bytes) -> str:
    text = body[:MAX_ANSWER_BYTES].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else " " for char in text)[:_SAID_CHARS].strip()


def _tls(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"ca_file {ca_file}: {error}") from error


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
