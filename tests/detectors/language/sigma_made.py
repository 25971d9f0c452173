"""Sigma rules and events made at random from one seed: few names and few words, so that rules match
often and nearly match more often.
"""

import random
from collections.abc import Callable
from typing import Any

Data = dict[str, Any]

_WORDS = [
    "cmd", "CMD.exe", "powershell -enc", "net user /add", "ping -n 1", "C:\\Windows\\x", "a*b",
    "a?b", "100%", "äpfel", "Straße", "x\ny", "", " ", "cmd /c whoami", "\\\\srv\\c$", "(a|b)", "0",
    "4688", "1.5", "true", "null", "–n", "—x", "c2VjcmV0", "cABpAG4AZwA=", "YSBzZWNyZXQ=",
]  # fmt: skip
_PARTS = [
    "cmd",
    "CMD",
    ".exe",
    "-n",
    " -enc",
    "/c",
    "\\",
    "a",
    "b",
    "Äp",
    "ss",
    "%",
    "1",
    "",
    "\\x",
]
_WILD = ["*", "?", "*cmd*", "c?d", "*.exe", "cmd*", "a*b", r"a\*b", r"a\?b", "*\\\\x", "?*",
         "*-*-*", r"C:\Windows\*", r"\\\\srv\\*", "**", "*\n*", "p*-n*1"]  # fmt: skip
_REGEXES = [
    "cmd", "^cmd", r"\.exe$", "C[Mm]D", r"\d+", r"\bnet\b", "a.b", "x.y", "^y$", "^$", ".*",
    "(a|b)", r"[^\w\s]", "(?i)cmd", r"\\x", "p(?!o)", "(?<=-)n", r"^\s*$", "ä",
]  # fmt: skip
_TIMES = ["2026-11-23T23:05:00Z", "2027-01-01T00:59:59.5Z", "2026-02-28 07:30:00", "no time",
          "2026-11-24T00:05:00+01:00"]  # fmt: skip
_IPS = ["10.1.2.3", "10.255.0.1", "192.168.1.7", "8.8.8.8", "2001:db8::1", "fe80::1", "x", "::1"]
_NETS = ["10.0.0.0/8", "192.168.1.0/24", "8.8.8.8/32", "0.0.0.0/0", "2001:db8::/32", "::/0",
         "10.1.2.0/23"]  # fmt: skip
_ALMOST = [
    " 5",
    "5.0",
    "1e0",
    "0x1",
    "+5",
    ".5",
    "5.",
    "\uff11",
    "1_0",
    "-3",
    "05",
    "TRUE",
    "False",
]
_NUMBERS = [0, 1, 2, 5, 4688, -3, 1.5, 2.5, 10**15]
TEXTS = ["Image", "CommandLine", "user name", "proc.parent.name", "Tags", "items.name", "Mixed"]
NUMBERS = ["EventID", "Size", "Mixed", "proc.pid", "Counts"]
ANY = [*TEXTS, *NUMBERS, "Ok", "Nowhere", "T", "Ip"]


def event(rng: random.Random) -> Data:
    """One event; a field may be there, be null, or be missing."""

    def word() -> str:
        return rng.choice(_WORDS)

    def number() -> float:
        return rng.choice(_NUMBERS)

    made: Data = {
        "Image": word(),
        "CommandLine": f"{word()} {word()}",
        "user name": word(),
        "EventID": rng.choice([1, 2, 4688]),
        "Size": number(),
        "Mixed": rng.choice([word(), number(), rng.choice(_ALMOST), True, False, None]),
        "Ok": rng.choice([True, False, "true", "no"]),
        "proc": {"pid": number(), "parent": {"name": word()}},
        "Tags": [word() for _ in range(rng.randrange(1, 4))],
        "Counts": [number() for _ in range(rng.randrange(1, 3))],
        "items": [{"name": word()} for _ in range(rng.randrange(1, 3))],
        "T": rng.choice(_TIMES),
        "Ip": rng.choice(_IPS),
    }
    for name in list(made):
        fate = rng.random()
        if fate < 0.1:
            del made[name]
        elif fate < 0.15:
            made[name] = None
    return made


def rule(rng: random.Random, number: int) -> Data:
    """One rule, as its YAML would be."""
    names = ["sel", "sel_b", "filter", "kw"][: rng.randrange(1, 5)]
    detection: Data = {name: _selection(rng) for name in names if name != "kw"}
    if "kw" in names:
        detection["kw"] = _keywords(rng)
    return {
        "title": f"rule {number}",
        "id": f"00000000-0000-4000-8000-{number:012x}",
        "logsource": {"category": "made"},
        "detection": {**detection, "condition": _condition(rng, names, 0)},
    }


def _condition(rng: random.Random, names: list[str], depth: int) -> str:
    kind = rng.randrange(9)
    if depth > 2 or kind < 4:
        return rng.choice(names)
    if kind == 4:
        return f"not {_condition(rng, names, depth + 2)}"
    if kind == 5:
        pattern = rng.choice(["them", "sel*", "sel*"])
        return f"{rng.choice(['1', 'any', 'all'])} of {pattern}"
    one, other = _condition(rng, names, depth + 1), _condition(rng, names, depth + 1)
    if kind == 6:
        return f"({one} or {other})"
    if kind == 7:
        return f"({one} and {other})"
    return f"{one} and not ({other})"


def _selection(rng: random.Random) -> Any:
    if rng.random() < 0.2:
        return [_map(rng) for _ in range(rng.randrange(1, 4))]
    return _map(rng)


def _map(rng: random.Random) -> Data:
    return dict(rng.choice(_ITEMS)(rng) for _ in range(rng.randrange(1, 4)))


def _keywords(rng: random.Random) -> Any:
    words = [rng.choice([*_PARTS[:11], "cm?", "net*add", 4688]) for _ in range(rng.randrange(1, 3))]
    return {"|all": words} if len(words) > 1 and rng.random() < 0.4 else words


def _one_or_more(rng: random.Random, make: Callable[[], Any]) -> Any:
    return make() if rng.random() < 0.5 else [make() for _ in range(rng.randrange(1, 4))]


def _plain(rng: random.Random) -> tuple[str, Any]:
    cased = rng.choice(["", "", "|cased"])
    words = _one_or_more(rng, lambda: rng.choice([rng.choice(_WORDS), rng.choice(_WILD)]))
    return f"{rng.choice(TEXTS)}{cased}", words


def _part(rng: random.Random) -> tuple[str, Any]:
    modifiers = [rng.choice(["contains", "startswith", "endswith"])]
    words = _one_or_more(rng, lambda: rng.choice([*_PARTS, rng.choice(_WILD)]))
    if rng.random() < 0.25:
        modifiers.insert(0, "windash")
    if rng.random() < 0.2:
        modifiers.append("cased")
    if isinstance(words, list) and len(words) > 1 and rng.random() < 0.4:
        modifiers.append("all")
    return "|".join([rng.choice(TEXTS), *modifiers]), words


def _encoded(rng: random.Random) -> tuple[str, Any]:
    how = rng.choice(["base64", "base64offset"])
    # Both are names of one modifier.
    little = "|wide" if how == "base64" else "|utf16le"
    before = rng.choice(["", little, "|utf16be", "|utf16"])
    words = _one_or_more(rng, lambda: rng.choice(["secret", "ping", "cmd"]))
    return f"{rng.choice(TEXTS)}{before}|{how}|contains", words


def _regex(rng: random.Random) -> tuple[str, Any]:
    flags = rng.choice(["", "", "|i", "|m", "|s", "|i|s"])
    words = _one_or_more(rng, lambda: rng.choice(_REGEXES))
    if isinstance(words, list) and len(words) > 1 and rng.random() < 0.3:
        flags += "|all"
    return f"{rng.choice(TEXTS)}|re{flags}", words


def _number(rng: random.Random) -> tuple[str, Any]:
    how = rng.choice(["", "", "|lt", "|lte", "|gt", "|gte"])
    numbers = rng.choice(_NUMBERS) if how else _one_or_more(rng, lambda: rng.choice(_NUMBERS))
    return f"{rng.choice(NUMBERS)}{how}", numbers


def _other(rng: random.Random) -> tuple[str, Any]:
    match rng.randrange(6):
        case 0:
            return f"{rng.choice(ANY)}|exists", rng.choice([True, False])
        case 1:
            return rng.choice(ANY), None
        case 2:
            return rng.choice(["Ok", "Mixed"]), rng.choice([True, False])
        case 3:
            return "Ip|cidr", _one_or_more(rng, lambda: rng.choice(_NETS))
        case 4:
            how = rng.choice(["", "", "|startswith", "|endswith", "|contains"])
            cased = rng.choice(["{}", "{}", "cased|{}", "{}|cased"])
            return f"{rng.choice(TEXTS)}|{cased.format(f'fieldref{how}')}", rng.choice(TEXTS)
    name = rng.choice(ANY)
    return f"{name}|neq", rng.choice([*_WORDS[:8], 1, 4688, 1.5])


def _time(rng: random.Random) -> tuple[str, Any]:
    unit, values = rng.choice([
        ("minute", [5, 59, 30]), ("hour", [23, 0, 7]), ("day", [23, 1, 28]), ("week", [48, 53, 9]),
        ("month", [11, 1, 2]), ("year", [2026, 2027]),
    ])  # fmt: skip
    return f"T|{unit}{rng.choice(['', '', '|gte', '|lt'])}", rng.choice(values)


_ITEMS: list[Callable[[random.Random], tuple[str, Any]]] = [
    _plain, _plain, _part, _part, _encoded, _regex, _number, _number, _other, _time,
]  # fmt: skip
