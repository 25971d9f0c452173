"""Strict stand-ins for receivers that no machine here can run, written from their vendors' words.

Each checks what the real one checks and answers as it does; what it took is kept for the test.
"""

import gzip
import threading
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.pipeline.forward.receivers import Request
from tests.pipeline.forward.test_json_formats import read_hec
from tests.waiting import WAIT_S

Reply = tuple[int, dict[str, str], bytes]


def reply(status: int, value: Any = None, **headers: str) -> Reply:
    """A JSON answer; header names with _ for -."""
    body = b"" if value is None else msgspec.json.encode(value)
    return status, {name.replace("_", "-"): text for name, text in headers.items()}, body


class HttpStub:
    """A real HTTP server in a thread. `forced` replies are used up before `answer` is asked."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.forced: list[Reply] = []
        stub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.path, headers, body)
                stub.requests.append(request)
                status, extra, text = stub.forced.pop(0) if stub.forced else stub.answer(request)
                if text and "gzip" in headers.get("accept-encoding", ""):
                    # As OpenSearch does, and others.
                    text, extra = gzip.compress(text), {**extra, "content-encoding": "gzip"}
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_PUT = do_GET = do_POST  # noqa: N815 - names of the base class

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def answer(self, request: Request) -> Reply:
        """What the receiver says to a request."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)


class SplunkStub(HttpStub):
    """HTTP Event Collector: token, channel, envelope and codes as Splunk documents them."""

    def __init__(self, token: str, *, ack: bool = True) -> None:
        super().__init__()
        self.token, self.ack = token, ack
        self.indexed: list[dict[str, Any]] = []
        self.indexes = {"main", "agents"}
        # Acknowledgements that are asked for so often before they come.
        self.asked_before_true = 0
        self._asked: dict[int, int] = {}
        self._next = 0

    def answer(self, request: Request) -> Reply:
        """See HttpStub."""
        if "authorization" not in request.headers:
            return reply(401, {"text": "Token is required", "code": 2})
        scheme, _, token = request.headers["authorization"].partition(" ")
        if scheme != "Splunk":
            return reply(401, {"text": "Invalid authorization", "code": 3})
        if token != self.token:
            return reply(403, {"text": "Invalid token", "code": 4})
        if self.ack and not _is_guid(request.headers.get("x-splunk-request-channel", "")):
            return reply(400, {"text": "Data channel is missing", "code": 10})
        if request.path == "/services/collector/ack":
            return self._acks(request)
        return self._events(request)

    def _events(self, request: Request) -> Reply:
        assert request.path == "/services/collector/event"
        events = read_hec(request.body)
        if not events:
            return reply(400, {"text": "No data", "code": 5})
        for number, event in enumerate(events):
            wrong = self._wrong(event)
            if wrong is not None:
                return reply(400, {**wrong, "invalid-event-number": number})
            self.indexed.append(event)
        told: dict[str, Any] = {"text": "Success", "code": 0}
        if self.ack:
            self._asked[self._next] = 0
            told["ackId"] = self._next
            self._next += 1
        return reply(200, told)

    def _wrong(self, event: Any) -> dict[str, Any] | None:
        known = {"time", "host", "source", "sourcetype", "index", "event", "fields"}
        if not isinstance(event, dict) or not set(event) <= known:
            return {"text": "Invalid data format", "code": 6}
        if "event" not in event:
            return {"text": "Event field is required", "code": 12}
        if event["event"] in ("", {}):
            return {"text": "Event field cannot be blank", "code": 13}
        if event.get("index", "main") not in self.indexes:
            return {"text": "Incorrect index", "code": 7}
        if not all(isinstance(value, str) for value in event.get("fields", {}).values()):
            return {"text": "Error in handling indexed fields", "code": 15}
        return None

    def _acks(self, request: Request) -> Reply:
        if not self.ack:
            return reply(400, {"text": "ACK is disabled", "code": 14})
        found = {}
        for number in msgspec.json.decode(request.body)["acks"]:
            ready = number in self._asked and self._asked[number] >= self.asked_before_true
            if number in self._asked:
                self._asked[number] += 1
            if ready:
                # Handed out once, then forgotten.
                del self._asked[number]
            found[str(number)] = ready
        return reply(200, {"acks": found})


class BulkStub(HttpStub):
    """Elasticsearch's `_bulk` into data streams and indices: versions, ids, and item errors."""

    def __init__(self, authorization: str) -> None:
        super().__init__()
        self.authorization = authorization
        self.documents: dict[tuple[str, str], dict[str, Any]] = {}
        self.versions: dict[tuple[str, str], int] = {}
        # Ids that are rejected, with the status and type that say so.
        self.reject: dict[str, tuple[int, str]] = {}

    def answer(self, request: Request) -> Reply:
        """See HttpStub."""
        if request.headers.get("authorization") != self.authorization:
            return reply(401, {"error": {"type": "security_exception"}, "status": 401})
        assert request.headers["content-type"] == "application/x-ndjson"
        parts = urlsplit(request.path)
        assert parts.path == "/_bulk"
        assert request.body.endswith(b"\n")
        lines = [msgspec.json.decode(line) for line in request.body.split(b"\n")[:-1]]
        pairs = zip(lines[::2], lines[1::2], strict=True)
        items = [self._item(action, document) for action, document in pairs]
        errors = any(one["status"] >= 300 for item in items for one in item.values())
        return reply(200, {"errors": errors, "items": items})

    def _item(self, action: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
        [(verb, place)] = action.items()
        known = (place["_index"], place["_id"])
        if place["_id"] in self.reject:
            status, kind = self.reject[place["_id"]]
            return {verb: {"status": status, "error": {"type": kind, "reason": "of the test"}}}
        if verb == "create":
            if known in self.documents:
                conflict = {"type": "version_conflict_engine_exception", "reason": "exists"}
                return {verb: {"status": 409, "error": conflict}}
        else:
            assert not place["_index"].startswith("logs-"), "data streams only take create"
            assert place["version_type"] == "external"
            if place["version"] <= self.versions.get(known, -1):
                conflict = {"type": "version_conflict_engine_exception", "reason": "older"}
                return {verb: {"status": 409, "error": conflict}}
            self.versions[known] = place["version"]
        assert document["@timestamp"]
        self.documents[known] = document
        return {verb: {"status": 201}}


class SentinelStub(HttpStub):
    """Azure: a login server that gives tokens, and an endpoint that takes rows of one stream."""

    def __init__(self, *, client_id: str, secret: str, columns: set[str]) -> None:
        super().__init__()
        self._client = (client_id, secret)
        self._columns = columns
        self.valid: set[str] = set()
        self.life_s = 3_600
        self.rows: list[dict[str, Any]] = []

    def answer(self, request: Request) -> Reply:
        """See HttpStub."""
        if request.path == "/tenant-1/oauth2/v2.0/token":
            return self._token(request)
        path = "/dataCollectionRules/dcr-0123/streams/Custom-TachoAlerts_CL?api-version=2023-01-01"
        if request.path != path:
            return reply(404, {"error": {"code": "NotFound"}})
        if request.headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            return reply(401, {"error": {"code": "InvalidToken"}})
        if len(request.body) > 1_048_576:
            return reply(413, {"error": {"code": "ContentLengthLimitExceeded"}})
        rows = msgspec.json.decode(request.body)
        if not isinstance(rows, list) or any("TimeGenerated" not in row for row in rows):
            return reply(400, {"error": {"code": "InvalidPayload"}})
        # Columns that the stream does not declare are dropped without a word.
        self.rows += [{k: v for k, v in row.items() if k in self._columns} for row in rows]
        return reply(204)

    def _token(self, request: Request) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        assert form["grant_type"] == "client_credentials"
        assert form["scope"] == "https://monitor.azure.com/.default"
        if (form["client_id"], form["client_secret"]) != self._client:
            return reply(401, {"error": "invalid_client", "error_description": str(form)})
        token = f"token-{len(self.valid)}"
        self.valid.add(token)
        return reply(
            200, {"token_type": "Bearer", "expires_in": self.life_s, "access_token": token}
        )


class Scripted(HttpStub):
    """Answers every request with what a function says."""

    def __init__(self, judge: Callable[[Request], Reply]) -> None:
        super().__init__()
        self._judge = judge

    def answer(self, request: Request) -> Reply:
        """See HttpStub."""
        return self._judge(request)


def _is_guid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
