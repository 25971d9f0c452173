"""RFC 5424 syslog, its message CEF or LEEF, over TCP, TLS or UDP."""

import socket
from collections.abc import Sequence
from typing import Any

from tachograph.pipeline.errors import ConfigError, RetryLater
from tachograph.pipeline.forward.destination import Destination, Outgoing, Secret
from tachograph.pipeline.forward.destinations._syslog_tcp import (
    Options,
    SyslogTcp,
    host_and_port,
)
from tachograph.pipeline.forward.formats.syslog import MAX_BYTES

__all__ = ["FORMATS", "TYPE", "Options", "SyslogUdp", "open", "render_options"]

TYPE = "syslog"
FORMATS = ("syslog",)


def open(options: Options, secret: Secret | None) -> Destination:  # noqa: A001 - name of the seam
    """A sender from checked options. Raises ConfigError when a TLS file cannot be used."""
    del secret
    return SyslogUdp(options) if options.transport == "udp" else SyslogTcp(options)


def render_options(options: Options) -> dict[str, Any]:
    """What the records carry beside the alert: host name, kind of message, and their size."""
    return {
        "hostname": options.hostname or socket.gethostname(),
        "message": options.message,
        "max_bytes": options.max_bytes if options.transport == "udp" else MAX_BYTES,
    }


class SyslogUdp:
    """One datagram a record (RFC 5426). Nothing is acknowledged: what is lost is lost."""

    batch_records = 100
    batch_bytes = 1_000_000

    def __init__(self, options: Options) -> None:
        place = host_and_port(options.address)
        if place is None:
            raise ConfigError(f"address: {options.address!r} is not host:port")
        self._place, self._address = place, options.address
        self._socket: socket.socket | None = None

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """Send the records; see `Destination.deliver`. Never raises Refused."""
        try:
            connected = self._socket = self._socket or self._connected()
            for record in records:
                connected.send(record.body)
        except OSError as error:
            self.close()
            raise RetryLater(f"{self._address}: {error}") from error
        return f"{len(records)} datagrams sent; udp says no more"

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        # Connected, so that a port nobody listens on is told at the next datagram.
        found = socket.getaddrinfo(*self._place, type=socket.SOCK_DGRAM)
        family, kind, protocol, _, address = found[0]
        made = socket.socket(family, kind, protocol)
        try:
            made.connect(address)
        except BaseException:
            made.close()
            raise
        return made
