"""Mixed rules, made by a seed: words at every place of a text, regular expressions, numbers, lists,
and all the ways conditions are put together. Few of them match anything.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

SEED: Final = 20_261_126
WORDS: Final = (
    "/etc/shadow", ".ssh/id_rsa", "chmod 777", "xp_cmdshell", "mimikatz", "--no-verify",
    "0.0.0.0/0", "drop table", "base64 -d", "nc -e", "reg save", "vssadmin", "whoami",
    "authorized_keys", "invoke-expression", "rundll32", "certutil", "curl -k", "powershell -enc",
    "net user", "crontab", "iptables -f", "api_key=", "bearer ey", "ignore previous", "sudo su",
    "wget http", "eval(",
)  # fmt: skip


class Vocabulary(msgspec.Struct, frozen=True):
    """What rules can ask of events of one kind."""

    logsource: dict[str, str]
    # Fields of few values, and some of those.
    named: dict[str, list[str]]
    # Fields of free text.
    texts: list[str]
    # A field of numbers, and about how high they go.
    number: tuple[str, int]


ACTIONS: Final = Vocabulary(
    {"category": "any"},
    {"tool_name": ["lookup_order", "query_metric", "run_shell"], "outcome": ["failed"]},
    ["tool_args", "content_text", "tool_result", "target_table", "process_command_line"],
    ("duration_ms", 4_000),
)
PROCESSES: Final = Vocabulary(
    {"category": "process_creation", "product": "windows"},
    {"Image": ["C:\\Windows\\System32\\reg.exe"], "IntegrityLevel": ["System", "High"]},
    ["CommandLine", "ParentCommandLine", "Image", "ParentImage", "CurrentDirectory"],
    ("ProcessId", 65_000),
)
_Shape = Callable[[random.Random, Vocabulary], dict[str, Any]]


def write(folder: Path, of: Vocabulary, count: int) -> None:
    """So many rules, a file each."""
    for number, rule in enumerate(made(of, count)):
        # JSON is YAML.
        (folder / f"mixed_{number:04}.yml").write_bytes(msgspec.json.encode(rule))


def made(of: Vocabulary, count: int) -> Iterator[dict[str, Any]]:
    """So many rules, the same ones each time."""
    rng = random.Random(SEED)
    for number in range(count):
        yield {
            "title": f"Mixed rule {number}",
            "id": f"00000000-0000-4000-8000-{number:012}",
            "logsource": of.logsource,
            "level": rng.choice(["low", "medium", "high"]),
            "detection": _SHAPES[number % len(_SHAPES)](rng, of),
        }


def _text(rng: random.Random, of: Vocabulary, how: str = "contains") -> dict[str, Any]:
    return {f"{rng.choice(of.texts)}|{how}": rng.sample(WORDS, rng.randint(2, 4))}


def _named(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    field = rng.choice(sorted(of.named))
    return {field: rng.choice(of.named[field])}


def _any_word(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    return {"sel": _text(rng, of), "condition": "sel"}


def _all_words(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    return {"sel": {**_named(rng, of), **_text(rng, of, "contains|all")}, "condition": "sel"}


def _at_the_ends(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    return {
        "begin": _text(rng, of, "startswith"),
        "end": _text(rng, of, "endswith"),
        "filter": _named(rng, of),
        "condition": "(begin or end) and not filter",
    }


def _expression(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    first, second = (word.split()[0].strip("(=") for word in rng.sample(WORDS, 2))
    pattern = f"(?i){first.replace('.', '[.]')}\\s{{1,3}}[a-z0-9_-]{{2,20}}.*{second[:4]}[0-9]+"
    return {"sel": {f"{rng.choice(of.texts)}|re": pattern}, "condition": "sel"}


def _number(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    field, most = of.number
    asked = {f"{field}|gte": most - rng.randrange(most // 200), **_named(rng, of)}
    return {"sel": asked, "condition": "sel"}


def _some_of(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    parts = {f"sel_{at}": _text(rng, of) for at in range(3)}
    return {**parts, "filter": _named(rng, of), "condition": "1 of sel_* and not filter"}


def _all_of(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    return {f"sel_{at}": _text(rng, of) for at in range(2)} | {"condition": "all of sel_*"}


def _wildcard(rng: random.Random, of: Vocabulary) -> dict[str, Any]:
    first, second = rng.sample(WORDS, 2)
    return {"sel": {rng.choice(of.texts): f"*{first}*{second[:3]}?"}, "condition": "sel"}


_SHAPES: Final[tuple[_Shape, ...]] = (
    _any_word, _all_words, _at_the_ends, _expression, _number, _some_of, _all_of, _wildcard,
)  # fmt: skip
