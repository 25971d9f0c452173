"""ClickHouse's HTTP interface in front of the embedded engine, as a Starlette application.

Statements run on threads: one pool for the writer, one for readers, so that no reader delays an
insert. The event loop only moves bytes. A client that goes away stops its query.
"""

import asyncio
import contextlib
import json
import logging
import secrets
import socket
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins import clickhouse_limits as bounds
from tachograph.pipeline.standins.clickhouse_blocks import Blocks
from tachograph.pipeline.standins.clickhouse_engine import Answer, Engine, Statement, Summary
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError
from tachograph.pipeline.standins.clickhouse_lanes import Lane
from tachograph.pipeline.standins.clickhouse_limits import Limits
from tachograph.pipeline.standins.clickhouse_native import FIRST_VERSION, Encoder, NativeBlocks
from tachograph.pipeline.standins.clickhouse_policy import READ_ONLY_TEXT
from tachograph.pipeline.standins.clickhouse_request import (
    Compressor,
    Wish,
    credentials,
    decompress,
    is_writer,
    read_form,
    read_wish,
)
from tachograph.pipeline.standins.clickhouse_sql import is_insert, split_insert, statement_text

_NOT_FOUND = (
    "There is no handle {path}\n\nUse / or /ping for health checks.\n"
    "Send queries with the POST method, or with GET /?query=…\n"
)


CANCEL_AGAIN_S = 0.2
CLOSE_TIMEOUT_S = 8.0


def _encoder(wish: Wish, accepted: str, output_format: str) -> Encoder:
    packed = Blocks() if wish.in_blocks else Compressor(accepted if wish.compress_response else "")
    by_protocol = output_format == "Native" and wish.protocol_version >= FIRST_VERSION
    return NativeBlocks(packed) if by_protocol else packed


class ResultCutShort(Exception):
    """A result failed after its first bytes were sent: the client must see a broken response."""


@dataclass
class Job:
    """One request at work. `stoppable` once it is known to be a read: inserts are let finish."""

    request: Request
    wish: Wish
    writes: bool
    lane: Lane
    query_id: str
    tag: str = field(default_factory=lambda: secrets.token_hex(16))
    stoppable: bool = True


@dataclass
class Reply:
    """An answer on its way out: the first bytes of its body, and whether they are all of it."""

    answer: Answer
    first: bytes
    complete: bool


class Interface:
    """The request handlers."""

    def __init__(self, engine: Engine, limits: Limits, writer_password: str) -> None:
        self._engine = engine
        self._writer_password = writer_password
        self._host = socket.gethostname()
        reader = limits.reader
        self._reader_deadline_s = reader.max_execution_time_s + reader.kill_grace_s
        self._readers = Lane("reader", reader.concurrency, reader.queued, reader.queue_timeout_s)
        # The writer is one trusted process; its queue is bounded by the connections there may be.
        self._writers = Lane("writer", limits.writer_concurrency, bounds.MAX_CONNECTIONS, 3600.0)
        self._running: dict[str, Job] = {}
        self._ending: set[asyncio.Future[None]] = set()

    def stop_reads(self) -> None:
        """Cancel every statement that only reads. From any thread."""
        for job in list(self._running.values()):
            if job.stoppable:
                self._engine.cancel(job.tag)

    def close(self) -> None:
        """Stop what reads, wait for what writes. From any thread but the event loop's."""
        end = time.monotonic() + CLOSE_TIMEOUT_S
        while any(job.stoppable for job in list(self._running.values())):
            if time.monotonic() > end:
                break
            self.stop_reads()
            time.sleep(CANCEL_AGAIN_S)
        self._readers.close()
        self._writers.close()

    async def ping(self, _request: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    async def no_handler(self, request: Request) -> Response:
        return PlainTextResponse(_NOT_FOUND.format(path=request.url.path[:200]), status_code=404)

    async def query(self, request: Request) -> Response:
        """One statement. Answers every refusal as ClickHouse does."""
        if request.method in ("GET", "HEAD") and not request.url.query:
            return PlainTextResponse("Ok.\n")
        query_id = str(uuid.uuid4())
        try:
            pairs = request.query_params.multi_items()
            who = credentials(request.headers, dict(pairs))
            writes = is_writer(who, self._writer_password)
            wish = read_wish(pairs, request.headers)
            query_id = wish.query_id or query_id
            lane = self._writers if writes else self._readers
            return await self._answer(Job(request, wish, writes, lane, query_id))
        except ClickHouseError as error:
            return self._refuse(error, query_id)
        except ClientDisconnect:
            return Response(status_code=499)

    def _headers(self, query_id: str) -> dict[str, str]:
        return {
            "X-ClickHouse-Server-Display-Name": self._host,
            "X-ClickHouse-Query-Id": query_id,
            "X-ClickHouse-Timezone": self._engine.timezone,
        }

    def _refuse(self, error: ClickHouseError, query_id: str) -> Response:
        headers = {**self._headers(query_id), "X-ClickHouse-Exception-Code": str(error.code)}
        if error.code == errors.TOO_MANY_SIMULTANEOUS_QUERIES:
            headers["Retry-After"] = "1"
        return PlainTextResponse(error.body(self._engine.version), error.http_status, headers)

    async def _answer(self, job: Job) -> Response:
        async with contextlib.AsyncExitStack() as stack:
            if job.writes:  # bodies are large: hold no more of them than there are threads
                await stack.enter_async_context(job.lane.enter())
            limit = bounds.MAX_INSERT_BODY_BYTES if job.writes else bounds.MAX_QUERY_BYTES
            body = await _read_body(job.request, limit)
            if not job.writes:
                await stack.enter_async_context(job.lane.enter())
            reply = await self._run(job, body)
            accepted = job.request.headers.get("accept-encoding", "")
            compressor = _encoder(job.wish, accepted, reply.answer.format)
            headers = self._reply_headers(reply.answer, compressor, job.query_id)
            if reply.complete:
                content = compressor.feed(reply.first) + compressor.finish()
                return Response(content, headers=headers)
            tag = headers["X-ClickHouse-Exception-Tag"] = secrets.token_hex(8)
            held = stack.pop_all()
            pieces = self._stream(job, reply, compressor, tag, held)
            return StreamingResponse(pieces, headers=headers)

    def _reply_headers(self, answer: Answer, compressor: Encoder, query_id: str) -> dict[str, str]:
        headers = self._headers(query_id)
        headers["Content-Type"] = _content_type(answer.format)
        headers["X-ClickHouse-Format"] = answer.format
        headers["X-ClickHouse-Summary"] = _summary(answer.summary)
        if compressor.coding:
            headers["Content-Encoding"] = compressor.coding
        return headers

    async def _run(self, job: Job, body: bytes) -> Reply:
        """Wait for the first piece; stop the statement if the client leaves or time is up."""
        gone = asyncio.ensure_future(_disconnected(job.request))
        try:
            await asyncio.sleep(0)  # lets `gone` see a client that left while it waited in line
            if gone.done():
                raise ClientDisconnect
            work = asyncio.ensure_future(job.lane.run(lambda: self._execute(job, body)))
            deadline_s = None if job.writes else self._reader_deadline_s
            await asyncio.wait(
                {work, gone}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED
            )
            while not work.done() and job.stoppable:
                await asyncio.to_thread(self._engine.cancel, job.tag)
                # Again, for the statement may only be about to start.
                await asyncio.wait({work}, timeout=CANCEL_AGAIN_S)
            return await asyncio.shield(work)
        finally:
            gone.cancel()

    def _execute(self, job: Job, body: bytes) -> Reply:
        """On a thread: run the statement, and remember it while a thread or a stream holds it."""
        self._running[job.tag] = job
        streams = False
        try:
            reply = self._first_piece(job, body)
            streams = not reply.complete
            return reply
        finally:
            if not streams:
                self._running.pop(job.tag, None)

    def _first_piece(self, job: Job, body: bytes) -> Reply:
        """Unpack the body, run the statement, fetch the first piece of its result."""
        request, wish = job.request, job.wish
        limit = bounds.MAX_DECOMPRESSED_BYTES if job.writes else bounds.MAX_QUERY_BYTES
        body = decompress(body, request.headers.get("content-encoding", ""), limit)
        content_type = request.headers.get("content-type", "")
        if content_type.lower().startswith("multipart/form-data"):
            fields = read_form(body, content_type)
            wish = read_wish([*request.query_params.multi_items(), *fields], request.headers)
            body = b""
        text = b"\n".join(part for part in (wish.query.encode(), body) if part)
        statement = _statement(job, wish)
        if not job.writes and is_insert(text):
            # Before it is read as text, which rows in a binary format are not.
            raise ClickHouseError(errors.READONLY, READ_ONLY_TEXT)
        insert = split_insert(text) if job.writes and is_insert(text) else None
        if insert is not None and not statement.get_request:
            job.stoppable = False
            summary = self._engine.insert(statement, insert, memoryview(text)[insert.data_start :])
            answer = Answer("TabSeparated", iter(()), summary, lambda: None)
            return Reply(answer, b"", complete=True)
        answer = self._engine.execute(replace(statement, sql=statement_text(text)))
        return _reply(answer, streams=job.writes and not wish.wait_end)

    async def _stream(
        self,
        job: Job,
        reply: Reply,
        compressor: Encoder,
        tag: str,
        held: contextlib.AsyncExitStack,
    ) -> AsyncIterator[bytes]:
        pieces = reply.answer.pieces
        fetch: asyncio.Future[bytes | None] | None = None
        try:
            yield compressor.feed(reply.first)
            while True:
                fetch = asyncio.ensure_future(job.lane.run(lambda: next(pieces, None)))
                piece = await asyncio.shield(fetch)
                if piece is None:
                    break
                yield compressor.feed(piece)
            yield compressor.finish()
        except ClickHouseError as error:
            yield compressor.feed(_failure(error, tag, self._engine.version))
            yield compressor.finish()
            raise ResultCutShort from error
        finally:
            # A task of its own: where the client left, whoever runs this is being cancelled.
            end = asyncio.ensure_future(self._end_stream(job, reply, fetch, held))
            self._ending.add(end)
            end.add_done_callback(self._ending.discard)

    async def _end_stream(
        self,
        job: Job,
        reply: Reply,
        fetch: "asyncio.Future[bytes | None] | None",
        held: contextlib.AsyncExitStack,
    ) -> None:
        """Give thread and connection back; a piece that is being fetched is given up first."""
        async with held:
            while fetch is not None and not fetch.done():
                await asyncio.to_thread(self._engine.cancel, job.tag)
                await asyncio.wait({fetch}, timeout=CANCEL_AGAIN_S)
            await job.lane.run(reply.answer.close)
            self._running.pop(job.tag, None)


def _statement(job: Job, wish: Wish) -> Statement:
    return Statement(
        sql="",
        tag=job.tag,
        reader=not job.writes,
        get_request=job.request.method in ("GET", "HEAD"),
        database=wish.database,
        default_format=wish.default_format or "TabSeparated",
        params=wish.params,
        settings=wish.settings,
        session_id=wish.session_id,
        session_timeout_s=wish.session_timeout_s,
    )


def _reply(answer: Answer, *, streams: bool) -> Reply:
    pieces = [next(answer.pieces, b"")]
    second = next(answer.pieces, None)
    if second is not None:
        pieces.append(second)
        if streams:
            return Reply(answer, b"".join(pieces), complete=False)
        pieces += answer.pieces
    answer.close()
    return Reply(answer, b"".join(pieces), complete=True)


def _failure(error: ClickHouseError, tag: str, version: str) -> bytes:
    """The mark by which ClickHouse's clients know that a result failed after it had begun."""
    text = error.body(version).encode()
    head = f"\r\n__exception__\r\n{tag}\r\n".encode()
    return head + text + f"{len(text)} {tag}\r\n__exception__\r\n".encode()


async def _read_body(request: Request, limit_bytes: int) -> bytes:
    """The body as it came. Raises ClickHouseError if it is too large or comes too slowly."""
    text = f"The request is larger than {limit_bytes} bytes."
    too_large = ClickHouseError(errors.QUERY_IS_TOO_LARGE, text)
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.BODY_READ_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError:
        text = "The request's body did not arrive in time."
        raise ClickHouseError(errors.TIMEOUT_EXCEEDED, text) from None
    return bytes(body)


async def _disconnected(request: Request) -> None:
    """Return when the client has closed its side. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _summary(summary: Summary) -> str:
    values = {
        "read_rows": summary.read_rows,
        "read_bytes": summary.read_bytes,
        "written_rows": summary.written_rows,
        "written_bytes": summary.written_bytes,
        "total_rows_to_read": summary.read_rows,
        "result_rows": summary.result_rows,
        "result_bytes": summary.result_bytes,
        "elapsed_ns": summary.elapsed_ns,
    }
    texts = {name: str(value) for name, value in values.items()}
    return json.dumps(texts, separators=(",", ":"))


_BINARY = ("native", "rowbinary", "arrow", "parquet", "orc", "avro", "msgpack", "npy", "bson")


def _content_type(output_format: str) -> str:
    name = output_format.lower()
    if name.startswith("json") or name == "ndjson":
        by_line = "eachrow" in name or name in ("jsonlines", "jsonl", "ndjson")
        return f"application/{'x-ndjson' if by_line else 'json'}; charset=UTF-8"
    if name.startswith(("tabseparated", "tsv")):
        return "text/tab-separated-values; charset=UTF-8"
    if name.startswith("csv"):
        return f"text/csv; charset=UTF-8; header={'present' if 'withnames' in name else 'absent'}"
    if name.startswith(_BINARY):
        return "application/octet-stream"
    return "text/plain; charset=UTF-8"


class _HideCutShort(logging.Filter):
    """A result that was cut short was counted an error by its client already."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], ResultCutShort))


def application(interface: Interface, hosts: tuple[str, ...]) -> ASGIApp:
    """The routes. `hosts` may be named by a client, so that no web page can reach in by a name."""
    logging.getLogger("uvicorn.error").addFilter(_HideCutShort())
    methods = ["GET", "HEAD", "POST"]
    return Starlette(
        routes=[
            Route("/ping", interface.ping, methods=["GET", "HEAD"]),
            Route("/replicas_status", interface.ping, methods=["GET", "HEAD"]),
            Route("/", interface.query, methods=methods),
            Route("/{path:path}", interface.no_handler, methods=methods),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
    )
