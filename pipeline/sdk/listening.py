"""How directives reach an agent: from the door as a stream of events, or straight from Kafka.

Each way is an endless iterator of raw directives, and of None where there was nothing for a moment,
so that who walks through it can look whether to stop. Used by one thread.
"""

import http.client
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from typing import Any, Final, Protocol
from urllib.parse import quote, urlsplit

import msgspec
from confluent_kafka import Consumer, KafkaException, TopicPartition

from tachograph.pipeline.sdk.kafka import SILENT
from tachograph.pipeline.sdk.signing import key_of
from tachograph.pipeline.sdk.transport import tls_of

TOPIC: Final = "agent.control"
MAX_LINE_BYTES: Final = 262_144
MAX_ANSWER_BYTES: Final = 65_536
# The door gives a sign of life every 15 s.
SILENCE_S: Final = 40.0
POLL_S: Final = 0.2


class Listening(Protocol):
    """A way directives come. Both may block for a while; both raise OSError when it breaks off."""

    def directives(self) -> Iterator[bytes | None]:
        """Those in force first, then what comes. Ends when the other side hangs up."""

    def keys(self) -> dict[str, bytes]:
        """Public keys by id, as the other side gives them out; empty when it gives none."""

    def close(self) -> None:
        """Break off; called from another thread."""


class DoorListening:
    """From a door: `GET /v1/directives`."""

    def __init__(self, endpoint: str, token: str | None, agent_id: str) -> None:
        parts = urlsplit(endpoint)
        self._host, self._port = parts.hostname or "", parts.port
        self._tls = tls_of(parts.scheme)
        self._prefix = parts.path.rstrip("/")
        self._path = f"/v1/directives?agent_id={quote(agent_id, safe='')}"
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._connection: http.client.HTTPConnection | None = None

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=timeout_s)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=timeout_s, context=self._tls
        )

    def _asked(self, connection: http.client.HTTPConnection, path: str) -> http.client.HTTPResponse:
        try:
            connection.request("GET", self._prefix + path, headers=self._headers)
            answer = connection.getresponse()
        except http.client.HTTPException as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        if answer.status != 200:
            raise OSError(f"the door answered {answer.status} to {path.partition('?')[0]}")
        return answer

    def directives(self) -> Iterator[bytes | None]:
        """See Listening."""
        with closing(self._connected(SILENCE_S)) as connection:
            self._connection = connection
            answer = self._asked(connection, self._path)
            try:
                while line := answer.readline(MAX_LINE_BYTES):
                    yield line[5:].strip() if line.startswith(b"data:") else None
            except (http.client.HTTPException, ValueError, AttributeError) as error:
                # AttributeError: the connection was closed from another thread.
                raise OSError(f"{type(error).__name__}: {error}") from error

    def keys(self) -> dict[str, bytes]:
        """See Listening."""
        with closing(self._connected(10.0)) as connection:
            try:
                content = self._asked(connection, "/v1/keys").read(MAX_ANSWER_BYTES)
                return {
                    key["key_id"]: key_of(key["public_key"])
                    for key in msgspec.json.decode(content)["keys"]
                }
            except (http.client.HTTPException, ValueError, KeyError, TypeError) as error:
                raise OSError(f"the door gave no keys: {type(error).__name__}") from error

    def close(self) -> None:
        """See Listening."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.sock is not None:
            # Closing alone would leave a read in another thread where it is.
            with suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)


class KafkaListening:
    """From Kafka itself, out of the agent's partition of agent.control, in no group's turn."""

    def __init__(self, config: Mapping[str, Any], tenant: str, agent_id: str) -> None:
        self._config = {
            "client.id": "tacho.sdk",
            # The broker's rights ask for a name; nothing is committed.
            "group.id": f"agent.{tenant}.{agent_id}"[:200],
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "logger": SILENT,
            **config,
        }
        self._key = f"{tenant}/{agent_id}"
        self._closed = False

    def directives(self) -> Iterator[bytes | None]:
        """See Listening."""
        from tachograph.schemas.identity import partition_of

        consumer = Consumer(self._config)
        try:
            found = consumer.list_topics(TOPIC, timeout=10.0).topics[TOPIC]
            if found.error is not None or not found.partitions:
                raise OSError(f"{TOPIC} is not there yet")
            place = partition_of(self._key, len(found.partitions))
            consumer.assign([TopicPartition(TOPIC, place, -2)])
            while not self._closed:
                message = consumer.poll(POLL_S)
                error = message.error() if message is not None else None
                if error is not None:
                    raise OSError(error.str())
                mine = message is not None and message.key() == self._key.encode()
                yield message.value() if message is not None and mine else None
        except KafkaException as error:
            raise OSError(error.args[0].str()) from error
        finally:
            consumer.close()

    def keys(self) -> dict[str, bytes]:
        """See Listening. Kafka gives none out: they are given to the agent."""
        return {}

    def close(self) -> None:
        """See Listening."""
        self._closed = True
