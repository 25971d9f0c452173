"""Least privilege on ClickHouse: roles and their grants, and row policies by tenant.

    python -m infra.clickhouse.roles | clickhouse-client
    python -m infra.clickhouse.roles --tenant acme | clickhouse-client

Users get a role by `GRANT tacho_analyst TO ann`, those of one tenant `tacho_analyst_acme`.
`--sharded` is for the tables of `tacho migrate --sharded`: a shard asks as the user who asked, so
what he may do there is said of the tables that hold the rows too.
"""

import argparse
import re
from collections.abc import Iterable

from tachograph.pipeline.notarize.leaves import LOGS
from tachograph.pipeline.store.catalogue import TABLES, VIEWS
from tachograph.pipeline.store.shards import LOCAL
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


# A subquery over shards in another is refused unless what it finds is handed to all of them.
_OF_SHARDS = {"distributed_product_mode": "'global'"}


def grants(*, sharded: bool = False) -> dict[str, list[str]]:
    """Role → what it may do, as `PRIVILEGES ON what`."""
    stored = _asked((name for name in TABLES if name not in _EVIDENCE), sharded=sharded)
    expiring = [name for name, table in TABLES.items() if table.expires]
    everywhere = ["CLUSTER ON *.*"] if sharded else []
    return {
        # `tacho migrate`, by hand or at a start: nobody else makes or changes tables.
        "tacho_migrator": [
            "SELECT, INSERT, CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP VIEW, ALTER"
            " ON tacho.*",
            "SELECT ON system.tables",
            "TABLE ENGINE ON *",
            *everywhere,
        ],
        # `tacho store`: no delete, no update, nothing of what proves the logs.
        "tacho_writer": [f"SELECT, INSERT ON tacho.{name}" for name in stored]
        + ["SELECT ON tacho.session_links", "SELECT ON tacho.migrations"],
        # `tacho notarize`: leaves and heads, and what retention takes.
        "tacho_notary": [
            *(f"SELECT, INSERT ON tacho.{name}" for name in _asked(_EVIDENCE, sharded=sharded)),
            *_altering("DELETE", LOGS.values(), sharded=sharded),
            *_altering("TTL", expiring, sharded=sharded),
            "SELECT ON system.tables",
            *everywhere,
        ],
        "tacho_analyst": ["SELECT ON tacho.*"],
        # `tacho verify` and `tacho export`.
        "tacho_auditor": [
            f"SELECT ON tacho.{name}"
            for name in (*_asked((*LOGS.values(), *_EVIDENCE), sharded=sharded), *SHOWN)
        ],
    }


def _held(table: str, *, sharded: bool) -> str:
    """The table that holds the rows."""
    return table + LOCAL if sharded else table


def _asked(tables: Iterable[str], *, sharded: bool) -> list[str]:
    """Tables that are read and written by their names, and those that then do it on a shard."""
    names = list(tables)
    return [*names, *(_held(name, sharded=True) for name in names)] if sharded else names


def _altering(what: str, tables: Iterable[str], *, sharded: bool) -> list[str]:
    names = list(tables)
    reads = [f"SELECT ON tacho.{name}" for name in names] if sharded else []
    rights = [f"SELECT, ALTER {what} ON tacho.{_held(name, sharded=sharded)}" for name in names]
    return [*reads, *rights]


def shown(*, sharded: bool = False) -> list[str]:
    """What an analyst of one tenant may do. By name: a table that a later version brings has no
    policy yet, and without one all its rows are shown.
    """
    return [f"SELECT ON tacho.{name}" for name in (*_asked(TABLES, sharded=sharded), *VIEWS)]


def policies(tenant: str, *, sharded: bool = False) -> dict[str, str]:
    """Table → the condition under which rows are shown to people of one tenant."""
    return {
        _held(name, sharded=sharded): f"tenant = '{tenant}'" if _has_tenant(name) else "0"
        for name in TABLES
    }


def _has_tenant(table: str) -> bool:
    return any(column.name == "tenant" for column in TABLES[table].columns)


def statements(*, sharded: bool = False) -> list[str]:
    """The roles, their grants, and the limits of those who only read."""
    found = []
    for role, rights in grants(sharded=sharded).items():
        found.append(f"CREATE ROLE IF NOT EXISTS {role}")
        found += [f"GRANT {right} TO {role}" for right in rights]
    settings = {**LIMITS, **(_OF_SHARDS if sharded else {})}
    limits = ", ".join(f"{name} = {value}" for name, value in settings.items())
    found.append(
        f"CREATE SETTINGS PROFILE IF NOT EXISTS tacho_readers SETTINGS {limits}"
        " TO tacho_analyst, tacho_auditor"
    )
    return found


def statements_of(tenant: str, *, sharded: bool = False) -> list[str]:
    """A role for analysts of one tenant. Raises ValueError for a name that is none."""
    if not _NAME.fullmatch(tenant):
        raise ValueError(f"{tenant!r} is no name of a tenant: letters, digits and _ only")
    role = f"tacho_analyst_{tenant}"
    all_of_it = "SELECT ON tacho.*"
    found = [f"CREATE ROLE IF NOT EXISTS {role}", f"REVOKE {all_of_it} FROM {role}"]
    found += [f"GRANT {right} TO {role}" for right in shown(sharded=sharded)]
    found += [
        f"CREATE ROW POLICY IF NOT EXISTS tacho_{tenant} ON tacho.{table} FOR SELECT"
        f" USING {condition} TO {role}"
        for table, condition in policies(tenant, sharded=sharded).items()
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
    parser.add_argument(
        "--sharded", action="store_true", help="for the tables of `tacho migrate --sharded`"
    )
    said = parser.parse_args()
    tenant, sharded = said.tenant, said.sharded
    for one in statements_of(tenant, sharded=sharded) if tenant else statements(sharded=sharded):
        print(f"{one};")


if __name__ == "__main__":
    main()
