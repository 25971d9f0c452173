"""Where findings go: lines of JSON, or a table for a person."""

import io
from typing import BinaryIO, Protocol

import msgspec

from tachograph.pipeline.plain_json import written_to
from tachograph.pipeline.scan.findings import Finding

TABLE_ROWS_MAX = 1_000


class Output(Protocol):
    """Where findings go."""

    # Takes lines of findings ready made too.
    takes_lines: bool

    def write(self, finding: Finding) -> None:
        """One finding."""
        ...

    def write_lines(self, lines: bytes) -> None:
        """Findings as lines of JSON, where it takes them."""
        ...

    def close(self) -> None:
        """All are written."""
        ...


class Ndjson:
    """One JSON object a line."""

    takes_lines = True

    def __init__(self, sink: BinaryIO) -> None:
        self._sink, self._shown = sink, written_to(sink)

    def write(self, finding: Finding) -> None:
        """See Output."""
        self._sink.write(self._shown(msgspec.json.encode(finding)) + b"\n")

    def write_lines(self, lines: bytes) -> None:
        """See Output."""
        self._sink.write(self._shown(lines))

    def close(self) -> None:
        """See Output."""
        self._sink.flush()


class TableOutput:
    """A table for a person; agents' words are text, never markup."""

    takes_lines = False

    def __init__(self, sink: BinaryIO) -> None:
        from rich.console import Console

        self._text = io.TextIOWrapper(sink, encoding="utf-8")
        self._console = Console(file=self._text)
        self._rows: list[Finding] = []
        self._more = 0

    def write(self, finding: Finding) -> None:
        """See Output."""
        if len(self._rows) < TABLE_ROWS_MAX:
            self._rows.append(finding)
        else:
            self._more += 1

    def write_lines(self, lines: bytes) -> None:
        """See Output."""
        raise NotImplementedError

    def close(self) -> None:
        """See Output."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        from tachograph.pipeline.plain_text import STYLE, safe

        table = Table(expand=True, box=SIMPLE_HEAD, pad_edge=False)
        for name in ("time", "severity", "rule", "agent", "session", "why"):
            table.add_column(name)
        for row in self._rows:
            table.add_row(
                row.event_time[:19],
                Text(row.severity, STYLE[row.severity]),
                safe(row.title, 60),
                safe(row.agent_id, 30),
                safe(row.session_id, 34),
                safe(row.reason.removeprefix(f"{row.title}: "), 120),
            )
        self._console.print(table)
        if self._more:
            self._console.print(f"… and {self._more} more; ndjson shows all")
        self._text.flush()
        self._text.detach()
