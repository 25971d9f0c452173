"""`tacho alerts`: what a door has stored, and what comes, resumed after every break."""

import time
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import httpx
import msgspec

from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.serve.errors import shown
from tachograph.pipeline.tls import door_tls

# A feed says something every 15 s.
SILENCE_S: Final = 45.0
RETRY_S: Final = 2.0
MAX_EVENT_BYTES: Final = 16_777_216

Query = list[tuple[str, str | int | float | bool | None]]


class Event(NamedTuple):
    """One server-sent event: its kind, and its data on one line."""

    kind: str
    data: str


class AlertsClient:
    """A door's alerts. Raises Refused when the door says no, RetryLater when it does not answer."""

    def __init__(
        self, url: str, token: str | None, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self._sleep = sleep
        timeout = httpx.Timeout(10.0, read=SILENCE_S)
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=timeout, verify=door_tls().context()
        )
        self._last_id: str | None = None

    def stored(self, query: Query, most: int) -> Iterator[dict[str, Any]]:
        """Up to `most` stored alerts, newest first."""
        cursor: str | None = None
        while most > 0:
            asked = [*query, ("limit", str(min(most, 500)))]
            page = self._page([*asked, ("cursor", cursor)] if cursor else asked)
            yield from page["alerts"]
            most -= len(page["alerts"])
            cursor = page["next"]
            if cursor is None:
                return

    def _page(self, query: Query) -> dict[str, Any]:
        try:
            answer = self._client.get("/v1/alerts", params=query)
        except httpx.HTTPError as error:
            raise self._away(error) from error
        _check(answer.status_code, answer.content)
        page: dict[str, Any] = msgspec.json.decode(answer.content)
        return page

    def begin(self, query: Query) -> None:
        """Note where the feed is now, so that nothing is lost between this and `follow`."""
        try:
            with self._client.stream("GET", "/alerts", params=query) as answer:
                if answer.status_code != 200:
                    _check(answer.status_code, answer.read())
                lines = answer.iter_lines()
                self._last_id = next(
                    (line[3:].strip() for line in lines if line.startswith("id:")), None
                )
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def _away(self, error: httpx.HTTPError) -> RetryLater:
        return RetryLater(
            f"no door at {self._client.base_url} ({error}): start `tacho up` or `tacho serve`, or"
            " name another with --url"
        )

    def follow(self, query: Query) -> Iterator[dict[str, Any]]:
        """Alerts since `begin` as they come, for ever. A break is resumed where it was; Refused
        ends it.
        """
        while True:
            try:
                for event in self._events(query):
                    if event.kind == "alert":
                        yield msgspec.json.decode(event.data)
            except (httpx.HTTPError, RetryLater):
                pass  # `begin` has heard the door: it is away for a while
            self._sleep(RETRY_S)

    def _events(self, query: Query) -> Iterator[Event]:
        headers = {"last-event-id": self._last_id} if self._last_id else {}
        with self._client.stream("GET", "/alerts", params=query, headers=headers) as answer:
            if answer.status_code != 200:
                _check(answer.status_code, answer.read())
            yield from self._parsed(answer.iter_lines())

    def _parsed(self, lines: Iterator[str]) -> Iterator[Event]:
        """Events of a stream, as the HTML standard reads it; remembers the place."""
        kind, data, size = "message", list[str](), 0
        for line in lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if not line:
                if data:
                    yield Event(kind, "\n".join(data))
                kind, data, size = "message", [], 0
            elif name == "id":
                self._last_id = value
            elif name == "event":
                kind = value
            elif name == "data":
                size += len(value)
                if size > MAX_EVENT_BYTES:
                    raise RetryLater("the door sent an event without end")
                data.append(value)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _check(status: int, body: bytes) -> None:
    if status == 200:
        return
    try:
        told = str(msgspec.json.decode(body)["error"])
    except (msgspec.DecodeError, KeyError, TypeError):
        told = "in no words of a door's: is it one? --url names another"
    message = f"the door said {status}: {shown(told)}"
    if status == 401:
        message += "; TACHO_DOOR_TOKEN holds the token to ask with"
    if status in {429, 503}:
        raise RetryLater(message)
    raise Refused(message)
