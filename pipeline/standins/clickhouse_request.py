"""An HTTP request as ClickHouse reads it: who asks, for what, how it is packed. No I/O."""

import base64
import binascii
import hmac
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

import lz4.frame  # type: ignore[import-untyped]
import zstandard

from tachograph.pipeline import zstd_frames
from tachograph.pipeline.standins import clickhouse_errors as errors
from tachograph.pipeline.standins.clickhouse_errors import ClickHouseError
from tachograph.pipeline.standins.clickhouse_limits import (
    MAX_PARAMS,
    MAX_SESSION_TIMEOUT_S,
    SESSION_TIMEOUT_S,
)

READER_NAME = "default"
WRITER_NAME = "tacho"
# Parameters that steer the HTTP interface and are no settings of the engine.
_TRANSPORT = frozenset(
    {
        "query", "user", "password", "database", "default_format", "query_id", "quota_key", "role",
        "session_id", "session_timeout", "session_check", "close_session", "compress", "decompress",
        "buffer_size", "wait_end_of_query", "client_protocol_version", "stacktrace", "log_comment",
        "enable_http_compression", "http_zlib_compression_level", "add_http_cors_header",
        "send_progress_in_http_headers", "http_headers_progress_interval_ms",
        "cancel_http_readonly_queries_on_client_close", "http_response_buffer_size",
        "http_wait_end_of_query", "http_write_exception_in_output_format", "http_response_headers",
    }
)  # fmt: skip
_QUERY_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRUE = ("1", "true")
_MOST_DIGITS = 9


@dataclass(frozen=True)
class Credentials:
    """Who asks. Neither part is ever logged."""

    user: str
    password: str


@dataclass(frozen=True)
class Wish:
    """What one request asks for, before the body is known."""

    query: str = ""
    database: str = ""
    default_format: str = ""
    query_id: str = ""
    session_id: str = ""
    session_timeout_s: int = SESSION_TIMEOUT_S
    params: dict[str, str] = field(default_factory=dict)
    settings: dict[str, str] = field(default_factory=dict)
    wait_end: bool = False
    compress_response: bool = True
    # ClickHouse's own blocks instead of a coding of HTTP.
    in_blocks: bool = False
    # Of the native protocol, for the format of that name; 0: none.
    protocol_version: int = 0


def credentials(headers: Mapping[str, str], query: Mapping[str, str]) -> Credentials:
    """From X-ClickHouse-User and -Key, else Basic, else the URL; with none it is the reader."""
    if "x-clickhouse-user" in headers or "x-clickhouse-key" in headers:
        user = headers.get("x-clickhouse-user") or READER_NAME
        return Credentials(user, headers.get("x-clickhouse-key", ""))
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(token, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError, ValueError):
            raise ClickHouseError(
                errors.AUTHENTICATION_FAILED, "Invalid Basic authorization."
            ) from None
        return Credentials(user or READER_NAME, password)
    if scheme:
        raise ClickHouseError(errors.AUTHENTICATION_FAILED, "Only Basic authorization is offered.")
    return Credentials(query.get("user") or READER_NAME, query.get("password", ""))


def is_writer(who: Credentials, writer_password: str) -> bool:
    """True for the writer, False for the anonymous reader; anyone else is refused."""
    if who.user == WRITER_NAME and hmac.compare_digest(
        who.password.encode(), writer_password.encode()
    ):
        return True
    if who.user == READER_NAME and not who.password:
        return False
    text = (
        f"{who.user[:64]}: Authentication failed: password is incorrect, or there is no user with "
        "such name."
    )
    raise ClickHouseError(errors.AUTHENTICATION_FAILED, text)


def read_wish(pairs: list[tuple[str, str]], headers: Mapping[str, str]) -> Wish:
    """Sort the parameters of the URL (and of a form) by what they mean. Raises ClickHouseError."""
    if len(pairs) > MAX_PARAMS:
        raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, f"More than {MAX_PARAMS} parameters.")
    values = dict(pairs)
    if any("\0" in name or "\0" in value for name, value in values.items()):
        raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, "A parameter has a NUL character.")
    if values.get("decompress", "0") in _TRUE:
        text = "No block compression of what is sent here (decompress=1): use HTTP compression."
        raise ClickHouseError(errors.NOT_IMPLEMENTED, text)
    settings, params = {}, {}
    for name, value in values.items():
        if name.startswith("param_"):
            params[name[len("param_") :]] = value
        elif name not in _TRANSPORT:
            settings[name] = value
    query_id = values.get("query_id") or headers.get("x-clickhouse-query-id", "")
    if query_id and not _QUERY_ID.fullmatch(query_id):
        raise ClickHouseError(
            errors.BAD_REQUEST_PARAMETER, "A query_id is 1 to 128 printable ASCII characters."
        )
    return Wish(
        query=values.get("query", ""),
        database=values.get("database") or headers.get("x-clickhouse-database", ""),
        default_format=values.get("default_format") or headers.get("x-clickhouse-format", ""),
        query_id=query_id,
        session_id=values.get("session_id", ""),
        session_timeout_s=_session_timeout(values.get("session_timeout", "")),
        params=params,
        settings=settings,
        wait_end=values.get("wait_end_of_query", "0") in _TRUE,
        compress_response=values.get("enable_http_compression", "1") in _TRUE,
        in_blocks=values.get("compress", "0") in _TRUE,
        protocol_version=_protocol_version(values.get("client_protocol_version", "0")),
    )


def _protocol_version(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS):
        told = f"Invalid client_protocol_version {text[:32]!r}: a whole number."
        raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, told)
    return int(text)


def _session_timeout(text: str) -> int:
    if not text:
        return SESSION_TIMEOUT_S
    if not (text.isascii() and text.isdigit() and int(text) <= MAX_SESSION_TIMEOUT_S):
        raise ClickHouseError(
            errors.INVALID_SESSION_TIMEOUT,
            f"Invalid session timeout {text[:32]!r}: 0 to {MAX_SESSION_TIMEOUT_S} seconds.",
        )
    return int(text)


def read_form(body: bytes, content_type: str) -> list[tuple[str, str]]:
    """The text fields of a multipart form. Raises ClickHouseError for files and for nonsense."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("utf-8", "replace")
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    fields = []
    if not message.is_multipart():
        raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, "The form is not multipart.")
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        if part.get_filename() is not None:
            raise ClickHouseError(
                errors.NOT_IMPLEMENTED, "The embedded server takes no external tables."
            )
        if not isinstance(name, str):
            raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, "A part of the form has no name.")
        payload = part.get_payload(decode=True)
        raw = payload if isinstance(payload, bytes) else b""
        try:
            fields.append((name, raw.decode()))
        except UnicodeDecodeError:
            raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, "The form is not UTF-8.") from None
    return fields


def decompress(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """Undo a Content-Encoding.

    Raises ClickHouseError if it is unknown, broken, or larger than `limit_bytes` when unpacked."""
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return body
    opener = _DECODERS.get(coding)
    if opener is None:
        text = f"Unknown compression method {coding[:32]!r}; use gzip, deflate, zstd or lz4."
        raise ClickHouseError(errors.UNKNOWN_COMPRESSION_METHOD, text)
    try:
        return opener(body, limit_bytes)
    except (zlib.error, zstandard.ZstdError, RuntimeError, EOFError) as error:
        text = f"Cannot decompress the {coding} body: {error}."
        raise ClickHouseError(errors.CANNOT_DECOMPRESS, text) from None


def _too_large(limit_bytes: int) -> ClickHouseError:
    return ClickHouseError(
        errors.QUERY_IS_TOO_LARGE, f"The body is larger than {limit_bytes} bytes."
    )


def _zlib_decoder(wbits: int) -> Callable[[bytes, int], bytes]:
    def decode(body: bytes, limit_bytes: int) -> bytes:
        decoder = zlib.decompressobj(wbits)
        plain = decoder.decompress(body, limit_bytes + 1)
        if len(plain) > limit_bytes:
            raise _too_large(limit_bytes)
        if not decoder.eof:
            raise EOFError("it ends too early")
        return plain

    return decode


def _zstd(body: bytes, limit_bytes: int) -> bytes:
    # An upper bound on the window, too: a frame may ask for gigabytes before it holds a byte.
    plain = zstd_frames.unpacked(body, limit_bytes, 1 << 27)
    if len(plain) > limit_bytes:
        raise _too_large(limit_bytes)
    return plain


def _lz4(body: bytes, limit_bytes: int) -> bytes:
    pieces, total, rest = [], 0, body
    while rest:
        decoder = lz4.frame.LZ4FrameDecompressor()
        piece = decoder.decompress(rest, max_length=limit_bytes + 1 - total)
        total += len(piece)
        if total > limit_bytes:
            raise _too_large(limit_bytes)
        if not decoder.eof:
            raise EOFError("it ends too early")
        pieces.append(piece)
        rest = decoder.unused_data or b""
    return b"".join(pieces)


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _zlib_decoder(zlib.MAX_WBITS | 16),
    "x-gzip": _zlib_decoder(zlib.MAX_WBITS | 16),
    "deflate": _zlib_decoder(zlib.MAX_WBITS),
    "zstd": _zstd,
    "lz4": _lz4,
}


# The cheapest first: the client is on this machine.
_CODINGS = ("lz4", "zstd", "gzip", "deflate")


class Compressor:
    """A running encoder for a response body. `coding` is '' where nothing is to be done."""

    def __init__(self, accept_encoding: str) -> None:
        offered = {item.partition(";")[0].strip().lower() for item in accept_encoding.split(",")}
        self.coding = next((name for name in _CODINGS if name in offered), "")
        self._encoder: Any = None
        if self.coding == "lz4":
            self._encoder = lz4.frame.LZ4FrameCompressor()
        elif self.coding == "zstd":
            self._encoder = zstandard.ZstdCompressor(level=1).compressobj()
        elif self.coding:
            wbits = zlib.MAX_WBITS | 16 if self.coding == "gzip" else zlib.MAX_WBITS
            self._encoder = zlib.compressobj(3, zlib.DEFLATED, wbits)
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Compress one piece; may give nothing yet."""
        if self._encoder is None:
            return data
        head = b"" if self._begun or self.coding != "lz4" else self._encoder.begin()
        self._begun = True
        return bytes(head + self._encoder.compress(data))

    def finish(self) -> bytes:
        """The end of the stream."""
        if self._encoder is None:
            return b""
        return self.feed(b"") + bytes(self._encoder.flush())
