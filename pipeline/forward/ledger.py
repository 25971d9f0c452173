"""What one destination has acknowledged, so that a restart sends again only what nobody confirmed.

SQLite, one file a destination, written after the acknowledgement and before the offset moves:
- killed before the write: that call's records go out again, with the same alert id and revision;
- killed between write and offset: they are read again and found here.
A compacted topic would be the other way; it must be read back whole at every start, and the
stand-in broker keeps none. The file may be lost or deleted at any time: the price is duplicates,
never a gap. The write-ahead log is not synced at every write: `kill -9` loses nothing, a power cut
the last moments.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from tachograph.pipeline.log import get

# Alerts remembered; the longest unchanged are forgotten first.
CAPACITY = 200_000
# Held-back alerts remembered until their summary is out.
MAX_HELD = 10_000
_ASKED_AT_ONCE = 500
# Evicting one row a write would cost more than the rows.
_SLACK = 1_000

_TABLES = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS acknowledged (
    alert_id TEXT NOT NULL UNIQUE, revision INTEGER NOT NULL, at INTEGER PRIMARY KEY AUTOINCREMENT);
CREATE TABLE IF NOT EXISTS held (
    alert_id TEXT PRIMARY KEY, minute INTEGER NOT NULL, severity TEXT NOT NULL,
    rule_id TEXT NOT NULL) WITHOUT ROWID;
"""

log = get("forward.ledger")


class Held(msgspec.Struct, frozen=True):
    """An alert that the rate cap kept back."""

    alert_id: str
    minute: int  # minutes since the epoch
    severity: str
    rule_id: str


class Ledger:
    """The ledger of one destination; used by the thread that made it.

    `generation` names the log that revisions count in (the cluster's id): with another one, what
    was known says nothing and is forgotten.
    """

    def __init__(self, path: Path, generation: str, *, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = _opened(path)
        self._count = self._database.execute("SELECT count(*) FROM acknowledged").fetchone()[0]
        self._begin_generation(generation)

    def _begin_generation(self, generation: str) -> None:
        row = self._database.execute("SELECT value FROM meta WHERE name = 'generation'").fetchone()
        if row is not None and row[0] == generation:
            return
        with self._database:
            self._database.execute("DELETE FROM acknowledged")
            self._database.execute("DELETE FROM held")
            self._database.execute(
                "INSERT OR REPLACE INTO meta VALUES ('generation', ?)", (generation,)
            )
        self._count = 0

    def known(self, alert_ids: Sequence[str]) -> dict[str, int]:
        """Newest acknowledged revision of those alerts that the destination has."""
        found: dict[str, int] = {}
        for start in range(0, len(alert_ids), _ASKED_AT_ONCE):
            asked = alert_ids[start : start + _ASKED_AT_ONCE]
            marks = ",".join("?" * len(asked))
            query = f"SELECT alert_id, revision FROM acknowledged WHERE alert_id IN ({marks})"  # noqa: S608
            found.update(self._database.execute(query, asked).fetchall())
        return found

    def acknowledge(self, delivered: Iterable[tuple[str, int]]) -> None:
        """Remember (alert id, revision) pairs that the destination has taken."""
        rows = list(delivered)
        with self._database:
            before = self._database.total_changes
            self._database.executemany(
                "DELETE FROM acknowledged WHERE alert_id = ?", [(alert_id,) for alert_id, _ in rows]
            )
            self._count -= self._database.total_changes - before
            self._database.executemany(
                "INSERT INTO acknowledged (alert_id, revision) VALUES (?, ?)", rows
            )
            self._count += len(rows)
            self._evict()

    def _evict(self) -> None:
        if self._count < self._capacity + _SLACK:
            return
        surplus = self._count - self._capacity
        self._database.execute(
            "DELETE FROM acknowledged WHERE at IN"
            " (SELECT at FROM acknowledged ORDER BY at LIMIT ?)",
            (surplus,),
        )
        self._count = self._capacity
        log.info("forgot the oldest alerts", count=surplus, capacity=self._capacity)

    def hold(self, held: Iterable[Held]) -> None:
        """Remember alerts that were kept back; the same alert twice is one."""
        rows = [(h.alert_id, h.minute, h.severity, h.rule_id) for h in held]
        [count] = self._database.execute("SELECT count(*) FROM held").fetchone()
        with self._database:
            self._database.executemany(
                "INSERT OR IGNORE INTO held VALUES (?, ?, ?, ?)", rows[: max(0, MAX_HELD - count)]
            )

    def held_before(self, minute: int) -> list[Held]:
        """Alerts kept back before that minute and not summed up yet."""
        rows = self._database.execute(
            "SELECT alert_id, minute, severity, rule_id FROM held WHERE minute < ? ORDER BY minute",
            (minute,),
        )
        return [Held(*row) for row in rows]

    def forget_held(self, held: Iterable[Held]) -> None:
        """Forget alerts whose summary is out."""
        with self._database:
            self._database.executemany(
                "DELETE FROM held WHERE alert_id = ?", [(h.alert_id,) for h in held]
            )

    def __len__(self) -> int:
        return int(self._count)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _opened(path: Path) -> sqlite3.Connection:
    try:
        return _prepared(path)
    except sqlite3.DatabaseError as error:
        aside = path.with_suffix(".damaged")
        log.warning("ledger unreadable, begun anew", path=str(path), error=str(error))
        path.replace(aside)
        for beside in ("-wal", "-shm"):
            path.with_name(path.name + beside).unlink(missing_ok=True)
        return _prepared(path)


def _prepared(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.executescript(_TABLES)
        database.execute("SELECT max(at) FROM acknowledged").fetchone()
    except BaseException:
        database.close()
        raise
    return database
