"""The page of one session: the conversation, what was said of it, and what it touched."""

from typing import Final

from tachograph.pipeline.investigate import ask
from tachograph.pipeline.investigate.ask import Row
from tachograph.pipeline.investigate.origins import CALLED, Turn, origins
from tachograph.pipeline.investigate.page import (
    Facts,
    Lines,
    Page,
    Section,
    Talk,
    clock,
    facts,
    period,
)
from tachograph.pipeline.investigate.tables import Table, alerts
from tachograph.pipeline.query.reader import Reader

SHOWN_TURNS = 200
_SIGNALS: Final = Table(
    "SELECT event_time, severity, title, kind, reason.text AS why, signal_id"  # noqa: S608 - our own names
    f" FROM tacho.signals WHERE {ask.OF_TENANT} AND session_id = {{id:String}}"
    " ORDER BY event_time, signal_id LIMIT 50",
    {"event_time": "time", "severity": "severity", "title": "rule", "kind": "kind", "why": "why",
     "signal_id": "signal"},
)  # fmt: skip
_TOUCHED: Final = Table(
    "SELECT what.1 AS kind, what.2 AS touched, count() AS actions,"  # noqa: S608 - our own names
    " countIf(outcome IN ('failed', 'denied')) AS not_done FROM (SELECT outcome, arrayJoin("
    "arrayFilter(t -> t.2 != '', arrayConcat([('tool', tool_name), ('host',"
    " if(target_domain != '', target_domain, target_host)), ('file', file_path),"
    " ('resource', target_resource), ('repo', target_repo), ('credential', credential_id)],"
    " arrayMap(r -> ('recipient', r), recipients)))) AS what"
    f" FROM tacho.actions WHERE {ask.OF_SESSION})"
    " GROUP BY what ORDER BY kind, actions DESC, touched LIMIT 60",
    {"kind": "kind", "touched": "what", "actions": "actions", "not_done": "not done"},
)


def page(reader: Reader, session_id: str, tenant: str) -> Page:
    """The page. Raises Refused, RetryLater."""
    of = {"id": session_id, "tenant": tenant}
    row = _about(reader, of)
    alerted = alerts(
        reader,
        f"{ask.OF_TENANT} AND (has(session_ids, {{id:String}}) OR session_id = {{id:String}})",
        **of,
    )
    return Page(
        kind="session",
        id=session_id,
        title=f"{', '.join(row['agents'])}: {row['actions']} actions",
        severity=alerted.gravest,
        sections=[
            Section("What it was", [_facts(row)]),
            Section("Alerts", [alerted.grid], "none"),
            Section("Conversation", [_talk(reader, of)], "no words were recorded"),
            Section("Signals", [_SIGNALS.of(reader, **of)], "none"),
            Section("What it touched", [_TOUCHED.of(reader, **of)], "nothing with a name"),
            Section("What was not seen", [Lines(_unseen(reader, row))],
                    "nothing is known to be missing"),
        ],
    )  # fmt: skip


def _about(reader: Reader, of: dict[str, str]) -> Row:
    [row] = reader.rows(
        "SELECT groupUniqArray(10)(agent_id) AS agents,"  # noqa: S608 - our own names
        " arrayFilter(p -> p != '', groupUniqArray(10)(principal_id)) AS principals,"
        " min(event_time) AS began, max(event_time) AS ended, count() AS actions,"
        " countIf(outcome IN ('failed', 'denied')) AS not_done, uniqExact(trace_id) AS traces,"
        " arrayFilter(m -> m != '', groupUniqArray(5)(model_name)) AS models,"
        " sum(ifNull(usage_input_tokens, 0)) AS tokens_in,"
        " sum(ifNull(usage_output_tokens, 0)) AS tokens_out,"
        " arrayFilter(t -> t != '', groupUniqArray(3)(session_trigger)) AS triggers,"
        " countIf(late) AS late, countIf(notEmpty(truncated)) AS truncated,"
        " arrayDistinct(arrayFlatten(groupArray(redactions))) AS redacted,"
        " any(environment) AS environment"
        f" FROM tacho.actions WHERE {ask.OF_SESSION}",
        of,
    )
    return row | {"tenant": of["tenant"]}


def _facts(row: Row) -> Facts:
    return facts(
        [
            ("agents", row["agents"]),
            ("for", row["principals"]),
            ("when", period(row["began"], row["ended"])),
            ("begun by", row["triggers"]),
            ("environment", row["environment"]),
            ("actions", f"{row['actions']}, {row['not_done']} failed or denied"),
            ("models", row["models"]),
            ("tokens", f"{row['tokens_in']} in, {row['tokens_out']} out"),
            ("redacted", row["redacted"]),
        ]
    )


def _talk(reader: Reader, of: dict[str, str]) -> Talk:
    turns = ask.turns(reader, [of["id"]], of["tenant"])
    evidence = {
        str(row["id"])
        for row in reader.rows(
            "SELECT DISTINCT arrayJoin(event_ids) AS id FROM tacho.signals"  # noqa: S608 - our own names
            f" WHERE {ask.OF_TENANT} AND session_id = {{id:String}} LIMIT 1000",
            of,
        )
    }
    turns = _news(turns)
    shown = turns[:SHOWN_TURNS]
    speakers = [
        f"{one.speaker} {'calls ' if one.part == CALLED else ''}{one.tool_name}".strip()
        for one in shown
    ]
    told = [(clock(one.time), who, one.text) for one, who in zip(shown, speakers, strict=True)]
    if len(turns) > SHOWN_TURNS:
        told.append(("", "", f"… {len(turns) - SHOWN_TURNS:,} more turns"))
    marked = [at for at, one in enumerate(shown) if one.event_id in evidence]
    return Talk(told, marked, _came(shown))


def _came(shown: list[Turn]) -> dict[int, list[str]]:
    """Under each call, where its values came from."""
    places = {one.event_id: at for at, one in enumerate(shown) if one.part == CALLED}
    notes: dict[int, list[str]] = {}
    for one in origins(shown, list(places)):
        notes.setdefault(places[one.call.event_id], []).append(f"{one.value}: {one.told}")
    return notes


def _news(turns: list[Turn]) -> list[Turn]:
    """Without what a user is quoted with again: some agents send his words with every step."""
    said: set[str] = set()
    kept = []
    for one in turns:
        if one.speaker == "user" and one.text in said:
            continue
        said.add(one.text)
        kept.append(one)
    return kept


def _unseen(reader: Reader, row: Row) -> list[str]:
    counted = {"late": "actions came late", "truncated": "actions were cut at a size limit"}
    own = [f"{row[name]} {words}" for name, words in counted.items() if int(row[name])]
    return [*own, *ask.lost(reader, row["tenant"], row["began"], row["ended"])]
