"""The table of docs/pack.md: every shipped rule, and on what share of labelled sessions it fires.

    tacho scan traces.otlp.ndjson -o found.ndjson
    python -m infra.pack_page labels.ndjson.gz found.ndjson

`labels`: one JSON object a line with `trace_id` (the session), `label_class`, `agent_complied` and
`unsafe`. The page keeps its words; what stands between its marks is made anew. Without arguments
the rules are written anew and the shares that the page has are kept.
"""

import argparse
import gzip
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
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
_LEVELS = """| sessions with a finding | benign | hard | attempts | attacks |
|---|---|---|---|---|
"""
_HEAD = """| | rule | kind | severity | benign | hard | attempts | attacks |
|---|---|---|---|---|---|---|---|
"""
# Title of a rule, or a level → shares of the kinds of sessions, as texts.
Shares = Mapping[str, Sequence[str]]


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


def measured(labels: Iterable[bytes], findings: Iterable[bytes]) -> Shares:
    """The shares of sessions in which each rule, and each level or above, was found."""
    said = (msgspec.json.decode(line) for line in labels)
    kinds = {label["trace_id"]: kind for label in said if (kind := kind_of(label)) is not None}
    pairs = set()
    for line in findings:
        finding = msgspec.json.decode(line)
        session = finding.get("session_id")
        if session in kinds:
            below = SEVERITIES[: SEVERITIES.index(finding["severity"]) + 1]
            pairs |= {(name, session) for name in (finding["title"], *map(_level, below))}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for name, session in pairs:
        counts[name][kinds[session]] += 1
    totals = Counter(kinds.values())
    return {
        name: [_share(found[kind], totals[kind]) for kind in KINDS]
        for name, found in counts.items()
    }


def kept(page: str) -> Shares:
    """The shares that the page has."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines()]
    return {
        **{row[1]: row[4:] for row in cells if len(row) == 8},
        **{row[0]: row[1:] for row in cells if len(row) == 5},
    }


def table(rules: Iterable[Rule], shares: Shares) -> str:
    """The levels, then the rules by risk, in the order of the catalogue."""
    by_risk: dict[str, list[Rule]] = defaultdict(list)
    for rule in rules:
        by_risk[rule.meta.tacho.risk_category].append(rule)
    names = [_level(severity) for severity in reversed(SEVERITIES[1:])]
    nothing = [""] * len(KINDS)
    levels = [_line(name, *(share or "0" for share in shares.get(name, nothing))) for name in names]
    parts = [_LEVELS + "\n".join(levels)]
    for risk, title in RISKS.items():
        own = sorted(by_risk[risk], key=lambda rule: (rule.meta.tacho.detection, rule.meta.title))
        rows = [
            _line(
                str(rule.meta.tacho.detection), rule.meta.title, rule.meta.kind,
                rule.meta.severity, *shares.get(rule.meta.title, nothing),
            )
            for rule in own
        ]  # fmt: skip
        parts.append(f"### {title}: {len(own)} rules\n\n{_HEAD}" + "\n".join(rows))
    return "\n\n".join(parts)


def _level(severity: str) -> str:
    return severity if severity == SEVERITIES[-1] else f"{severity} or above"


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _share(count: int, of: int) -> str:
    return f"{100 * count / of:.2g} %" if count and of else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("labels", type=Path, nargs="?")
    parser.add_argument("findings", type=Path, nargs="?")
    options = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    if options.findings is None:
        shares = kept(page)
    else:
        with gzip.open(options.labels) as labels, options.findings.open("rb") as findings:
            shares = measured(labels, findings)
    made = table(load().rules, shares)
    PAGE.write_text(f"{before}{BEGIN}\n{made}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
