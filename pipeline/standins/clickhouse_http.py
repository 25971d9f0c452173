"""ClickHouse's HTTP interface in front of the embedded engine, as a Starlette application.

Statements run on threads: one pool for the writer, one for readers, so that no reader delays an insert. The event loop
only moves bytes. A client that goes away stops its query.
"""

import asyncio
import contextlib
import json
import secrets
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins import clickhouse_limits as bounds
from tachograph.pipeline.standins.clickhouse_engine import Answer, Engine, Statement, Summary
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError
from tachograph.pipeline.standins.clickhouse_limits import Limits
from tachograph.pipeline.standins.clickhouse_request import (
    Compressor,
    Wish,
    credentials,
    decompress,
    is_writer,
    read_form,
    read_wish,
)
from tachograph.pipeline.standins.clickhouse_sql import is_insert, split_insert

T = TypeVar("T")
_NOT_FOUND = (
    "There is no handle {path}\n\nUse / or /ping for health checks.\n"
    "Send queries with the POST method, or with GET /?query=…\n"
)


@dataclass(frozen=True)
class Reply:
    """A statement's answer on its way out: headers, and the pieces of the body with the first one already at hand."""

    format: str
    first: bytes
    rest: Iterator[bytes]
    summary: Summary
    complete: bool


class Lane:
    """Threads for one kind of client. `enter` queues, within bounds, and then raises ClickHouse's own refusal."""

    def __init__(self, name: str, threads: int, queued: int, timeout_s: float) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"clickhouse-{name}")
        self._slots = asyncio.Semaphore(threads)
        self._threads = threads
        self._room = threads + queued
        self._timeout_s = timeout_s
        self._inside = 0

    @contextlib.asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """Wait for a thread. Raises ClickHouseError 202 if too many wait already, or for too long."""
        if self._inside >= self._room:
            raise self._refusal()
        self._inside += 1
        try:
            try:
                await asyncio.wait_for(self._slots.acquire(), self._timeout_s)
            except TimeoutError:
                raise self._refusal() from None
            try:
                yield
            finally:
                self._slots.release()
        finally:
            self._inside -= 1

    def _refusal(self) -> ClickHouseError:
        text = f"Too many simultaneous queries. Maximum: {self._threads}."
        return ClickHouseError(errors.TOO_MANY_SIMULTANEOUS_QUERIES, text)

    async def run(self, work: Callable[[], T]) -> T:
        """Run on one of the threads. Cancelling the caller does not stop the thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        """Wait for the running statements and end the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Interface:
    """The request handlers."""

    def __init__(self, engine: Engine, limits: Limits, writer_password: str) -> None:
        self._engine = engine
        self._writer_password = writer_password
        self._host = socket.gethostname()
        reader = limits.reader
        self._readers = Lane("reader", reader.concurrency, reader.queued, reader.queue_timeout_s)
        # The writer is one trusted process; its queue is bounded by the connections it may open.
        self._writers = Lane("writer", limits.writer_concurrency, bounds.MAX_CONNECTIONS, 3600.0)

    def close(self) -> None:
        self._readers.close()
        self._writers.close()

    async def ping(self, request: Request) -> Response:
        return PlainTextResponse("Ok.\n")

    async def no_handler(self, request: Request) -> Response:
        return PlainTextResponse(_NOT_FOUND.format(path=request.url.path[:200]), status_code=404)

    async def query(self, request: Request) -> Response:
        """One statement. Answers every refusal as ClickHouse does."""
        if request.method in ("GET", "HEAD") and not request.url.query:
            return PlainTextResponse("Ok.\n")
        query_id = str(uuid.uuid4())
        try:
            url = dict(request.query_params.multi_items())
            writes = is_writer(credentials(request.headers, url), self._writer_password)
            wish = read_wish(request.query_params.multi_items(), request.headers)
            query_id = wish.query_id or query_id
            lane = self._writers if writes else self._readers
            return await self._answer(request, wish, writes, lane, query_id)
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
        if error.code == errors.REQUIRED_PASSWORD:
            headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
        return PlainTextResponse(error.body(self._engine.version), error.http_status, headers)

    async def _answer(
        self, request: Request, wish: Wish, writes: bool, lane: Lane, query_id: str
    ) -> Response:
        async with contextlib.AsyncExitStack() as stack:
            if writes:  # bodies are large: hold no more of them than there are threads
                await stack.enter_async_context(lane.enter())
            body = await _read_body(
                request, bounds.MAX_INSERT_BODY_BYTES if writes else bounds.MAX_QUERY_BYTES
            )
            if not writes:
                await stack.enter_async_context(lane.enter())
            tag = secrets.token_hex(16)
            job = lane.run(lambda: self._execute(request, wish, body, writes, tag))
            reply = await self._until_done_or_gone(request, job, tag)
            compressor = Compressor(
                request.headers.get("accept-encoding", ""), wish.compress_response
            )
            headers = self._reply_headers(reply, compressor, query_id)
            if reply.complete:
                content = compressor.feed(reply.first) + compressor.finish()
                return Response(content, headers=headers)
            held = stack.pop_all()
            pieces = self._stream(reply, lane, compressor, tag, held)
            return StreamingResponse(pieces, headers=headers)

    def _reply_headers(self, reply: Reply, compressor: Compressor, query_id: str) -> dict[str, str]:
        headers = self._headers(query_id)
        headers["Content-Type"] = _content_type(reply.format)
        headers["X-ClickHouse-Format"] = reply.format
        headers["X-ClickHouse-Summary"] = _summary(reply.summary)
        if compressor.coding:
            headers["Content-Encoding"] = compressor.coding
        return headers

    def _execute(self, request: Request, wish: Wish, body: bytes, writes: bool, tag: str) -> Reply:
        """On a thread: decode the body, run the statement, fetch the first piece of its result."""
        limit = bounds.MAX_DECOMPRESSED_BYTES if writes else bounds.MAX_QUERY_BYTES
        body = decompress(body, request.headers.get("content-encoding", ""), limit)
        content_type = request.headers.get("content-type", "")
        if content_type.lower().startswith("multipart/form-data"):
            fields = read_form(body, content_type)
            wish = read_wish([*request.query_params.multi_items(), *fields], request.headers)
            body = b""
        text = (
            wish.query.encode() + b"\n" + body
            if wish.query and body
            else wish.query.encode() or body
        )
        statement = Statement(
            sql="",
            tag=tag,
            reader=not writes,
            get_request=request.method in ("GET", "HEAD"),
            database=wish.database,
            default_format=wish.default_format or "TabSeparated",
            params=wish.params,
            settings=wish.settings,
        )
        insert = split_insert(text) if writes and is_insert(text) else None
        if insert is not None and not statement.get_request:
            summary = self._engine.insert(statement, insert, memoryview(text)[insert.data_start :])
            return Reply("TabSeparated", b"", iter(()), summary, complete=True)
        answer = self._engine.execute(replace(statement, sql=_text(text)))
        return _reply(answer, streams=writes and not wish.wait_end)

    async def _until_done_or_gone(
        self, request: Request, job: "asyncio.Future[Reply] | object", tag: str
    ) -> Reply:
        """Wait for the statement, and stop it if the client leaves first."""
        task = asyncio.ensure_future(job)  # type: ignore[arg-type]
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.to_thread(self._engine.cancel, tag)
            reply: Reply = await task
            return reply
        finally:
            gone.cancel()

    async def _stream(
        self,
        reply: Reply,
        lane: Lane,
        compressor: Compressor,
        tag: str,
        held: contextlib.AsyncExitStack,
    ) -> AsyncIterator[bytes]:
        async with held:
            try:
                yield compressor.feed(reply.first)
                while (piece := await lane.run(lambda: next(reply.rest, None))) is not None:
                    yield compressor.feed(piece)
                yield compressor.finish()
            finally:
                await lane.run(reply.rest.close)  # type: ignore[attr-defined]


def _reply(answer: Answer, streams: bool) -> Reply:
    pieces = [next(answer.chunks, b"")]
    second = next(answer.chunks, None)
    if second is not None and not streams:
        pieces += [second, *answer.chunks]
        second = None
    if second is None:
        return Reply(answer.format, b"".join(pieces), iter(()), answer.summary, complete=True)
    return Reply(answer.format, pieces[0] + second, answer.chunks, answer.summary, complete=False)


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise ClickHouseError(errors.SYNTAX_ERROR, "The query is not valid UTF-8.") from None
    if "\0" in text:
        raise ClickHouseError(errors.SYNTAX_ERROR, "Syntax error: the query has a NUL byte.")
    return text


async def _read_body(request: Request, limit_bytes: int) -> bytes:
    """The body as it came. Raises ClickHouseError if it is too large or comes too slowly."""
    declared = request.headers.get("content-length", "")
    too_large = ClickHouseError(
        errors.QUERY_IS_TOO_LARGE, f"The request is larger than {limit_bytes} bytes."
    )
    if declared.isdecimal() and int(declared) > limit_bytes:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(bounds.BODY_READ_TIMEOUT_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError:
        raise ClickHouseError(
            errors.TIMEOUT_EXCEEDED, "The request's body did not arrive in time."
        ) from None
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
    return json.dumps({name: str(value) for name, value in values.items()}, separators=(",", ":"))


def _content_type(output_format: str) -> str:
    name = output_format.lower()
    if name.startswith("json") or name == "ndjson":
        each_row = "eachrow" in name or name in ("jsonlines", "jsonl", "ndjson")
        return (
            "application/x-ndjson; charset=UTF-8" if each_row else "application/json; charset=UTF-8"
        )
    if name.startswith(("tabseparated", "tsv")):
        return "text/tab-separated-values; charset=UTF-8"
    if name.startswith("csv"):
        return "text/csv; charset=UTF-8; header=" + ("present" if "withnames" in name else "absent")
    if name.startswith(
        ("native", "rowbinary", "arrow", "parquet", "orc", "avro", "msgpack", "npy")
    ):
        return "application/octet-stream"
    if name == "xml":
        return "application/xml; charset=UTF-8"
    return "text/plain; charset=UTF-8"


def application(interface: Interface) -> ASGIApp:
    """The routes of the interface."""
    methods = ["GET", "HEAD", "POST"]
    return Starlette(
        routes=[
            Route("/ping", interface.ping, methods=["GET", "HEAD"]),
            Route("/replicas_status", interface.ping, methods=["GET", "HEAD"]),
            Route("/", interface.query, methods=methods),
            Route("/{path:path}", interface.no_handler, methods=methods),
        ]
    )
