"""Everything that stands in ClickHouse, and the migration files that first wrote it.

`…_data` tables keep the newest version of a thing (ReplacingMergeTree: copies may be written at any
time and are merged away later). `…_log` tables keep every record, keyed by its place in Kafka, with
its exact bytes. Views bear the plain names and show each current thing once: FINAL inside, so that
nobody has to think of it.

When a contract gains a field, the tests fail until a new migration adds it. This prints its text:

    python -m tachograph.pipeline.store.catalogue actions_data > schemas/clickhouse/0009_why.sql

For the views that hold analysts' questions, which read other views alone, the name is `questions`.
"""

import re
import sys
from importlib import resources

from tachograph.pipeline.store import tables_actions as act
from tachograph.pipeline.store import tables_delegated as given
from tachograph.pipeline.store import tables_denials as no
from tachograph.pipeline.store import tables_destinations as dest
from tachograph.pipeline.store import tables_evidence as evidence
from tachograph.pipeline.store import tables_incidents as inc
from tachograph.pipeline.store import tables_questions as ask
from tachograph.pipeline.store import tables_reached as reach
from tachograph.pipeline.store import tables_rollups as roll
from tachograph.pipeline.store import tables_soc as soc
from tachograph.pipeline.store import tables_texts as text
from tachograph.pipeline.store.ddl import Feed, Table, View, addition

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        act.ACTIONS_DATA, act.SESSION_LINKS_DATA, act.SAME_AS_DATA, act.SIGNALS_DATA,
        act.TWIN_REPORTS_DATA,
        soc.ALERTS_DATA, soc.ALERTS_LOG, soc.DISPOSITIONS_LOG, soc.AUDIT_LOG,
        soc.AGENT_STATE_DATA, soc.SNAPSHOTS_LOG,
        soc.DIRECTIVES_LOG, soc.ACKS_LOG,
        soc.DEAD_LETTERS_DATA, soc.HEALTH_DATA,
        inc.INCIDENTS_DATA, inc.INCIDENT_MEMBERS_DATA,
        evidence.LEAVES_LOG, evidence.TREE_HEADS_LOG, evidence.HOLDS_LOG,
        roll.HOURS_DATA, roll.TOUCHED_DATA, roll.MINUTES_DATA, no.DENIALS_DATA,
        given.DELEGATED_DATA, dest.DESTINATIONS_DATA, text.TEXTS_DATA,
        reach.REACHED_DATA,
    )
}  # fmt: skip
VIEWS: dict[str, View] = {
    view.name: view
    for view in (
        act.ACTIONS, act.SESSION_LINKS, act.SAME_AS, act.SIGNALS, act.SHADOW_SIGNALS,
        soc.ALERTS, soc.DISPOSITIONS, soc.AUDIT, soc.AGENT_STATE, soc.DIRECTIVES, soc.ACKS,
        soc.DEAD_LETTERS, soc.HEALTH, *ask.QUESTIONS,
        inc.INCIDENTS, inc.INCIDENT_MEMBERS, inc.ENTITY_RISK,
        evidence.LEAVES, evidence.TREE_HEADS, evidence.HOLDS,
        roll.TOUCHES_BY_HOUR, roll.AGENT_MINUTES, no.DENIALS, dest.DESTINATIONS,
        text.TEXTS_BY_HOUR, reach.TOUCHES_BY_AGENT,
    )
}  # fmt: skip

FEEDS = {
    feed.name: feed
    for feed in (
        roll.HOURS_CHANGED, no.DENIALS_FED, given.DELEGATED_FED, dest.DESTINATIONS_FED,
    )
}  # fmt: skip

# Migration file → the tables and views it brings.
FIRST = {
    "0002_actions.sql": (act.ACTIONS_DATA, act.ACTIONS),
    "0003_links.sql": (
        act.SESSION_LINKS_DATA, act.SESSION_LINKS, act.SAME_AS_DATA, act.SAME_AS,
    ),
    "0004_signals.sql": (act.SIGNALS_DATA, act.SIGNALS),
    "0005_alerts.sql": (
        soc.ALERTS_DATA, soc.ALERTS_LOG, soc.DISPOSITIONS_LOG, soc.ALERTS, soc.DISPOSITIONS,
    ),
    "0006_agent_state.sql": (soc.AGENT_STATE_DATA, soc.SNAPSHOTS_LOG, soc.AGENT_STATE),
    "0007_control.sql": (soc.DIRECTIVES_LOG, soc.ACKS_LOG, soc.DIRECTIVES, soc.ACKS),
    "0008_dead_letters_and_health.sql": (
        soc.DEAD_LETTERS_DATA, soc.DEAD_LETTERS, soc.HEALTH_DATA, soc.HEALTH,
    ),
    "0019_audit.sql": (soc.AUDIT_LOG, soc.AUDIT),
}  # fmt: skip


def migration(items: tuple[Table | View | Feed, ...]) -> str:
    """Text of a migration that creates these."""
    return "\n".join(item.create for item in items)


def written(table: str) -> list[str]:
    """Columns that the migration files give a table, in order, whatever the contracts say today."""
    folder = resources.files("tachograph.schemas") / "clickhouse"
    files = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    create = rf"CREATE TABLE IF NOT EXISTS tacho\.{table} .*?\nENGINE"
    created = re.search(create, text, re.DOTALL)
    added = re.findall(rf"ALTER TABLE tacho\.{table} .*? IF NOT EXISTS `(\w+)`", text)
    first = re.findall(r"^    `(\w+)`", created[0], re.MULTILINE) if created else []
    return [*first, *added]


def renewal(table: str) -> str:
    """Text of a migration that brings a table and its views up to what the contracts say."""
    views = [view for view in VIEWS.values() if f"tacho.{table} " in view.source]
    return addition(TABLES[table], views, written(table))


if __name__ == "__main__":
    asked = sys.argv[1]
    sys.stdout.write(migration(ask.QUESTIONS) if asked == "questions" else renewal(asked))
