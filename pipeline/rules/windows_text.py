"""How groups of a rule stand, as lines for a person."""

from collections.abc import Iterator

from tachograph.detectors.correlation.standing import Shown, Standing
from tachograph.pipeline.rules.loading import counted
from tachograph.pipeline.rules.windows import Told, Windows

# Of an id, so much tells events apart.
_ID_CHARS = 12
_WORDS = {"sliding": ("after", "up to"), "tumbling": ("from", "before"), "session": ("from", "to")}


def windows_text(windows: Windows) -> Iterator[str]:
    """All that is told of groups."""
    yield f"{counted(windows.groups, 'group')}, {counted(windows.signals, 'signal')}"
    for told in windows.told:
        yield from _group(told)
    if windows.none is not None:
        yield windows.none
    left = windows.groups - len(windows.told)
    if left > 0 and windows.told:
        yield f"… and {counted(left, 'more group')}; --group key=value asks for one"


def _group(told: Told) -> Iterator[str]:
    standing = told.standing
    words = counted(len(told.signals) + told.more, "signal") if told.signals else "no signal"
    yield f"group {named(standing)}: {words}"
    for signal in told.signals:
        yield f"  {signal}"
    if told.more:
        yield f"  … and {told.more} more"
    yield from standing_text(standing)


def standing_text(standing: Standing) -> Iterator[str]:
    """How one group stands."""
    mark = "✓" if standing.missing is None else "✗"
    missing = "" if standing.missing is None else f"   missing: {standing.missing}"
    yield f"  asked: {standing.asked}"
    begin, end = _WORDS[standing.window]
    window = f"{begin} {_short(standing.since)} {end} {_short(standing.until)}"
    yield f"  {mark} {window}: {standing.found}{missing}"
    if standing.more:
        yield f"    … {standing.more} before"
    for event in standing.events:
        yield f"    {_event(event)}"


def named(standing: Standing) -> str:
    """Which group it is."""
    values = ", ".join(f"{name}={_clean(value)}" for name, value in standing.group.items())
    place = f" of {_clean(standing.partition_key)}" if standing.partition_key else ""
    return f"{values or 'of all'}{place}, tenant {_clean(standing.tenant)}"


def _event(event: Shown) -> str:
    value = f"   {_clean(event.value)}" if event.value else ""
    late = "   late" if event.late else ""
    what = _clean(event.what)
    steps = " + ".join(event.steps)
    return f"{_short(event.event_time)}  {event.event_id[:_ID_CHARS]}  {what}  {steps}{value}{late}"


def _short(time: str) -> str:
    return time.removesuffix("+00:00")


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "·" for char in text)
