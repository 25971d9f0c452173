"""`tacho schema`: the JSON Schema of a record, or the list of records and where they are."""

import sys
from typing import Annotated

import typer

from tachograph.schemas import contracts


def schema(
    name: Annotated[str | None, typer.Argument(help="record, as in --list")] = None,
    *,
    list_all: Annotated[bool, typer.Option("--list", help="records, topics and keys")] = False,
) -> None:
    """Print the JSON Schema of one record; --list prints what there is."""
    if list_all or name is None:
        sys.stdout.write(listing())
        return
    try:
        sys.stdout.write(contracts.json_schema(name).decode())
    except LookupError as error:
        known = ", ".join(sorted(contracts.records()))
        raise typer.BadParameter(f"{error}; known: {known}") from error


def listing() -> str:
    """One line a record and topic: record, topic, key and meaning, in columns."""
    rows = [("RECORD", "TOPIC", "KEY", "MEANING")]
    rows += [
        (contract.record, topic.topic, contract.key, contract.meaning)
        for topic in contracts.topics().values()
        for contract in topic.records
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = (
        "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]])
        for row in rows
    )
    return "\n".join(lines) + "\n"
