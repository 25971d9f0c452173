"""ACLs of our topics, from `acls.toml`: applied to a cluster, or printed for kafka-acls.sh.

    python -m infra.kafka.acls --print
    python -m infra.kafka.acls --principal notarize=User:CN=notary

It logs in as KAFKA_… of the environment says, which must be somebody who may alter ACLs. A role's
principal is `User:tacho-ROLE` unless it is named.
"""

import argparse
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tachograph.pipeline.settings import Settings

FILE = Path(__file__).with_name("acls.toml")
TIMEOUT_S = 30.0


def roles() -> dict[str, dict[str, list[str]]]:
    """What the file says, by role."""
    return tomllib.loads(FILE.read_text("utf-8"))


def bindings(principals: Mapping[str, str] | None = None) -> Iterator[AclBinding]:
    """Every ACL; `principals`: role → principal, where it is another than User:tacho-ROLE."""
    named = principals or {}
    for role, rights in roles().items():
        who = named.get(role, f"User:tacho-{role}")
        for topic in sorted({*rights["read"], *rights["write"]}):
            yield _allow(who, ResourceType.TOPIC, topic, AclOperation.DESCRIBE)
        for topic in rights["read"]:
            yield _allow(who, ResourceType.TOPIC, topic, AclOperation.READ)
        for topic in rights["write"]:
            yield _allow(who, ResourceType.TOPIC, topic, AclOperation.WRITE)
        for group in rights["groups"]:
            yield _allow(who, ResourceType.GROUP, group, AclOperation.READ)


def _allow(who: str, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
    pattern = ResourcePatternType.PREFIXED if name.endswith("*") else ResourcePatternType.LITERAL
    return AclBinding(
        kind, name.removesuffix("*"), pattern, who, "*", operation, AclPermissionType.ALLOW
    )


def apply(admin: AdminClient, principals: Mapping[str, str] | None = None) -> int:
    """Create the ACLs; how many. Raises KafkaException."""
    futures = admin.create_acls(list(bindings(principals)), request_timeout=TIMEOUT_S)
    for future in futures.values():
        future.result(TIMEOUT_S)
    return len(futures)


def command(acl: AclBinding) -> str:
    """The ACL as a line for kafka-acls.sh."""
    kind = ResourceType(acl.restype).name.lower()
    prefixed = acl.resource_pattern_type == ResourcePatternType.PREFIXED
    pattern = " --resource-pattern-type prefixed" if prefixed else ""
    operation = AclOperation(acl.operation).name.capitalize()
    return (
        "kafka-acls.sh --bootstrap-server $BOOTSTRAP --command-config $CONFIG --add"
        f" --allow-principal '{acl.principal}' --operation {operation}"
        f" --{kind} '{acl.name}'{pattern}"
    )


def main() -> None:
    """Apply, or print."""
    parser = argparse.ArgumentParser(description="ACLs of the topics, by role")
    parser.add_argument("--print", action="store_true", help="lines for kafka-acls.sh")
    parser.add_argument(
        "--principal", action="append", default=[], metavar="ROLE=PRINCIPAL",
        help="another principal than User:tacho-ROLE",
    )  # fmt: skip
    options = parser.parse_args()
    named = dict(pair.split("=", 1) for pair in options.principal)
    if unknown := named.keys() - roles().keys():
        parser.error(f"no role {', '.join(sorted(unknown))}; there are {', '.join(roles())}")
    if options.print:
        print("\n".join(command(acl) for acl in bindings(named)))
        return
    admin = AdminClient(Settings.from_env().kafka.client_config())
    print(f"{apply(admin, named)} ACLs of {len(roles())} roles are in force")


if __name__ == "__main__":
    main()
