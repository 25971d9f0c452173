"""A topic of the customer's own Kafka, keyed by alert id, so that the order of an alert is kept."""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.forward import destination
from tachograph.pipeline.forward.destination import Outgoing, Secret
from tachograph.pipeline.kafka.reader import SILENT

TYPE = "kafka"
FORMATS = ("ndjson", "ocsf", "ecs", "otlp", "cef", "leef")

_NEVER = frozenset(
    {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG, KafkaError.INVALID_RECORD}
)
_MAX_RECORD_BYTES = 1_000_000


class Options(destination.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of `type = "kafka"`; the secret is the password of `username`."""

    bootstrap_servers: str
    topic: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,249}$")]
    security_protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str | None = None
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    deadline_s: Annotated[float, msgspec.Meta(gt=0, le=25)] = 20.0

    def problems(self, secret: Secret | None) -> list[str]:
        """What is wrong with the way in."""
        found = []
        if self.security_protocol.startswith("sasl") != bool(self.username and secret):
            found.append("username and a secret go with a security_protocol that begins with sasl")
        if bool(self.cert_file) != bool(self.key_file):
            found.append("cert_file and key_file go together")
        return found


def open(options: Options, secret: Secret | None) -> "Kafka":  # noqa: A001 - name of the seam
    """A producer from checked options. Raises ConfigError when librdkafka does not take them."""
    return Kafka(options, secret)


def render_options(options: Options) -> dict[str, Any]:
    """Nothing: formats of a topic need no help."""
    del options
    return {}


class Kafka:
    """An idempotent producer of its own; a batch counts when every replica in sync has it."""

    batch_records = 100
    batch_bytes = 8_000_000

    def __init__(self, options: Options, secret: Secret | None) -> None:
        self._options, self._config = options, _config(options, secret)
        self._producer: Producer | None = self._open()

    def deliver(self, records: Sequence[Outgoing]) -> str:
        """Produce the records and wait for all; see `Destination.deliver`."""
        failed: list[KafkaError] = []

        def done(error: KafkaError | None, _message: Message) -> None:
            if error is not None:
                failed.append(error)

        producer = self._producer = self._producer or self._open()
        end = time.monotonic() + self._options.deadline_s
        try:
            for record in records:
                producer.produce(
                    self._options.topic,
                    record.body,
                    record.key.rpartition(":")[0].encode("utf-8", "replace"),
                    on_delivery=done,
                    headers=_headers(record),
                )
        except (KafkaException, BufferError) as error:
            self._give_up()
            raise _mapped(error.args[0]) from error
        while producer.flush(0.2) > 0 and not failed and time.monotonic() < end:
            pass
        if len(producer) or failed:
            # What is still under way must not arrive behind its own repeat.
            self._give_up()
        if failed:
            raise _mapped(next((e for e in failed if e.code() not in _NEVER), failed[0]))
        if self._producer is None:
            raise RetryLater(f"not acknowledged within {self._options.deadline_s:g} s")
        return f"{len(records)} records acknowledged in {self._options.topic}"

    def close(self) -> None:
        """Give up what is under way."""
        self._give_up()

    def _open(self) -> Producer:
        try:
            return Producer(self._config)
        except (KafkaException, ValueError) as error:
            raise ConfigError(f"kafka: {error}") from error

    def _give_up(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge(in_queue=True, in_flight=True, blocking=False)
            producer.flush(0.1)


def _headers(record: Outgoing) -> list[tuple[str, str | bytes | None]]:
    return [
        ("content-type", record.content_type.encode()),
        ("tacho-delivery", record.key.encode("utf-8", "replace")),
    ]


def _mapped(error: Any) -> RetryLater | Refused:
    if isinstance(error, KafkaError) and error.code() in _NEVER:
        return Refused(error.str())
    return RetryLater(error.str() if isinstance(error, KafkaError) else str(error))


def _config(options: Options, secret: Secret | None) -> dict[str, Any]:
    given = {
        "ssl.ca.location": options.ca_file,
        "ssl.certificate.location": options.cert_file,
        "ssl.key.location": options.key_file,
    }
    if options.username and secret is not None:
        given["sasl.mechanism"] = options.sasl_mechanism
        given["sasl.username"] = options.username
        given["sasl.password"] = secret.reveal()
    return {
        "bootstrap.servers": options.bootstrap_servers,
        "security.protocol": options.security_protocol,
        **{name: value for name, value in given.items() if value},
        "enable.idempotence": True,
        "acks": "all",
        "compression.type": "zstd",
        "linger.ms": 5,
        "message.max.bytes": _MAX_RECORD_BYTES * 2,
        "delivery.timeout.ms": int(options.deadline_s * 1_000),
        "logger": SILENT,
    }
