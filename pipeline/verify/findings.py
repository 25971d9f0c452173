"""What a check found, and what it means: holds, broken, or cannot be told."""

from collections import Counter
from datetime import datetime
from typing import Any, Literal

import msgspec

from tachograph.pipeline.kafka.reader import Place

# changed, removed, added, moved: a row. leaf, head: what proves it. unproved: nothing can be said.
FindingKind = Literal["changed", "removed", "added", "moved", "leaf", "head", "unproved"]
Verdict = Literal["holds", "broken", "unchecked"]
EXIT_CODES: dict[Verdict, int] = {"holds": 0, "broken": 1, "unchecked": 2}
# More are counted, and not told one by one.
MAX_TOLD = 1_000


class TreeId(msgspec.Struct, frozen=True, order=True):
    """Which tree: that of one partition of a topic of one cluster."""

    cluster: str
    topic: str
    partition: int

    @property
    def place(self) -> Place:
        return self.topic, self.partition

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that is not as it was notarized. Never holds a payload."""

    kind: FindingKind
    detail: str
    cluster: str = ""
    topic: str = ""
    partition: int = -1
    first: int = -1  # offsets
    last: int = -1
    table: str = ""
    id: str = ""  # of the alert, snapshot … that the row says it is


class TreeSummary(msgspec.Struct, frozen=True, kw_only=True):
    """How far one tree goes."""

    cluster: str
    topic: str
    partition: int
    leaves: int
    heads: int
    next_offset: int
    signed_at: datetime
    key_id: str


class Report(msgspec.Struct, kw_only=True):
    """All of it."""

    trees: list[TreeSummary] = msgspec.field(default_factory=list)
    findings: list[Finding] = msgspec.field(default_factory=list)
    counts: Counter[str] = msgspec.field(default_factory=Counter)
    notes: list[str] = msgspec.field(default_factory=list)
    rows: int = 0
    deleted: int = 0
    newer: int = 0  # rows that no head covers yet

    def find(self, kind: FindingKind, detail: str, tree: TreeId | None = None, **said: Any) -> None:
        """Take a finding down."""
        self.counts[kind] += 1
        if len(self.findings) < MAX_TOLD:
            where = msgspec.structs.asdict(tree) if tree else {}
            self.findings.append(Finding(kind=kind, detail=detail, **where, **said))

    @property
    def verdict(self) -> Verdict:
        """Whether all holds; `unchecked` when nothing is broken and not all could be told."""
        if any(count for kind, count in self.counts.items() if kind != "unproved"):
            return "broken"
        return "unchecked" if self.counts["unproved"] or not self.trees else "holds"

    def as_json(self) -> bytes:
        """One JSON object, for a program."""
        told = {"verdict": self.verdict, **msgspec.structs.asdict(self)}
        return msgspec.json.format(msgspec.json.encode(told), indent=2)


def text_of(report: Report) -> str:
    """The report for a person."""
    lines = [
        f"{tree.topic}/{tree.partition}: {tree.leaves:,} leaves under {tree.heads:,} heads, the"
        f" newest of {tree.signed_at:%Y-%m-%d %H:%M:%S}Z by key {tree.key_id}"
        for tree in report.trees
    ]
    for finding in report.findings:
        at = f"{finding.topic}/{finding.partition}" if finding.topic else ""
        if finding.first >= 0:
            at += f" offset {finding.first}"
            at += f"-{finding.last}" if finding.last > finding.first else ""
        named = " ".join(filter(None, (finding.table and f"tacho.{finding.table}", at, finding.id)))
        lines.append(f"{finding.kind.upper()}  {named}: {finding.detail}")
    told = sum(report.counts.values()) - len(report.findings)
    lines += [f"… and {told:,} more"] if told else []
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join([*lines, _verdict(report)])


def _verdict(report: Report) -> str:
    also = f"; {report.deleted:,} were deleted as signed notes say" if report.deleted else ""
    also += f"; {report.newer:,} are newer than the newest head" if report.newer else ""
    rows = f"{report.rows:,} rows"
    match report.verdict:
        case "holds":
            return f"HOLDS: {rows} are what was notarized{also}"
        case "broken":
            said = ", ".join(f"{n:,} {kind}" for kind, n in sorted(report.counts.items()) if n)
            return f"BROKEN: {said} ({rows} looked at{also})"
        case _:
            why = f"{report.counts['unproved']:,} unproved" if report.trees else "no signed heads"
            return f"CANNOT BE TOLD: {why} ({rows} looked at{also})"
