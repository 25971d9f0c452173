"""Settings from the environment, checked at start. Secrets may come from files (`…_FILE`)."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.tls import ClientTls

# Environment name → librdkafka property. Everything TLS and SASL passes through to every client.
_KAFKA_SECURITY = {
    "KAFKA_SECURITY_PROTOCOL": "security.protocol",
    "KAFKA_SASL_MECHANISM": "sasl.mechanism",
    "KAFKA_SASL_USERNAME": "sasl.username",
    "KAFKA_SASL_PASSWORD": "sasl.password",
    "KAFKA_SSL_CA_LOCATION": "ssl.ca.location",
    "KAFKA_SSL_CERTIFICATE_LOCATION": "ssl.certificate.location",
    "KAFKA_SSL_KEY_LOCATION": "ssl.key.location",
    "KAFKA_SSL_KEY_PASSWORD": "ssl.key.password",
    "KAFKA_SSL_ENDPOINT_IDENTIFICATION_ALGORITHM": "ssl.endpoint.identification.algorithm",
}
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

DOOR_PORT = 4318
CLICKHOUSE_PORT = 8123
MIN_SESSION_S, MAX_SESSION_S = 1.0, 300.0
# A broker answers as soon as there is a record, and each question without an answer costs it: with
# every stage asking twenty times a second, a quarter of a core. The stand-in keeps even one that it
# could answer, so it is asked often.
FETCH_WAIT_MS, STANDIN_FETCH_WAIT_MS = 250, 50
# Set where Kafka is the stand-in.
STANDIN_BROKER = "TACHO_STANDIN_BROKER"


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker is and how to be let in."""

    bootstrap: str
    security: dict[str, str] = {}
    # So long the broker waits for a reader that is not heard of before others get what it read.
    session_s: float = 10.0
    # So long the broker keeps a question for records where there are none; see `FETCH_WAIT_MS`.
    fetch_wait_ms: int = STANDIN_FETCH_WAIT_MS

    def client_config(self) -> dict[str, Any]:
        """librdkafka properties that every client of ours starts from."""
        return {"bootstrap.servers": self.bootstrap, **self.security}


class ClickHouseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where ClickHouse is and who we are there."""

    url: str
    user: str = "default"
    password: str = ""
    tls: ClientTls = ClientTls()


# In TACHO_HOME while `tacho up` runs on the stand-in: where its broker listens.
BROKER_FILE = "broker.address"
# In TACHO_HOME while `tacho up` runs: where its door listens.
DOOR_FILE = "door.address"
# In TACHO_HOME while an embedded ClickHouse serves what is in it: where it listens.
CLICKHOUSE_FILE = "clickhouse.address"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a stage is told from outside."""

    kafka: KafkaSettings
    clickhouse: ClickHouseSettings
    home: Path = Path(".tacho")
    tenant: str = "default"
    door_host: str = "127.0.0.1"
    door_port: int = DOOR_PORT

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """Read the environment. Raises ConfigError naming the variable and what it should be."""
        env = os.environ if environ is None else environ
        return cls(
            kafka=_kafka(env),
            clickhouse=ClickHouseSettings(
                url=env.get("CLICKHOUSE_URL", f"http://127.0.0.1:{CLICKHOUSE_PORT}"),
                user=env.get("CLICKHOUSE_USER", "default"),
                password=secret_of(env, "CLICKHOUSE_PASSWORD") or "",
                tls=ClientTls.from_env("CLICKHOUSE_", env),
            ),
            home=Path(env.get("TACHO_HOME", ".tacho")),
            tenant=env.get("TACHO_TENANT", "default"),
            door_host=env.get("TACHO_DOOR_HOST", "127.0.0.1"),
            door_port=_port(env, "TACHO_DOOR_PORT", DOOR_PORT),
        )

    @classmethod
    def beside_up(cls, environ: Mapping[str, str] | None = None) -> "Settings":
        """As from_env; with no Kafka named, the embedded broker of the `tacho up` that runs on the
        same TACHO_HOME.
        """
        env = os.environ if environ is None else environ
        place = Path(env.get("TACHO_HOME", ".tacho")) / BROKER_FILE
        if "KAFKA_BOOTSTRAP_SERVERS" not in env and place.is_file():
            found = place.read_text("ascii").strip()
            beside = {"KAFKA_BOOTSTRAP_SERVERS": found, STANDIN_BROKER: "1"}
            return cls.from_env({**env, **beside})
        return cls.from_env(env)


def door_beside_up(environ: Mapping[str, str] | None = None) -> str:
    """The door of the `tacho up` that runs on the same TACHO_HOME, else the one that a stage with
    this environment would open.
    """
    settings = Settings.from_env(environ)
    place = settings.home / DOOR_FILE
    if place.is_file():
        return place.read_text("ascii").strip()
    return f"http://127.0.0.1:{settings.door_port}"


def secret_of(env: Mapping[str, str], name: str) -> str | None:
    """The value of NAME, or the content of the file that NAME_FILE names."""
    if path := env.get(f"{name}_FILE"):
        try:
            return Path(path).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"{name}_FILE: cannot read {path}: {error.strerror}") from error
    return env.get(name)


def paths_of(env: Mapping[str, str], name: str) -> list[Path]:
    """The paths that NAME names, separated as PATH is."""
    return [Path(part) for part in env.get(name, "").split(os.pathsep) if part]


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, str(default))
    if not text.isdigit() or not 0 <= int(text) < 65_536:
        raise ConfigError(f"{name}: {text!r} is no port; give a number from 0 to 65535")
    return int(text)


def _kafka(env: Mapping[str, str]) -> KafkaSettings:
    security: dict[str, str] = {}
    for name, prop in _KAFKA_SECURITY.items():
        value = secret_of(env, name) if name.endswith("PASSWORD") else env.get(name)
        if value:
            security[prop] = value
    protocol = security.get("security.protocol", "PLAINTEXT")
    if protocol not in _PROTOCOLS:
        raise ConfigError(
            f"KAFKA_SECURITY_PROTOCOL: {protocol!r} is none of {', '.join(_PROTOCOLS)}"
        )
    bootstrap = env.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    return KafkaSettings(
        bootstrap=bootstrap,
        security=security,
        session_s=_session_s(env),
        fetch_wait_ms=STANDIN_FETCH_WAIT_MS if env.get(STANDIN_BROKER) else FETCH_WAIT_MS,
    )


def _session_s(env: Mapping[str, str]) -> float:
    text = env.get("KAFKA_SESSION_S", "10")
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not MIN_SESSION_S <= seconds <= MAX_SESSION_S:
        raise ConfigError(
            f"KAFKA_SESSION_S: {text!r} is not between {MIN_SESSION_S:.0f} and"
            f" {MAX_SESSION_S:.0f} seconds"
        )
    return seconds
