"""What a correlation asks of a window, in words."""

from tachograph.detectors.language.bounds import described
from tachograph.detectors.language.rule import (
    MICROS,
    Absent,
    AllOf,
    AnyOf,
    Correlation,
    Count,
    Expression,
    Figure,
    FirstSeen,
    Link,
    Not,
    Ordered,
    Seen,
    Together,
    Values,
)
from tachograph.detectors.language.wording import MAX_VALUE_CHARS

# Of alternatives, or of different values, so many are named.
MAX_VALUES = 8
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"))


def asked(rule: Correlation) -> str:
    """What a rule asks of its windows."""
    names = [step.name for step in rule.steps]
    within = _within(rule)
    match rule.asks:
        case Count(bounds=bounds):
            return f"{described(bounds)} actions {within}"
        case Values(fields=fields, bounds=bounds):
            return f"{described(bounds)} values of {', '.join(fields)} {within}"
        case Figure(field=field, bounds=bounds) as figure:
            return f"{folded(figure)} of {field} {described(bounds)} {within}"
        case Together(bounds=bounds, expression=expression):
            if expression is not None:
                return f"{_expressed(expression, names)} {within}"
            return f"{described(bounds)} of {', '.join(names)} {within}"
        case Ordered(paths=paths, bounds=bounds):
            if not paths:
                return f"{described(bounds)} of {', '.join(names)} in this order {within}"
            ways = [_path(path, names) for path in paths[:MAX_VALUES]]
            return f"{' or '.join(ways)} {within}"
        case Absent():
            return f"{names[0]} and no {names[1]} within {span_words(rule.timespan_us)} after it"
        case FirstSeen(fields=fields, learning_us=learning_us):
            known = span_words(rule.timespan_us)
            learning = f", after {span_words(learning_us)} of learning" if learning_us else ""
            return f"values of {', '.join(fields)} that were not seen for {known}{learning}"
    raise AssertionError(rule.asks)


def _within(rule: Correlation) -> str:
    span = span_words(rule.timespan_us)
    match rule.window:
        case "sliding":
            return f"within {span}"
        case "tumbling":
            return f"in a window of {span}"
        case "session":
            return f"in a session of at most {span} without a pause of {span_words(rule.gap_us)}"


def _path(path: tuple[Link, ...], names: list[str]) -> str:
    words = []
    for place, link in enumerate(path):
        without = " and no ".join(names[step] for step in link.without)
        before = f"no {without} {'before' if not place else 'between'}, " if without else ""
        words.append(f"{before}{names[link.step]}")
    return " → ".join(words)


def _expressed(expression: Expression, names: list[str]) -> str:
    match expression:
        case Seen(step=step):
            return names[step]
        case Not(part=part):
            return f"no {_inner(part, names)}"
        case AllOf(parts=parts):
            return " and ".join(_inner(part, names) for part in parts)
        case AnyOf(parts=parts):
            return " or ".join(_inner(part, names) for part in parts)


def _inner(expression: Expression, names: list[str]) -> str:
    text = _expressed(expression, names)
    return f"({text})" if isinstance(expression, AllOf | AnyOf) else text


def folded(asks: Figure) -> str:
    """What is made of numbers."""
    match asks.fold, asks.percent:
        case "percentile", 50:
            return "median"
        case "percentile", percent:
            return f"percentile {percent}"
    return "mean" if asks.fold == "avg" else "sum"


def span_words(span_us: int) -> str:
    """A span of time: 90 s, 5 min, 7 d."""
    seconds = span_us / MICROS
    for unit, name in _UNITS:
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def plain(text: str) -> str:
    """A value on one line, cut short."""
    clean = "".join(char if char.isprintable() else "·" for char in text)
    return clean if len(clean) <= MAX_VALUE_CHARS else f"{clean[: MAX_VALUE_CHARS - 1]}…"
