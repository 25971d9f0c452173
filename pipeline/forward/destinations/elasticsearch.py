"""Elasticsearch and OpenSearch: ECS documents by `_bulk`, each item's answer read.

Into a data stream (default) every revision is created as a document of its own; one that is there
already answers 409, which is as good as taken. With `index`, an alert is one document, and only a
newer revision takes the place of an older one.
"""

import base64
from collections.abc import Sequence
from typing import Any, Literal

from tachograph.pipeline.errors import Refused, RetryLater
from tachograph.pipeline.forward.destination import Outgoing, Secret
from tachograph.pipeline.forward.destinations import _http
from tachograph.pipeline.forward.destinations._http import (
    Answer,
    Client,
    later,
    revealed,
    secret_problems,
    taken,
)
from tachograph.pipeline.forward.formats import ecs

TYPE = "elasticsearch"
FORMATS = ("ecs",)

# A hundred items, each with an error and its reason.
_ANSWER_BYTES = 262_144
_PATH = "/_bulk?filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason"
_TAKEN = frozenset({200, 201, 409})
_FORBIDDEN_IN_NAMES = frozenset(' "*,/<>?\\|#:')


class Options(_http.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "elasticsearch"` and `type = "opensearch"`."""

    data_stream: str = ecs.DATA_STREAM
    # An ordinary index in place of a data stream: alerts are updated where they stand.
    index: str | None = None
    # `api_key`: the secret is the encoded key; `basic`: it is the password of `username`.
    auth: Literal["api_key", "basic"] = "api_key"
    username: str | None = None

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the URL, the names or the credentials."""
        found = super().problems(secret) + secret_problems(secret)
        for option, name in (("data_stream", self.data_stream), ("index", self.index)):
            if name is not None and not _is_index(name):
                found.append(f"{option}: {name!r} is no name of an index")
        if (self.auth == "basic") != bool(self.username):
            found.append('auth = "basic" and username go together')
        return found


def open(options: Options, secret: Secret | None) -> "Elasticsearch":  # noqa: A001
    """A sender from checked options. Raises ConfigError when the CA file cannot be used."""
    return Elasticsearch(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """Nothing: the name of the index stands in the action line, not in the document."""
    del options
    return {}


class Elasticsearch:
    """Bulk requests over a kept connection."""

    batch_records = 100
    batch_bytes = 5_000_000

    def __init__(self, options: Options, secret: Secret | None) -> None:
        self._options = options
        self._url = options.url.rstrip("/") + _PATH
        self._headers = {
            "content-type": ecs.CONTENT_TYPE,
            "authorization": _authorization(options, revealed(secret)),
        }
        self._client = Client(options.deadline_s, options.ca_file)

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """One bulk request; see `Destination.deliver`."""
        named = self._options.index or self._options.data_stream
        keyed = [(record.key, record.body) for record in records]
        body = ecs.bulk(keyed, named, replace=self._options.index is not None)
        answer = self._client.post(self._url, body, self._headers, answer_bytes=_ANSWER_BYTES)
        taken(answer, refused={413})
        return _judged(answer, len(records))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _judged(answer: Answer, sent: int) -> str:
    """A bulk answer is 200 whatever became of its items: each is looked at."""
    items = [item for one in answer.json().get("items", []) for item in one.values()]
    if len(items) != sent:
        raise RetryLater(f"{len(items)} answers to {sent} records: {answer.said}")
    again = [item for item in items if not _final(item["status"])]
    if again:
        raise later(answer) if answer.after_s else RetryLater(_said(again[0]))
    bad = [item for item in items if item["status"] not in _TAKEN]
    if bad:
        raise Refused(_said(bad[0]))
    known = sum(item["status"] == 409 for item in items)
    return f"{sent - known} created, {known} there already"


def _final(status: int) -> bool:
    return status in _TAKEN or status in _http.BAD_RECORD


def _said(item: dict[str, Any]) -> str:
    error = item.get("error") or {}
    reason = f"{error.get('type', '')}: {error.get('reason', '')}"
    return f"{item['status']} " + "".join(c if c.isprintable() else " " for c in reason)[:300]


def _authorization(options: Options, secret: str) -> str:
    if options.auth == "api_key":
        return f"ApiKey {secret}"
    pair = f"{options.username}:{secret}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def _is_index(name: str) -> bool:
    plain = name == name.lower() and not _FORBIDDEN_IN_NAMES & set(name)
    return plain and 0 < len(name.encode()) < 256 and name[0] not in "-_+."
