"""Build the demo's sample of real agent sessions from the labelled traces.

usage: build_sample.py EVENTS.ndjson.gz LABELS.ndjson.gz LICENSES.txt OUT_FOLDER

Only sources under the MIT licence are taken, with their notices. The draw is seeded, by label and
not by what our rules find, so the demo shows what the rules are worth. Long texts are cut.
"""

import collections
import gzip
import json
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SEED = 20261123
TEXT_CHARS = 1_500
# (source, label class) → sessions drawn.
DRAW = {
    ("agentdyn", "attack_succeeded"): 60,
    ("agentdyn", "attack_failed"): 30,
    ("agentdyn", "benign"): 75,
    ("agentdyn", "benign_hard"): 15,
    ("agentdyn", "planted_unseen"): 20,
    ("openagentsafety", "unsafe_confirmed"): 25,
    ("openagentsafety", "safe"): 25,
    ("taubench", "benign"): 50,
}
NOTICES = ("agentdyn", "openagentsafety", "tau-bench")
Row = dict[str, Any]


def rows(path: str) -> Iterator[Row]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def cut(value: Any) -> Any:
    if isinstance(value, str) and len(value) > TEXT_CHARS:
        return value[:TEXT_CHARS] + "…"
    if isinstance(value, dict):
        return {name: cut(inner) for name, inner in value.items()}
    return value


def drawn(labels: str) -> dict[str, Row]:
    by_class = collections.defaultdict(list)
    for label in rows(labels):
        by_class[label["source"], label["label_class"]].append(label)
    rng = random.Random(SEED)
    chosen = [
        label for key, count in sorted(DRAW.items()) for label in rng.sample(by_class[key], count)
    ]
    return {label["trace_id"]: label for label in chosen}


def session(label: Row, events: list[Row]) -> Row:
    keep = ("kind", "tool_name", "arguments", "text", "result", "error", "call_id", "timestamp")
    return {
        "session": label["trace_id"],
        "source": label["source"],
        "suite": label["suite"] or label["source"],
        "model": events[0]["agent"],
        "label": label["label_class"],
        "attack": bool(label.get("agent_complied") or label["label_class"] == "unsafe_confirmed"),
        "events": [
            {name: cut(event[name]) for name in keep if event.get(name) is not None}
            for event in events
        ],
    }


def main() -> None:
    events_path, labels_path, licenses, out = sys.argv[1:]
    labels = drawn(labels_path)
    events = collections.defaultdict(list)
    for event in rows(events_path):
        if event["trace_id"] in labels:
            events[event["trace_id"]].append(event)
    sessions = [session(labels[name], found) for name, found in sorted(events.items())]
    random.Random(SEED).shuffle(sessions)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(s, ensure_ascii=False, sort_keys=True) + "\n" for s in sessions)
    (folder / "sessions.ndjson.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    parts = re.split(r"^===== ", Path(licenses).read_text(encoding="utf-8"), flags=re.MULTILINE)
    kept = [part for part in parts if any(n in part.split("\n")[0].lower() for n in NOTICES)]
    header = (
        "The sessions in sessions.ndjson.gz are cut from these works, under their licences:\n\n"
    )
    (folder / "NOTICE").write_text(header + "\n".join(kept), encoding="utf-8")


if __name__ == "__main__":
    main()
