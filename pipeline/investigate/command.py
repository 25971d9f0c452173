"""`tacho alert ID`, `tacho session ID`, `tacho agent ID`: ask, then show the page or write it."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TextIO, TypeVar

import msgspec

from tachograph.pipeline import log as logs
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.investigate import ask, html, terminal
from tachograph.pipeline.investigate.ask import Kind
from tachograph.pipeline.investigate.page import Grid, Page, Section
from tachograph.pipeline.query.place import served
from tachograph.pipeline.query.reader import Reader
from tachograph.pipeline.settings import Settings

Answer = TypeVar("Answer", Page, Grid)


def page_of(kind: Kind, reader: Reader, whole_id: str, tenant: str = "") -> Page:
    """The page of one thing; of a session or an agent that of one tenant. Only its own module is
    loaded: that of agents brings the engine of behaviour with it. Raises ConfigError.
    """
    module = import_module(f"tachograph.pipeline.investigate.{kind}")
    whose = () if kind == "alert" else (ask.whose(reader, kind, whole_id, tenant),)
    page: Page = module.page(reader, whole_id, *whose)
    return page


def run_show(
    kind: Kind,
    prefix: str,
    tenant: str = "",
    *,
    to_html: Path | None,
    as_json: bool,
    sink: TextIO,
) -> None:
    """Show a page, or write it as one HTML file. Raises TachoError."""

    def asked(reader: Reader) -> Page:
        return page_of(kind, reader, ask.one(reader, kind, prefix, tenant), tenant)

    page = _asked(asked)
    write(page, to_html=to_html, as_json=as_json, sink=sink)


def run_incident(prefix: str, *, to_html: Path | None, as_json: bool, sink: TextIO) -> None:
    """Show the incident of this id, or that an alert belongs to. Raises TachoError."""
    from tachograph.pipeline.investigate import incident

    page = _asked(lambda reader: incident.page(reader, incident.one(reader, prefix)))
    write(page, to_html=to_html, as_json=as_json, sink=sink)


def run_incidents(days: int, *, as_json: bool, sink: TextIO) -> None:
    """Show all incidents. Raises TachoError."""
    from tachograph.pipeline.investigate import incident

    table = _asked(lambda reader: incident.listed(reader, days))
    title = f"{len(table.rows):,} in {days} days"
    sections = [Section("Incidents", [table], "none")]
    page = Page(kind="incidents", id="", title=title, severity="", sections=sections)
    write(page, to_html=None, as_json=as_json, sink=sink)


def _asked(question: Callable[[Reader], Answer]) -> Answer:
    """The answer of the store, wherever it is."""
    logs.configure()
    with served(Settings.from_env()) as place, Reader(place) as reader:
        return question(reader)


def write(page: Page, *, to_html: Path | None, as_json: bool, sink: TextIO) -> None:
    """Write a page where and how it is wanted. Raises ConfigError."""
    if as_json:
        sink.write(msgspec.json.format(msgspec.json.encode(page)).decode() + "\n")
    elif to_html is None:
        terminal.write(page, sink)
    if to_html is not None:
        try:
            to_html.write_text(html.document(page), "utf-8")
        except OSError as error:
            raise ConfigError(f"--html {to_html}: {error.strerror}") from error
        if not as_json:
            sink.write(f"written to {to_html}\n")
