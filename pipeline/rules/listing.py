"""`tacho rules list`: the rules there are, and the map of the frameworks that they cover."""

from collections.abc import Sequence
from typing import TextIO

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tachograph.detectors.language.frameworks import Coverage, coverage
from tachograph.detectors.language.rule import Rule
from tachograph.pipeline.plain_text import STYLE, safe
from tachograph.pipeline.rules.loading import Sources, counted

# Rules named beside an id of a framework.
_NAMED = 3


class Listed(msgspec.Struct, frozen=True):
    """One rule in a list."""

    rule_id: str
    title: str
    severity: str
    kind: str
    risk_category: str
    version: str
    tags: list[str]
    file: str
    line: int


def run_list(sources: Sources, *, coverage: bool, as_json: bool, sink: TextIO) -> None:
    """Print the list or the map. Raises ConfigError."""
    rules = sources.rules().rules
    if coverage:
        _coverage(rules, as_json=as_json, sink=sink)
    elif as_json:
        told = {"rules": [_listed(rule) for rule in rules]}
        sink.write(msgspec.json.encode(told).decode() + "\n")
    else:
        _table(rules, sink)


def _listed(rule: Rule) -> Listed:
    meta = rule.meta
    return Listed(
        meta.rule_id, meta.title, meta.severity, meta.kind, meta.tacho.risk_category, meta.version,
        meta.tags, meta.file, meta.line,
    )  # fmt: skip


def _table(rules: Sequence[Rule], sink: TextIO) -> None:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("id", "severity", "kind", "risk", "title"):
        table.add_column(name)
    by_risk = sorted(rules, key=lambda rule: (rule.meta.tacho.risk_category, rule.meta.title))
    for rule in by_risk:
        meta = rule.meta
        table.add_row(
            safe(meta.rule_id[:8], 8), Text(meta.severity, STYLE[meta.severity]), meta.kind,
            meta.tacho.risk_category, safe(meta.title, 80),
        )  # fmt: skip
    console = Console(file=sink)
    console.print(table)
    console.print(counted(len(rules), "rule"))


def _coverage(rules: Sequence[Rule], *, as_json: bool, sink: TextIO) -> None:
    found = coverage(rules)
    if as_json:
        sink.write(msgspec.json.encode({"frameworks": [_told(one) for one in found]}).decode())
        sink.write("\n")
        return
    titles = {rule.meta.rule_id: rule.meta.title for rule in rules}
    console = Console(file=sink)
    for one in found:
        console.print(Text(f"{one.title}: {one.covered} of {len(one.rules)}", "bold"))
        table = Table(box=None, show_header=False, padding=(0, 1))
        for name, citing in one.rules.items():
            named = "; ".join(titles[rule_id] for rule_id in citing[:_NAMED])
            more = f"; {len(citing) - _NAMED} more" if len(citing) > _NAMED else ""
            count = Text(str(len(citing) or "–"), "green" if citing else "dim")
            table.add_row(name, count, one.meanings[name], safe(named + more, 160))
        console.print(table)


def _told(one: Coverage) -> dict[str, object]:
    return {
        "framework": one.namespace,
        "title": one.title,
        "ids": len(one.rules),
        "covered": one.covered,
        "map": {
            name: {"meaning": one.meanings[name], "rules": citing}
            for name, citing in one.rules.items()
        },
    }
