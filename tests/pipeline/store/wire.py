"""A TCP relay that can go bad: between the stage and ClickHouse, to be a server on a bad day."""

import contextlib
import socket
import threading
from types import TracebackType
from typing import Literal, Self

# pass: as if it were not there. swallow: take everything, answer nothing. deaf: let the request
# through and lose the answer. closed: end every connection at once.
Mode = Literal["pass", "swallow", "deaf", "closed"]


class Relay:
    """Listens on a port of its own and relays to `target`; `mode` may be changed at any time."""

    def __init__(self, target: str, mode: Mode = "pass") -> None:
        host, port = target.removeprefix("http://").split(":")
        self._target, self.mode = (host, int(port)), mode
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            if self.mode == "closed":
                return
            server: socket.socket | None = None
            while data := client.recv(1 << 16):
                if self.mode == "swallow":
                    continue
                if server is None:
                    server = socket.create_connection(self._target)
                    threading.Thread(
                        target=self._answer, args=(server, client), daemon=True
                    ).start()
                server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with server, contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if self.mode == "pass":
                    client.sendall(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.close()
