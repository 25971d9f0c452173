"""server.properties of a single KRaft node that is broker and controller at once."""

from pathlib import Path
from typing import Literal

from infra.kafka.security import Credentials

HOST = "127.0.0.1"
TimestampType = Literal["CreateTime", "LogAppendTime"]

# A node alone replicates nothing; few internal partitions and no wait for more members let it
# start, and its first consumer group form, quickly. Small buffers: it shares a small machine.
SINGLE_NODE = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "5",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "5",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
    "num.network.threads": "2",
    "num.io.threads": "4",
    # After kill -9 the node's own old registration must run out before it is let in again.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # A record that says nothing, for followers that it has not: twice a second costs 1 % of a core.
    "metadata.max.idle.interval.ms": "5000",
}
# ACLs decide for who logs in; who comes by the listener without a login is this machine's owner.
AUTHORIZED = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
    "allow.everyone.if.no.acl.found": "false",
}


def server_properties(
    *,
    data_dir: Path,
    port: int,
    controller_port: int,
    secure_port: int | None,
    credentials: Credentials | None,
    partitions: int,
    timestamp_type: TimestampType,
    authorized: bool = False,
) -> dict[str, str]:
    """Return the node's settings; `secure_port` and `credentials` come together or not at all."""
    listeners = {"PLAINTEXT": port, "CONTROLLER": controller_port}
    protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT"}
    secure: dict[str, str] = {}
    if secure_port is not None and credentials is not None:
        listeners["SECURE"] = secure_port
        protocols["SECURE"] = "SASL_SSL"
        secure = _secure_listener(credentials)
    addresses = {name: f"{name}://{HOST}:{number}" for name, number in listeners.items()}
    return {
        **SINGLE_NODE,
        "listeners": ",".join(addresses.values()),
        "advertised.listeners": ",".join(a for n, a in addresses.items() if n != "CONTROLLER"),
        "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, p in protocols.items()),
        "controller.quorum.voters": f"1@{HOST}:{controller_port}",
        "log.dirs": str(data_dir),
        "num.partitions": str(partitions),
        "log.message.timestamp.type": timestamp_type,
        **secure,
        **(AUTHORIZED if authorized else {}),
    }


def _secure_listener(credentials: Credentials) -> dict[str, str]:
    listener = "listener.name.secure"
    modules = "org.apache.kafka.common.security"
    user = f'user_{credentials.username}="{credentials.password}"'
    return {
        f"{listener}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
        f"{listener}.scram-sha-512.sasl.jaas.config": f"{modules}.scram.ScramLoginModule required;",
        f"{listener}.plain.sasl.jaas.config": f"{modules}.plain.PlainLoginModule required {user};",
        f"{listener}.ssl.keystore.type": "PKCS12",
        f"{listener}.ssl.keystore.location": str(credentials.keystore_path),
        f"{listener}.ssl.keystore.password": credentials.keystore_password,
    }


def render(properties: dict[str, str]) -> str:
    """Return the text of a Java properties file."""
    return "".join(f"{name}={_escape(value)}\n" for name, value in properties.items())


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n")
