"""The report of a bundle, for people: what is in it, and what its proofs say."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from tachograph.pipeline.moments import shown
from tachograph.pipeline.notarize.keys import Ring
from tachograph.schemas.records import TreeHead

MAX_TITLE_CHARS = 200


def report_of(
    records: Sequence[dict[str, Any]],
    heads: Sequence[TreeHead],
    ring: Ring,
    *,
    asked: str,
    at: datetime,
    newer: int,
) -> str:
    """Markdown."""
    lines = [
        "# Evidence",
        "",
        f"Made {shown(at)} by `tacho export` for: {_plain(asked)}. {len(records)} records, each"
        " with the proof that it stands unchanged in a log that was notarized when the records came"
        " in. How to check that without this program is told in docs/evidence.md of Tachograph.",
        *_left_out(newer),
        "",
        "## Alerts",
        "",
        "| alert | revision | status | severity | title | first signed |",
        "|---|---|---|---|---|---|",
        *_alerts(records, heads),
        "",
        "## Records of other kinds",
        "",
        *_others(records),
        "",
        "## Signed tree heads",
        "",
        *(
            f"- {head.topic}/{head.partition}: {head.size} leaves, root `{head.root}`, signed"
            f" {shown(head.signed_at)} by key `{head.key_id}`"
            for head in heads
        ),
        "",
        "## Keys",
        "",
        *(f"- `{key.key_id}`, made {shown(key.made_at)}, vouched for by `{key.signed_by}`"
          for key in ring.keys),
        "",
        "A head is worth what its key is: compare the first key with one that you were given by"
        " another way.",
        "",
    ]  # fmt: skip
    return "\n".join(lines)


def _left_out(newer: int) -> list[str]:
    if not newer:
        return []
    return ["", f"{newer} records were left out: no signed head covers them yet."]


def _alerts(records: Sequence[dict[str, Any]], heads: Sequence[TreeHead]) -> list[str]:
    lines = []
    for record in records:
        if record["topic"] != "agent.alerts":
            continue
        told = msgspec.json.decode(record["record"])
        cells = (told.get(name, "") for name in ("alert_id", "revision", "status", "severity"))
        first = _first_signed(record, heads)
        lines.append(f"| {' | '.join(map(_plain, cells))} | {_plain(told.get('title', ''))} |"
                     f" {first} |")  # fmt: skip
    return lines


def _first_signed(record: dict[str, Any], heads: Sequence[TreeHead]) -> str:
    covering = [
        head.signed_at
        for head in heads
        if (head.cluster, head.topic, head.partition)
        == (record["cluster"], record["topic"], record["partition"])
        and head.size > record["leaf_index"]
    ]
    return shown(min(covering))


def _others(records: Sequence[dict[str, Any]]) -> list[str]:
    counts: dict[str, int] = defaultdict(int)
    for record in records:
        counts[record["topic"]] += 1
    return [f"- {topic}: {count}" for topic, count in sorted(counts.items())]


def _plain(value: Any) -> str:
    """A value in a table of Markdown: one line, no markup of its own."""
    text = "".join(c if c.isprintable() else " " for c in str(value))[:MAX_TITLE_CHARS]
    for mark in "\\`*_[]<>|#":
        text = text.replace(mark, f"\\{mark}")
    return text
