"""Console transcripts in our pages: `$ command` and what it says, … for what differs."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
ANY = "…"
_FILE = re.compile(r"^`([\w.]+)`\n\n```\w+\n(.*?)```", re.MULTILINE | re.DOTALL)


class Transcript(NamedTuple):
    """One command and its output."""

    command: str
    output: list[str]


def transcripts(page: Path) -> list[Transcript]:
    """Every command in the page's console blocks."""
    found = []
    for block in re.findall(r"```console\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *output = part.rstrip("\n").split("\n")
            found.append(Transcript(command, output))
    return found


def files(page: Path) -> list[tuple[str, str]]:
    """Name and text of every file that the page shows."""
    return _FILE.findall(page.read_text("utf-8"))


def missing_links(page: Path) -> list[str]:
    """Links of the page that lead to no file."""
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    return [link for link in links if not (page.parent / link).exists()]


def says(actual: str, shown: list[str]) -> None:
    """Assert that a command said what a page shows; a line of … alone stands for any lines."""
    lines = "\n".join(_line(line) for line in shown)
    pattern = lines.replace("\x00\n", r"(?:.*\n)*?").replace("\x00", r"(?:.*\n?)*")
    text = "\n".join(line.rstrip() for line in actual.splitlines() if line.strip())
    assert re.fullmatch(pattern, text), (
        f"the page shows\n{chr(10).join(shown)}\nbut it says\n{text}"
    )


def _line(line: str) -> str:
    if line == ANY:
        return "\x00"
    return ".*?".join(re.escape(piece) for piece in line.rstrip().split(ANY))
