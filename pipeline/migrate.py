"""`tacho migrate`: brings ClickHouse's tables to what this version writes and reads.

Migrations are the numbered files of schemas/clickhouse/. Each runs once and is noted in
tacho.migrations with its hash; a file that was changed after it ran is refused. Every statement can
be run twice (IF NOT EXISTS, OR REPLACE), so two processes that migrate at the same time do no harm:
they do the same thing, and the first note holds.
"""

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from string import Template

import msgspec

from tachograph.pipeline.errors import ConfigError, Refused, RetryLater
from tachograph.pipeline.log import get
from tachograph.pipeline.query.place import own_store, served
from tachograph.pipeline.retention.classes import DEFAULT_DAYS, Retention, retention_from
from tachograph.pipeline.settings import Settings
from tachograph.pipeline.store.catalogue import TABLES
from tachograph.pipeline.store.clickhouse import Connection, new_enough
from tachograph.pipeline.store.columns import quoted
from tachograph.pipeline.store.shards import LOCAL, sharded
from tachograph.pipeline.store.tables_actions import PARTITIONS

log = get("migrate")

WAIT_FOR_SERVER_S = 60.0
# Of a statement that reads what is stored already; of actions a partition at a time.
FILL_TIMEOUT_S = 580
ANSWER_TIMEOUT_S = 600
_ALL_ACTIONS = re.compile(r"\nFROM tacho\.actions_data\n(?:WHERE (.*)\Z|(?=GROUP BY ))")
_OF_STORED = re.compile(r"\AALTER TABLE tacho\.\w+ [^\n]*\s+MATERIALIZE INDEX ")
_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_SHARDED = "TACHO_CLICKHOUSE_SHARDED"
_YES, _NO = ("1", "true", "yes"), ("0", "false", "no")
_NAME = re.compile(r"[A-Za-z0-9_.{}-]{1,128}")
_RETENTION = re.compile(r"toIntervalDay\((\d+)\)( WHERE )?")
# A string, a quoted name, a comment, or the end of a statement.
_TOKEN = re.compile(
    r"""'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|"(?:\\.|[^"\\])*"|--[^\n]*|/\*.*?\*/|;""", re.DOTALL
)


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How tables are laid out on the servers, and how long rows stay.

    With a cluster tables are replicated; `sharded`: and their rows parted among its shards.
    """

    days: int = DEFAULT_DAYS
    cluster: str = ""
    sharded: bool = False
    retention: Retention | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Layout":
        """Read TACHO_RETENTION_DAYS, TACHO_RETENTION, TACHO_CLICKHOUSE_CLUSTER and
        TACHO_CLICKHOUSE_SHARDED. Raises ConfigError.
        """
        retention = retention_from(environ)
        cluster = environ.get("TACHO_CLICKHOUSE_CLUSTER", "")
        if cluster and not _NAME.fullmatch(cluster):
            raise ConfigError(f"TACHO_CLICKHOUSE_CLUSTER: {cluster!r} is no name of a cluster")
        parted = environ.get(_SHARDED, "").lower()
        if parted not in ("", *_YES, *_NO):
            raise ConfigError(f"{_SHARDED}: {parted!r} is neither true nor false")
        if parted in _YES and not cluster:
            raise ConfigError(f"{_SHARDED}: of which cluster? Name it: TACHO_CLICKHOUSE_CLUSTER")
        return cls(
            days=retention.days, cluster=cluster, sharded=parted in _YES, retention=retention
        )

    def days_of(self, table: str) -> int:
        """How long rows of a table stay."""
        return self.retention.of_table(table) if self.retention else self.days

    def fill(self, text: str) -> str:
        """The text of a migration for a server, or for one shard of a cluster."""
        return Template(text).substitute(
            days=self.days,
            on_cluster=self.on_cluster,
            replicated="Replicated" if self.cluster else "",
        )

    @property
    def on_cluster(self) -> str:
        """The clause of statements that every server of the cluster runs."""
        return f"ON CLUSTER {quoted(self.cluster)}" if self.cluster else ""

    def holder(self, table: str) -> str:
        """The table that holds the rows of this one: what is changed when it is about rows."""
        return table + LOCAL if self.sharded else table

    def statements(self, text: str) -> list[str]:
        """The statements of a migration for this layout. Raises ConfigError."""
        each = statements(self.fill(text))
        if not self.sharded:
            return list(each)
        return [one for statement in each for one in sharded(statement, self.cluster)]

    def shown(self, text: str) -> str:
        """A migration for this layout, to read. Raises ConfigError."""
        if not self.sharded:
            return self.fill(text)
        return "\n".join(f"{statement};\n" for statement in self.statements(text))


class Migration(msgspec.Struct, frozen=True):
    """One file."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Hash of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(folder: Traversable | None = None) -> list[Migration]:
    """All migrations in order.

    Raises ConfigError when numbers are missing, repeated or a name is odd.
    """
    place = folder or resources.files("tachograph.schemas") / "clickhouse"
    names = sorted(item.name for item in place.iterdir() if item.name.endswith(".sql"))
    found = []
    for expected, name in enumerate(names, start=1):
        match = _FILE.fullmatch(name)
        if not match or int(match[1]) != expected:
            raise ConfigError(f"migration {name}: expected number {expected:04d}, once each")
        found.append(Migration(expected, name, (place / name).read_text(encoding="utf-8")))
    return found


def statements(text: str) -> Iterator[str]:
    """The statements of a file; semicolons in strings, names and comments do not part them."""
    begin = 0
    kept: list[str] = []
    for token in _TOKEN.finditer(text):
        kept.append(text[begin : token.start()])
        begin = token.end()
        if token[0] == ";":
            yield from _spoken(kept)
            kept = []
        elif not token[0].startswith(("--", "/*")):
            kept.append(token[0])
    yield from _spoken([*kept, text[begin:]])


def _spoken(pieces: list[str]) -> Iterator[str]:
    if statement := "".join(pieces).strip():
        yield statement


def apply(
    connection: Connection,
    layout: Layout,
    known: list[Migration] | None = None,
    *,
    ran: set[tuple[int, int]] | None = None,
) -> list[str]:
    """Apply what is missing; names of the files applied. `ran`: what need not run again, and what
    has run, so that who tries again goes on where it broke off.

    Raises Refused for a changed past file, ConfigError for an old server or another layout,
    RetryLater.
    """
    new_enough(str(connection.rows("SELECT version()")[0][0]))
    _as_laid_out(connection, layout)
    known = migrations() if known is None else known
    done = _applied(connection)
    for migration in known:
        _unchanged(migration, done)
    if newer := sorted(set(done) - {migration.number for migration in known}):
        log.warning("the database is newer than this program", unknown_migrations=newer)
    missing = [migration for migration in known if migration.number not in done]
    ran = set() if ran is None else ran
    for migration in missing:
        for at, piece in enumerate(
            piece for one in layout.statements(migration.text) for piece in pieces(one)
        ):
            if (migration.number, at) not in ran:
                connection.command(piece)
                ran.add((migration.number, at))
        connection.command(
            "INSERT INTO tacho.migrations (number, name, sha256) VALUES"  # noqa: S608 - quoted
            f" ({migration.number}, {quoted(migration.name)}, {quoted(migration.sha256)})"
        )
        log.info("migrated", file=migration.name)
    _keep_for(connection, layout)
    return [migration.name for migration in missing]


def pieces(statement: str) -> Iterator[str]:
    """A statement, or what it is put together from where it reads all actions: a piece for each
    partition, so that none takes longer than a week of actions does. An index of what is stored
    is made in the background. What fills a table may take longer than other statements.
    """
    if _OF_STORED.search(statement):
        yield f"{statement}\nSETTINGS mutations_sync = 0"
        return
    if not statement.startswith("INSERT INTO "):
        yield statement
        return
    limit = f"SETTINGS max_execution_time = {FILL_TIMEOUT_S}"
    found = _ALL_ACTIONS.search(statement)
    if not found:
        yield f"{statement}\n{limit}"
        return
    head, tail = statement[: found.start()], statement[found.end() :]
    among = f" AND ({found[1]})" if found[1] else ""
    for number in range(PARTITIONS):
        yield (
            f"{head}\nFROM tacho.actions_data\nWHERE _partition_id = '{number}'{among}\n"
            f"{tail}\n{limit}"
        )


def _as_laid_out(connection: Connection, layout: Layout) -> None:
    """Rows that are there do not move: raises ConfigError where tables are laid out otherwise."""
    rows = connection.rows(
        "SELECT name, engine = 'Distributed' FROM system.tables WHERE database = 'tacho'"
    )
    if any(name in TABLES and bool(spread) != layout.sharded for name, spread in rows):
        there = "are not sharded" if layout.sharded else "are sharded"
        raise ConfigError(
            f"{_SHARDED}: the tables that are there {there}; to change it: tacho backup --all,"
            " an empty database, tacho restore"
        )


def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    """Number → (name, hash) of what was applied."""
    there = connection.rows(
        "SELECT 1 FROM system.tables WHERE database = 'tacho' AND name = 'migrations'"
    )
    if not there:
        return {}
    rows = connection.rows("SELECT number, name, sha256 FROM tacho.migrations FINAL")
    return {int(number): (str(name), str(sha256)) for number, name, sha256 in rows}


def _unchanged(migration: Migration, done: dict[int, tuple[str, str]]) -> None:
    name, sha256 = done.get(migration.number, (migration.name, migration.sha256))
    if sha256 != migration.sha256:
        raise Refused(
            f"migration {migration.name} was changed after it had been applied (as {name});"
            " put it back as it was and write a new migration"
        )


def _keep_for(connection: Connection, layout: Layout) -> None:
    """Change the retention of tables that were created with another one."""
    rows = connection.rows(
        "SELECT name, create_table_query FROM system.tables WHERE database = 'tacho'"
    )
    base = {layout.holder(table): table for table in TABLES}
    for name, text in rows:
        days = _RETENTION.search(text)
        # What is held is known to the notary: it alone changes the lifetime of such a table.
        if name not in base or not days or days[2] or int(days[1]) == layout.days_of(base[name]):
            continue
        connection.command(
            f"ALTER TABLE tacho.{name} {layout.on_cluster}"
            f" MODIFY TTL stored_at + toIntervalDay({layout.days_of(base[name])})"
        )
        log.info("retention changed", table=name, days=layout.days_of(base[name]))


def apply_migrations(
    settings: Settings,
    layout: Layout | None = None,
    *,
    wait_s: float = WAIT_FOR_SERVER_S,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> list[str]:
    """Apply what is missing, waiting for a server that is not there yet; names of the files.

    Raises Refused, RetryLater.
    """
    layout = layout or Layout.from_env(os.environ)
    end = clock() + wait_s
    ran: set[tuple[int, int]] = set()
    while True:
        before = len(ran)
        try:
            with Connection(settings.clickhouse, answer_timeout_s=ANSWER_TIMEOUT_S) as connection:
                return apply(connection, layout, ran=ran)
        except RetryLater as problem:
            if len(ran) > before:
                end = clock() + wait_s
            if clock() >= end:
                raise
            log.warning("waiting for ClickHouse", reason=str(problem))
            sleep(1.0)


def migrate(cluster: str = "", *, parted: bool = False, show: bool = False) -> None:
    """Create or update ClickHouse's tables; harmless to repeat. `parted`: sharded. `show`: print
    the statements of all migrations and do nothing. Raises ConfigError, Refused, RetryLater.
    """
    named = {"TACHO_CLICKHOUSE_CLUSTER": cluster, _SHARDED: "1" if parted else ""}
    layout = Layout.from_env({**os.environ, **{name: said for name, said in named.items() if said}})
    if show:
        for migration in migrations():
            sys.stdout.write(f"-- {migration.name}\n{layout.shown(migration.text)}\n")
        return
    settings = Settings.from_env()
    if not layout.cluster and own_store(settings):
        sys.stdout.write(f"{_of_own_store(settings)}\n")
        return
    applied = apply_migrations(settings, layout)
    told = "\n".join(f"applied {name}" for name in applied)
    sys.stdout.write(f"{told or 'nothing to do'}\n")


def _of_own_store(settings: Settings) -> str:
    """What is to say of the store of this home: whoever serves it makes its tables when it starts,
    and lets nobody else. Raises ConfigError where that was an older version.
    """
    with served(settings) as place, Connection(place, reads_only=True) as connection:
        done = _applied(connection)
    missing = [one.name for one in migrations() if one.number not in done]
    if missing:
        raise ConfigError(
            f"the ClickHouse of {settings.home} was started by an older version and lacks"
            f" {', '.join(missing)}: stop what runs it and start it again, which makes them"
        )
    return f"nothing to do: the tables of {settings.home} are made by what serves them"
