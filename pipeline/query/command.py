"""`tacho query`: a hunt or plain SQL, asked as a reader, in the format that is wanted."""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from tachograph.pipeline import log as logs
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.plain_text import safe
from tachograph.pipeline.query.hunts import Hunt, Plot, found, hunts, values
from tachograph.pipeline.query.place import served
from tachograph.pipeline.query.plot import curves, drawn
from tachograph.pipeline.query.reader import Reader, decoded
from tachograph.pipeline.query.show import show
from tachograph.pipeline.settings import Settings

# Our name → ClickHouse's. A JSON array is written from lines, so that it needs no setting.
FORMATS = {
    "table": "JSONCompactStringsEachRowWithNamesAndTypes",
    "json": "JSONEachRow",
    "ndjson": "JSONEachRow",
    "csv": "CSVWithNames",
    "parquet": "Parquet",
}
SHOWN_ROWS = 200
LISTED_CHARS = 24
PLOTTED_ROWS = 100_000
# How ClickHouse writes an absent value as text.
_NULL = "ᴺᵁᴸᴸ"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says. `asked`: the name of a hunt, SQL, or `-` for SQL on stdin."""

    asked: str
    params: list[str] = []
    format: str = "table"
    out: Path | None = None
    limit: int = SHOWN_ROWS
    plot: str | None = None


class Chosen(msgspec.Struct, frozen=True):
    """A query with a value for each of its parameters."""

    sql: str
    values: dict[str, str]
    plot: Plot | None


def run_list(form: str, sink: TextIO) -> None:
    """The hunts there are. Raises ConfigError."""
    known = list(hunts().values())
    if form == "json":
        sink.write(msgspec.json.format(msgspec.json.encode([_listed(h) for h in known])).decode())
        sink.write("\n")
        return
    if form == "ndjson":
        sink.write("".join(msgspec.json.encode(_listed(h)).decode() + "\n" for h in known))
        return
    if form != "table":
        raise ConfigError(f"--list --format {form}: the list comes as table, json or ndjson")
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for name in ("hunt", "what it finds", "parameters"):
        table.add_column(name, overflow="fold")
    for hunt in known:
        asked = "\n".join(
            f"{one.name}={safe(one.default, LISTED_CHARS).plain}" for one in hunt.parameters
        )
        table.add_row(hunt.name, hunt.description, asked)
    Console(file=sink, markup=False, highlight=False).print(table)


def _listed(hunt: Hunt) -> dict[str, object]:
    return {
        "name": hunt.name,
        "description": hunt.description,
        "risk_categories": hunt.risk_categories,
        "parameters": [msgspec.structs.asdict(one) for one in hunt.parameters],
        "columns": hunt.columns,
        "example": hunt.example,
        "plot": None if hunt.plot is None else msgspec.structs.asdict(hunt.plot),
    }


def run_sql(name: str, sink: TextIO) -> None:
    """The text of a hunt. Raises ConfigError."""
    sink.write(found(name).sql + "\n")


def chosen(question: Question) -> Chosen:
    """The query that is meant: a single word is the name of a hunt. Raises ConfigError."""
    asked = sys.stdin.read() if question.asked == "-" else question.asked
    if len(asked.split()) > 1:
        sql, defaults, plot = asked.strip().rstrip(";"), {}, None
    else:
        hunt = found(asked.strip())
        sql, plot = hunt.sql, hunt.plot
        defaults = {one.name: one.default for one in hunt.parameters}
    if question.plot:
        plot = _plot(question.plot)
    return Chosen(sql, values(sql, question.params, defaults), plot)


def _plot(words: str) -> Plot:
    names = words.split(",")
    if not 2 <= len(names) <= 3 or not all(names):
        raise ConfigError("--plot-columns: write x,y or x,y,by with columns of the result")
    return Plot(x=names[0], y=names[1], by=names[2] if len(names) == 3 else None)


def run_query(question: Question, *, as_plot: bool) -> None:
    """Ask and write. Raises TachoError."""
    logs.configure()
    if question.format not in FORMATS:
        raise ConfigError(f"--format {question.format}: there is {', '.join(FORMATS)}")
    query = chosen(question)
    if as_plot and query.plot is None:
        raise ConfigError("--plot: name the columns, as --plot-columns time,actions,agent_id")
    on_terminal = question.out is None and sys.stdout.isatty()
    if question.format == "parquet" and on_terminal:
        raise ConfigError("--format parquet: say where to, -o FILE")
    with served(Settings.from_env()) as place, Reader(place) as reader:
        if as_plot:
            write_plot(reader, query, sys.stdout)
        elif question.format == "table":
            with _text(question.out) as sink:
                write_table(reader, query, question.limit, sink)
        else:
            with _binary(question.out) as binary:
                for piece in pieces(reader, query, question.format):
                    binary.write(_harmless(piece) if on_terminal else piece)


def _harmless(piece: bytes) -> bytes:
    """What a terminal may be shown: a value must not speak to it."""
    text = piece.decode("utf-8", "replace")
    return "".join(c if c.isprintable() or c == "\n" else "·" for c in text).encode()


def pieces(reader: Reader, query: Chosen, form: str) -> Iterator[bytes]:
    """A result in a format for programs, piece by piece. Raises Refused, RetryLater."""
    if form != "json":
        yield from reader.stream(query.sql, query.values, FORMATS[form])
        return
    between = b"[\n"
    for line in reader.lines(query.sql, query.values, FORMATS[form]):
        yield between + line
        between = b",\n"
    yield b"[]\n" if between == b"[\n" else b"\n]\n"


def write_table(reader: Reader, query: Chosen, limit: int, sink: TextIO) -> None:
    """A result for a person, cut to so many rows. Raises Refused, RetryLater."""
    columns, types, rows, more = fetched(reader, query, limit)
    show(columns, types, rows, sink)
    if more:
        sink.write(f"… more than {limit:,} rows: --limit shows more, --format csv -o FILE all\n")


def write_plot(reader: Reader, query: Chosen, sink: TextIO) -> None:
    """A result as a curve. Raises Refused, RetryLater, ConfigError."""
    columns, _, rows, more = fetched(reader, query, PLOTTED_ROWS)
    console = Console(file=sink, markup=False, highlight=False)
    plot = query.plot or Plot(x=columns[0], y=columns[1])
    console.print(drawn(plot, curves(plot, columns, rows), console.width))
    if more:
        sink.write(f"only the first {PLOTTED_ROWS:,} rows are plotted\n")


def fetched(
    reader: Reader, query: Chosen, limit: int
) -> tuple[list[str], list[str], list[list[str]], bool]:
    """Columns, types, rows as texts, and whether there were more. Raises Refused, RetryLater."""
    lines = reader.lines(query.sql, query.values, FORMATS["table"])
    head = itertools.islice(lines, 2)
    try:
        columns, types = (msgspec.json.decode(line, type=list[str]) for line in head)
    except (ValueError, msgspec.DecodeError) as error:
        raise ConfigError(
            "the answer has no columns: leave FORMAT out of the query and say --format"
        ) from error
    rows: list[list[str]] = []
    for line in lines:
        if len(rows) == limit:
            return columns, types, rows, True
        rows.append(["" if cell == _NULL else cell for cell in decoded(line)])
    return columns, types, rows, False


@contextlib.contextmanager
def _text(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with _opened(out), out.open("w", encoding="utf-8") as sink:
        yield sink


@contextlib.contextmanager
def _binary(out: Path | None) -> Iterator[BinaryIO]:
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with _opened(out), out.open("wb") as sink:
        yield sink


@contextlib.contextmanager
def _opened(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"-o {out}: {error.strerror}") from error
