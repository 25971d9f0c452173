"""Syslog over TCP with octet counting or newlines (RFC 6587), or over TLS (RFC 5425).

TCP syslog has no acknowledgement. What it has is the end of a connection: we send a batch, wait
until the other machine holds every byte, say that we are done, and wait for the other end to close.
A receiver that reads to the end closes cleanly; one that stops with bytes unread resets. So:

- `confirm = "close"` (default): a connection a batch. A clean close means that the receiving
  program has read it all; anything else, and the whole batch is sent again.
- `confirm = "drain"`: one connection, for receivers that do not close when we do. A batch counts
  when the other machine holds every byte; what was sent lately is sent again after a break. A
  machine holds bytes before its program has looked at who sends them (TLS 1.3 lets us write before
  our certificate is judged), so the first batch of a connection also waits for a refusal.

What a receiver has read and then loses is its own affair: no TCP sender can know.
"""

import contextlib
import select
import socket
import ssl
import struct
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.forward import destination
from tachograph.pipeline.forward.destination import Outgoing, Secret
from tachograph.pipeline.forward.formats import syslog

# In "drain": what is sent again after a break, because the receiver may not have read it.
TAIL_S = 120.0
MAX_TAIL_RECORDS = 1_000
# In "drain": how long a new connection must stand before what it took counts.
SETTLE_S = 1.0
_POLL_S = 0.002
_READ_BYTES = 4_096
_ESTABLISHED, _CLOSE_WAIT = 1, 8


class Options(destination.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "syslog"`."""

    address: str  # host:port, [v6]:port
    transport: Literal["tcp", "tls", "udp"] = "tcp"
    # Another way to say transport = "tls".
    tls: bool = False
    # How a record ends: counted before it (RFC 6587; RFC 5425 knows no other), or by a newline.
    framing: Literal["octet_counting", "lf"] = "octet_counting"
    message: syslog.Message = "cef"
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    # Name in the receiver's certificate, when it is not the host of `address`.
    server_name: str | None = None
    hostname: str | None = None
    confirm: Literal["close", "drain"] = "close"
    # udp: a record longer than this is shortened; RFC 5426 asks receivers for 2048.
    max_bytes: Annotated[int, msgspec.Meta(ge=2_048, le=syslog.MAX_BYTES)] = 2_048
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=25)] = 15.0

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls or self.transport == "tls"

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the address or the TLS files."""
        found = [] if secret is None else ["syslog takes no secret; it has cert_file and key_file"]
        if host_and_port(self.address) is None:
            found.append(f"address: {self.address!r} is not host:port")
        if self.tls and self.transport == "udp":
            found.append("tls: not over udp")
        files = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        given = {name: path for name, path in files.items() if path}
        if given and not self.secure:
            found.append(f'{", ".join(given)}: only with transport = "tls"')
        if bool(self.cert_file) != bool(self.key_file):
            found.append("cert_file and key_file go together")
        missing = [f"{name}: no file {path}" for name, path in given.items() if not _is_file(path)]
        return found + missing


def framed(record: bytes) -> bytes:
    """One record with its length before it, as RFC 6587 counts octets."""
    return b"%d %b" % (len(record), record)


def ended(record: bytes) -> bytes:
    """One record with a newline after it: no record of ours has one inside."""
    return record + b"\n"


class SyslogTcp:
    """Sends batches of syslog records; see the module for when one counts as delivered."""

    batch_records = 100
    batch_bytes = 1_000_000

    def __init__(self, options: Options) -> None:
        self._options = options
        self._context = _tls(options) if options.secure else None
        place = host_and_port(options.address)
        if place is None:
            raise ConfigError(f"address: {options.address!r} is not host:port")
        self._place = place
        self._connection: socket.socket | None = None
        self._tail: deque[tuple[float, bytes]] = deque(maxlen=MAX_TAIL_RECORDS)

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """Send the records and confirm them; see `Destination.deliver`. Never raises Refused."""
        end = time.monotonic() + self._options.deadline_s
        frame = framed if self._options.framing == "octet_counting" else ended
        frames = [frame(record.body) for record in records]
        try:
            if self._options.confirm == "close":
                self._send_and_close(frames, end)
            else:
                self._send_and_keep(frames, end)
        except (OSError, ssl.SSLError) as error:
            self.close()
            raise RetryLater(f"{self._options.address}: {_said(error)}") from error
        return f"{len(records)} records, {_CONFIRMED[self._options.confirm]}"

    def close(self) -> None:
        """Drop the connection."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None

    def _send_and_close(self, frames: list[bytes], end: float) -> None:
        connection = self._connection = self._connect(end)
        _send(connection, frames, end)
        if isinstance(connection, ssl.SSLSocket):
            connection = self._connection = _close_notified(connection, end)
        _drain(connection, end)
        connection.shutdown(socket.SHUT_WR)
        _await_close(connection, end)
        self.close()

    def _send_and_keep(self, frames: list[bytes], end: float) -> None:
        connection = self._connection
        fresh = connection is None or _has_ended(connection)
        if connection is None or fresh:
            self.close()
            connection = self._connection = self._connect(end)
            _send(connection, self._unconfirmed(), end)
        _send(connection, frames, end)
        _drain(connection, end)
        if fresh:
            _settle(connection, end)
        if _has_ended(connection):
            raise ConnectionResetError("the receiver closed after this batch")
        self._tail.extend((time.monotonic(), frame) for frame in frames)

    def _unconfirmed(self) -> list[bytes]:
        """What the other machine held, but its program may not have read before the break."""
        since = time.monotonic() - TAIL_S
        return [frame for sent, frame in self._tail if sent >= since]

    def _connect(self, end: float) -> socket.socket:
        plain = socket.create_connection(self._place, timeout=_left(end))
        try:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._context is None:
                return plain
            name = self._options.server_name or self._place[0]
            return self._context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise


_CONFIRMED = {
    "close": "read to the end by the receiver",
    "drain": "held by the receiver's machine",
}


def _send(connection: socket.socket, frames: list[bytes], end: float) -> None:
    """Send every frame; what the other end says meanwhile is no syslog and is not read."""
    connection.settimeout(_left(end))
    connection.sendall(b"".join(frames))


def _drain(connection: socket.socket, end: float) -> None:
    """Wait until the other machine has acknowledged every byte. Raises OSError when it will not."""
    while True:
        left = _unacknowledged(connection)
        # Looked at after the bytes: a reset throws away what was not acknowledged.
        if not _is_open(connection):
            raise ConnectionResetError("the connection was reset")
        if left == 0:
            return
        if time.monotonic() >= end:
            raise TimeoutError(f"{left} bytes were not acknowledged in time")
        time.sleep(_POLL_S)


def _settle(connection: socket.socket, end: float) -> None:
    """Wait for what a receiver that will not have us does: it ends the connection."""
    until = min(time.monotonic() + SETTLE_S, end)
    while (left := until - time.monotonic()) > 0:
        readable, _, _ = select.select([connection], [], [], left)
        # What is no end is a word of TLS (a session ticket), or chatter: read and forgotten.
        if readable and _has_ended(connection):
            return


def _await_close(connection: socket.socket, end: float) -> None:
    """Wait for the clean end of the other side. Raises OSError for a reset or silence."""
    while True:
        connection.settimeout(_left(end))
        try:
            if not connection.recv(_READ_BYTES):
                return
        except TimeoutError:
            raise TimeoutError(
                'the receiver has not closed; if it never does, set confirm = "drain"'
            ) from None


def _close_notified(connection: ssl.SSLSocket, end: float) -> socket.socket:
    """End TLS properly; many receivers only close the TCP connection in answer, which is enough."""
    connection.settimeout(_left(end))
    try:
        return connection.unwrap()
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        pass
    except OSError as error:
        # Python says "error 0" when the other end closes TCP without a TLS word of its own.
        if error.errno not in {0, None} or isinstance(error, TimeoutError):
            raise
    # The plain socket below: what TLS had to say is said, and TCP tells a close from a reset.
    return socket.socket(fileno=connection.detach())


def _has_ended(connection: socket.socket) -> bool:
    """Whether the other side has closed or broken a kept connection."""
    try:
        connection.settimeout(0)
        while connection.recv(_READ_BYTES):
            pass
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True
    return True


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that the other machine has not acknowledged; 0 where the system cannot tell."""
    if sys.platform != "linux":
        return 0
    import fcntl
    import termios

    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    return int(struct.unpack("i", answer)[0])


def _is_open(connection: socket.socket) -> bool:
    """Whether TCP still has the connection: after a reset nothing unacknowledged is left either."""
    if sys.platform != "linux":
        return True
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state in {_ESTABLISHED, _CLOSE_WAIT}


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left


def host_and_port(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
        return None
    return host, int(port)


def _is_file(path: str) -> bool:
    return Path(path).is_file()


def _tls(options: Options) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file:
            context.load_cert_chain(options.cert_file, options.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{options.address}: TLS files: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
