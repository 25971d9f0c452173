"""What docs/door.md and docs/sdk.md show is what happens."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import WAIT_S

from .conftest import OpenDoor

DOCS = Path(__file__).resolve().parents[3] / "docs"
DOOR = "http://127.0.0.1:4318"


def shown(document: str) -> list[tuple[str, str]]:
    """Commands of the console blocks, each with the output that stands below it."""
    text = (DOCS / document).read_text("utf-8")
    found = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output.strip()))
    return found


def programs(document: str) -> list[tuple[str, str]]:
    """Python blocks, each with the plain block below it."""
    text = (DOCS / document).read_text("utf-8")
    return re.findall(r"```python\n(.*?)```\n\n```\n(.*?)\n```", text, re.DOTALL)


POSTS = [
    pair
    for page in ("door.md", "sources.md")
    for pair in shown(page)
    if "-sN" not in pair[0] and "curl" in pair[0]
]


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("number", range(len(POSTS)))
def test_the_commands_of_the_doors_pages_answer_as_shown(
    standing_door: OpenDoor, number: int
) -> None:
    command, output = POSTS[number]
    answer = subprocess.run(
        ["bash", "-c", command.replace(DOOR, standing_door.url)],
        check=True, capture_output=True, text=True, timeout=WAIT_S,
    )  # fmt: skip
    assert answer.stdout.strip() == output


def test_the_command_that_must_not_start_says_why() -> None:
    [(command, output)] = [pair for pair in shown("door.md") if pair[0].startswith("tacho")]
    environ = {name: value for name, value in os.environ.items() if "TACHO" not in name}
    answer = subprocess.run(
        [sys.executable, "-m", "tachograph.pipeline.cli", *command.split()[1:]],
        check=False, capture_output=True, text=True, timeout=WAIT_S, env=environ,
    )  # fmt: skip
    assert answer.returncode == 2
    assert output in answer.stderr


def test_the_programs_of_the_sdks_page_print_what_is_shown(standing_door: OpenDoor) -> None:
    found = programs("sdk.md")
    assert len(found) == 2
    for program, output in found:
        answer = subprocess.run(
            [sys.executable, "-c", program.replace(DOOR, standing_door.url)],
            check=True, capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
        # How often it tried within the deadline is up to the machine.
        told = re.sub(r"retries=\d+", "", answer.stdout.strip())
        assert told == re.sub(r"retries=\d+", "", output)
