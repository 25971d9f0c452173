"""A statement of one server as those of a cluster whose rows are parted among shards. Pure.

Each table X becomes X_local, which holds the rows of one shard and is replicated within it, and X
over it (Distributed), which everybody reads and writes by the name they know; views stay as they
are. The shard is chosen by a hash of what the table is sorted by: copies of one row are equal in
it, so they meet on one shard and FINAL shows the one that holds.
"""

import re
from collections.abc import Iterator

from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.store.columns import quoted

LOCAL = "_local"
# What every server of the cluster has whole: which migrations ran.
EVERYWHERE = frozenset({"migrations"})
_OF_SHARD = ("/clickhouse/tables/{uuid}/{shard}", "{replica}")
# One path for all shards, so a replica's name must be told apart beyond its shard.
_OF_ALL = ("/clickhouse/tables/{uuid}/all", "{shard}-{replica}")

# What fills a table at once goes over all shards.
_UNCHANGED = re.compile(r"CREATE (DATABASE IF NOT EXISTS|OR REPLACE VIEW) |INSERT INTO ")
_FEED = re.compile(r"CREATE MATERIALIZED VIEW ")
_FED = re.compile(r"\n(TO|FROM) (tacho\.\w+)(?=\n)")
_ENDS_OF_A_FEED = 2
_CREATE = re.compile(r"(CREATE TABLE IF NOT EXISTS tacho\.)(\w+)(?= )")
_DROP = re.compile(r"(DROP TABLE IF EXISTS tacho\.)(\w+)(?= )")
_ALTER = re.compile(r"ALTER TABLE tacho\.(\w+) (ON CLUSTER '(?:\\.|[^'\\])*')\s+(.*)", re.DOTALL)
_ENGINE = re.compile(r"\nENGINE = (Replicated\w*MergeTree)(?:\((\w+)\))?\n")
_SORTED_BY = re.compile(r"\nORDER BY \(?(\w+(?:, \w+)*)\)?\n")
_COMMENT = re.compile(r"\nCOMMENT '(?:\\.|''|[^'\\])*'$")
# What a table over shards takes too, and what only concerns how rows are stored.
_OF_COLUMNS = re.compile(r"(ADD|MODIFY(?! COLUMN `\w+` CODEC\()|COMMENT|RENAME|DROP) COLUMN ")
_OF_STORAGE = re.compile(
    r"(ADD|DROP|MATERIALIZE) INDEX |MODIFY (ORDER BY|TTL|SETTING|COLUMN `\w+` CODEC\()"
)
_TOKEN = re.compile(r"""'(?:\\.|''|[^'\\])*'|`(?:\\.|[^`\\])*`|"(?:\\.|[^"\\])*"|[(),]""")


def sharded(statement: str, cluster: str) -> list[str]:
    """The statements for a cluster, in their order. Raises ConfigError for one that is of no kind
    known here: a migration must not part rows by accident.
    """
    if _UNCHANGED.match(statement):
        return [statement]
    if _FEED.match(statement):
        # Rows that come to a shard are noted there.
        local, tables = _FED.subn(rf"\n\g<1> \g<2>{LOCAL}", statement)
        if tables == _ENDS_OF_A_FEED:
            return [local]
    if created := _CREATE.match(statement):
        if created[2] in EVERYWHERE:
            return [_replicated(statement, _OF_ALL)]
        local = _replicated(_CREATE.sub(rf"\g<1>\g<2>{LOCAL}", statement, count=1), _OF_SHARD)
        return [local, _over_shards(created[2], statement, cluster)]
    if _DROP.match(statement):
        return [statement, _DROP.sub(rf"\g<1>\g<2>{LOCAL}", statement, count=1)]
    if altered := _ALTER.fullmatch(statement):
        return list(_altered(*altered.groups()))
    raise ConfigError(f"this statement cannot be sharded: {statement[:80]}")


def _replicated(statement: str, place: tuple[str, str]) -> str:
    """With the macros of the servers said, so that no server's default chooses another place."""
    path, replica = map(quoted, place)

    def engine(found: re.Match[str]) -> str:
        version = f", {found[2]}" if found[2] else ""
        return f"\nENGINE = {found[1]}({path}, {replica}{version})\n"

    return _ENGINE.sub(engine, statement, count=1)


def _over_shards(table: str, statement: str, cluster: str) -> str:
    sorted_by = _SORTED_BY.search(statement)
    if not sorted_by or not _ENGINE.search(statement):
        raise ConfigError(f"{table}: a sharded table is sorted by columns alone")
    comment = _COMMENT.search(statement)
    return (
        f"CREATE TABLE IF NOT EXISTS tacho.{table} ON CLUSTER {quoted(cluster)}"
        f" AS tacho.{table}{LOCAL}\n"
        f"ENGINE = Distributed({quoted(cluster)}, 'tacho', {quoted(table + LOCAL)},"
        f" cityHash64({sorted_by[1]}))" + (comment[0] if comment else "")
    )


def _altered(table: str, on_cluster: str, text: str) -> Iterator[str]:
    """First where the rows are, then what is over them: a column is never asked for in vain."""
    commands = list(_commands(text))
    for command in commands:
        if not _OF_COLUMNS.match(command) and not _OF_STORAGE.match(command):
            raise ConfigError(f"{table}: this change cannot be sharded: {command[:80]}")
    yield f"ALTER TABLE tacho.{table}{LOCAL} {on_cluster}\n    " + ",\n    ".join(commands)
    if shown := [command for command in commands if _OF_COLUMNS.match(command)]:
        yield f"ALTER TABLE tacho.{table} {on_cluster}\n    " + ",\n    ".join(shown)


def _commands(text: str) -> Iterator[str]:
    """The commands of an ALTER; commas in brackets, strings and names do not part them."""
    depth = begin = 0
    for token in _TOKEN.finditer(text):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if token[0] == "," and depth == 0:
            yield text[begin : token.start()].strip()
            begin = token.end()
    yield text[begin:].strip()
