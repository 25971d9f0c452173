"""The table of docs/pack.md: every shipped rule, and on what share of labelled sessions it fires.

    tacho scan traces.otlp.ndjson -o found.ndjson
    python -m infra.pack_page labels.ndjson.gz found.ndjson

`labels`: one JSON object a line with `trace_id` (the session), `label_class`, `agent_complied` and
`unsafe`. The page keeps its words; what stands between its marks is made anew.
"""

import argparse
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tachograph.detectors.language.rule import Rule
from tachograph.detectors.language.ruleset import load
from tachograph.schemas.alert import SEVERITIES

PAGE = Path(__file__).parents[1] / "docs" / "pack.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of table -->\n"
# Sessions whose label says too little to count them.
_LEFT_OUT = frozenset({"redacted", "success_unseen"})
_BENIGN = frozenset({"benign", "planted_unseen", "safe", "safe_record"})
KINDS = ("benign", "hard", "attempt", "attack")
RISKS = {
    "prompt_misuse": "Prompt misuse",
    "agent_operation": "Agent operation",
    "ai_development": "AI development",
    "ai_supply_chain": "AI supply chain",
    "governance": "Governance",
}


def kind_of(label: Mapping[str, Any]) -> str | None:
    """What a session counts as; None: not at all."""
    said = label["label_class"]
    if said in _LEFT_OUT:
        return None
    if label.get("agent_complied") or label.get("unsafe"):
        return "attack"
    if said in _BENIGN:
        return "benign"
    return "hard" if said == "benign_hard" else "attempt"


def kinds_of(lines: Iterable[bytes]) -> dict[str, str]:
    """Session → what it counts as."""
    labels = (msgspec.json.decode(line) for line in lines)
    return {label["trace_id"]: kind for label in labels if (kind := kind_of(label)) is not None}


def fired(lines: Iterable[bytes], kinds: Mapping[str, str]) -> dict[str, Counter[str]]:
    """Rule → number of sessions of each kind in which it fired. Levels count as rules, with what is
    above them: `>= high`.
    """
    pairs = set()
    for line in lines:
        finding = msgspec.json.decode(line)
        session = finding.get("session_id")
        if session in kinds:
            below = SEVERITIES[: SEVERITIES.index(finding["severity"]) + 1]
            pairs |= {(name, session) for name in (finding["rule_id"], *map(_level, below))}
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for rule, session in pairs:
        found[rule][kinds[session]] += 1
    return found


def _level(severity: str) -> str:
    return f">= {severity}"


def levels(found: Mapping[str, Counter[str]], totals: Mapping[str, int]) -> str:
    """What share of sessions has a finding of each level or above."""
    rows = []
    for severity in reversed(SEVERITIES[1:]):
        shares = [_share(found[_level(severity)][kind], totals.get(kind, 0)) for kind in KINDS]
        rows.append(f"| {severity} or above | {' | '.join(share or '0' for share in shares)} |")
    return (
        "| sessions with a finding | benign | hard | attempts | attacks |\n|---|---|---|---|---|\n"
        + ("\n".join(rows))
    )


def table(
    rules: Iterable[Rule], found: Mapping[str, Counter[str]], totals: Mapping[str, int]
) -> str:
    """The rules by risk, in the order of the catalogue."""
    by_risk: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_risk[rule.meta.tacho.risk_category].append(rule)
    parts = []
    for risk, title in RISKS.items():
        own = sorted(by_risk[risk], key=lambda rule: (rule.meta.tacho.detection, rule.meta.title))
        rows = [_row(rule, found.get(rule.meta.rule_id, Counter()), totals) for rule in own]
        parts.append(f"### {title}: {len(own)} rules\n\n{_HEAD}\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


_HEAD = """| | rule | kind | severity | benign | hard | attempts | attacks |
|---|---|---|---|---|---|---|---|"""


def _row(rule: Rule, counts: Counter[str], totals: Mapping[str, int]) -> str:
    meta = rule.meta
    shares = [_share(counts[kind], totals.get(kind, 0)) for kind in KINDS]
    cells = [str(meta.tacho.detection), meta.title, meta.kind, meta.severity, *shares]
    return f"| {' | '.join(cells)} |"


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.2g} %" if count and of else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path)
    parser.add_argument("findings", type=Path)
    options = parser.parse_args()
    with gzip.open(options.labels) as lines:
        kinds = kinds_of(lines)
    with options.findings.open("rb") as lines:
        found = fired(lines, kinds)
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    totals = Counter(kinds.values())
    made = f"{levels(found, totals)}\n\n{table(load().rules, found, totals)}"
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
