"""Real receivers for the tests of `forward`: rsyslogd as an ordinary process, an HTTP server."""

import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import msgspec

from infra.kafka.broker import free_ports
from tests.waiting import WAIT_S, eventually


def rsyslogd() -> str | None:
    """Path of the rsyslog daemon, which is often outside of an ordinary user's PATH."""
    return shutil.which("rsyslogd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Rsyslog:
    """A real rsyslogd with a TCP and a UDP input on loopback; writes each message as it came."""

    def __init__(
        self, folder: Path, *, tls: dict[str, Path] | None = None, clients: str = "anon"
    ) -> None:
        self._clients = clients
        [self.port] = free_ports(1)
        self.folder = folder
        self.output = folder / "received.log"
        self._config = folder / "rsyslog.conf"
        self._config.write_text(self._text(tls))
        self._process: subprocess.Popen[bytes] | None = None

    def _text(self, tls: dict[str, Path] | None) -> str:
        stream = ""
        secure = ""
        if tls:
            secure = (
                'global(defaultNetstreamDriver="gtls"'
                f' defaultNetstreamDriverCAFile="{tls["ca"]}"'
                f' defaultNetstreamDriverCertFile="{tls["cert"]}"'
                f' defaultNetstreamDriverKeyFile="{tls["key"]}")\n'
            )
            stream = (
                ' StreamDriver.Name="gtls" StreamDriver.Mode="1"'
                f' StreamDriver.AuthMode="{self._clients}"'
            )
        return (
            f'global(workDirectory="{self.folder}" maxMessageSize="64k")\n{secure}'
            'template(name="raw" type="string" string="%rawmsg%\\n")\n'
            # First, so that it takes datagrams once it takes connections, which is waited for.
            f'module(load="imudp")\ninput(type="imudp" port="{self.port}"'
            ' address="127.0.0.1" ruleset="keep")\n'
            f'module(load="imtcp"{stream})\n'
            f'input(type="imtcp" port="{self.port}" address="127.0.0.1" ruleset="keep")\n'
            'ruleset(name="keep") {'
            f' action(type="omfile" file="{self.output}" template="raw") }}\n'
        )

    def start(self) -> Self:
        """Run the daemon in the foreground and wait until it listens."""
        with (self.folder / "stderr").open("ab") as complaints:
            self._process = subprocess.Popen(
                self._command(),
                env=self._environment(),
                stdout=subprocess.DEVNULL,
                stderr=complaints,
            )
        eventually(self._listens, f"the daemon listens: {self._complaints()}")
        return self

    def _command(self) -> list[str]:
        binary = rsyslogd()
        assert binary is not None
        return [binary, "-n", "-f", str(self._config), "-i", str(self.folder / "pid")]

    def _environment(self) -> dict[str, str]:
        return dict(os.environ)

    def _complaints(self) -> str:
        return (self.folder / "stderr").read_text(errors="replace")[-500:]

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the daemon that this object started, by its pid."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(WAIT_S)

    def lines(self) -> list[str]:
        """Messages received so far, as the daemon wrote them."""
        if not self.output.exists():
            return []
        whole, _, _ = self.output.read_bytes().rpartition(b"\n")
        return whole.decode().splitlines()


# Where it is unpacked beside an rsyslog, which Debian does not let it be installed with.
UNPACKED = Path(__file__).parents[3] / ".cache" / "syslog-ng"


def syslog_ng() -> Path | None:
    """Path of the syslog-ng daemon: installed, or unpacked."""
    found = shutil.which("syslog-ng", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    unpacked = UNPACKED / "usr" / "sbin" / "syslog-ng"
    return Path(found) if found else unpacked if unpacked.exists() else None


class SyslogNg(Rsyslog):
    """A real syslog-ng with one input on loopback; writes each message as it came."""

    def __init__(
        self, folder: Path, *, framing: str = "octet", tls: dict[str, Path] | None = None
    ) -> None:
        self._framing = framing
        super().__init__(folder, tls=tls)

    def _text(self, tls: dict[str, Path] | None) -> str:
        driver = "syslog" if self._framing == "octet" else "network"
        secure = 'transport("tcp")'
        if tls:
            secure = (
                f'transport("tls") tls(key-file("{tls["key"]}") cert-file("{tls["cert"]}")'
                " peer-verify(optional-untrusted))"
            )
        return (
            "@version: 3.38\noptions { stats-freq(0); log-msg-size(65536); };\n"
            f'source s {{ {driver}(ip("127.0.0.1") port({self.port}) {secure}'
            " flags(no-parse)); };\n"
            f'destination d {{ file("{self.output}" template("${{MESSAGE}}\\n")); }};\n'
            "log { source(s); destination(d); };\n"
        )

    def _command(self) -> list[str]:
        binary = syslog_ng()
        assert binary is not None
        own = ("pid", "control", "persist")
        pid, control, persist = (str(self.folder / name) for name in own)
        return [str(binary), "-F", "-e", "--no-caps", "-f", str(self._config), "-p", pid,
                "-c", control, "-R", persist, *self._modules(binary)]  # fmt: skip

    @staticmethod
    def _modules(binary: Path) -> list[str]:
        if not binary.is_relative_to(UNPACKED):
            return []
        [modules] = UNPACKED.glob("usr/lib/syslog-ng/[0-9]*")
        return ["--module-path", str(modules)]

    def _environment(self) -> dict[str, str]:
        folders = {str(path.parent) for path in UNPACKED.rglob("*.so*")}
        return {**os.environ, "LD_LIBRARY_PATH": ":".join(sorted(folders))}


class Request(msgspec.Struct, frozen=True):
    """One request that a webhook receiver saw."""

    path: str
    headers: dict[str, str]
    body: bytes


class WebhookReceiver:
    """A real HTTP server in a thread. `answers` are used up one a request; then it answers 204.

    An answer is (status, headers); None accepts the request and never answers.
    """

    def __init__(
        self,
        answers: list[tuple[int, dict[str, str]] | None] | None = None,
        *,
        tls: dict[str, Path] | None = None,
    ) -> None:
        self._scheme = "https" if tls else "http"
        self.answers = answers or []
        self.requests: list[Request] = []
        self.released = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.requests.append(Request(self.path, headers, body))
                answer = receiver.answers.pop(0) if receiver.answers else (204, {})
                if answer is None:
                    receiver.released.wait(WAIT_S)
                    self.close_connection = True
                    return
                status, extra = answer
                text = b"" if status == 204 else f"said {status}".encode()
                self.send_response(status)
                for name, value in extra.items():
                    self.send_header(name, value)
                if status != 204:
                    self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls["cert"], tls["key"])
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}/hook"

    def deliveries(self) -> list[str]:
        """Values of tacho-delivery in order of arrival."""
        return [request.headers["tacho-delivery"] for request in self.requests]

    def close(self) -> None:
        """Stop listening."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_S)
