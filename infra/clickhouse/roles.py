"""Least privilege on ClickHouse: roles and their grants, and row policies by tenant.

    python -m infra.clickhouse.roles | clickhouse-client
    python -m infra.clickhouse.roles --tenant acme | clickhouse-client

Users get a role by `GRANT tacho_analyst TO ann`, those of one tenant `tacho_analyst_acme`.
"""

import argparse
import re

from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.store.catalogue import TABLES
from tachograph.pipeline.verify.views import SHOWN

_NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
_EVIDENCE = ("leaves_log", "tree_heads_log", "holds_log")

# An analyst may set nothing: what is here holds.
LIMITS = {
    "readonly": 1,
    "max_execution_time": 60,
    "max_memory_usage": 2 << 30,
    "max_threads": 4,
    "max_result_rows": 5_000_000,
    "max_result_bytes": 1 << 30,
}


def grants() -> dict[str, list[str]]:
    """Role → what it may do, as `PRIVILEGES ON what`."""
    stored = [name for name in TABLES if name not in _EVIDENCE]
    expiring = [name for name, table in TABLES.items() if table.expires]
    return {
        # `tacho migrate`, by hand or at a start: nobody else makes or changes tables.
        "tacho_migrator": [
            "SELECT, INSERT, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP VIEW, ALTER"
            " ON tacho.*",
            "SELECT ON system.tables",
            "TABLE ENGINE ON *",
        ],
        # `tacho store`: no delete, no update, nothing of what proves the logs.
        "tacho_writer": [f"SELECT, INSERT ON tacho.{name}" for name in stored]
        + ["SELECT ON tacho.session_links", "SELECT ON tacho.migrations"],
        # `tacho notarize`: leaves and heads, and what retention takes.
        "tacho_notary": [
            *(f"SELECT, INSERT ON tacho.{name}" for name in _EVIDENCE),
            *(f"SELECT, ALTER DELETE ON tacho.{name}" for name in LOGS.values()),
            *(f"SELECT, ALTER TTL ON tacho.{name}" for name in expiring),
            "SELECT ON system.tables",
        ],
        "tacho_analyst": ["SELECT ON tacho.*"],
        # `tacho verify` and `tacho export`.
        "tacho_auditor": [
            f"SELECT ON tacho.{name}" for name in (*LOGS.values(), *_EVIDENCE, *SHOWN)
        ],
    }


def policies(tenant: str) -> dict[str, str]:
    """Table → the condition under which rows are shown to people of one tenant."""
    return {name: f"tenant = '{tenant}'" if _has_tenant(name) else "0" for name in TABLES}


def _has_tenant(table: str) -> bool:
    return any(column.name == "tenant" for column in TABLES[table].columns)


def statements() -> list[str]:
    """The roles, their grants, and the limits of those who only read."""
    found = []
    for role, rights in grants().items():
        found.append(f"CREATE ROLE IF NOT EXISTS {role}")
        found += [f"GRANT {right} TO {role}" for right in rights]
    limits = ", ".join(f"{name} = {value}" for name, value in LIMITS.items())
    found.append(
        f"CREATE SETTINGS PROFILE IF NOT EXISTS tacho_readers SETTINGS {limits}"
        " TO tacho_analyst, tacho_auditor"
    )
    return found


def statements_of(tenant: str) -> list[str]:
    """A role for analysts of one tenant. Raises ValueError for a name that is none."""
    if not _NAME.fullmatch(tenant):
        raise ValueError(f"{tenant!r} is no name of a tenant: letters, digits and _ only")
    role = f"tacho_analyst_{tenant}"
    found = [f"CREATE ROLE IF NOT EXISTS {role}", f"GRANT SELECT ON tacho.* TO {role}"]
    found += [
        f"CREATE ROW POLICY IF NOT EXISTS tacho_{tenant} ON tacho.{table} FOR SELECT"
        f" USING {condition} TO {role}"
        for table, condition in policies(tenant).items()
    ]
    return [
        *found,
        f"CREATE SETTINGS PROFILE IF NOT EXISTS tacho_readers_{tenant}"
        f" SETTINGS INHERIT 'tacho_readers' TO {role}",
    ]


def main() -> None:
    """Print the statements."""
    parser = argparse.ArgumentParser(description="Roles and row policies for ClickHouse, as SQL")
    parser.add_argument("--tenant", help="a role that sees the rows of this tenant only")
    tenant = parser.parse_args().tenant
    for statement in statements_of(tenant) if tenant else statements():
        print(f"{statement};")


if __name__ == "__main__":
    main()
