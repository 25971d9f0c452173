"""Write the JSON Schema of every record of ours: `python -m tachograph.schemas.export`.

A developer's tool: the files are committed, and a test says when they and the structs part.
"""

from pathlib import Path

import msgspec

from tachograph.schemas import contracts

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(record: str) -> bytes:
    """JSON Schema of a record as it is committed, from its struct. Raises LookupError."""
    contract = contracts.records()[record]
    schema = msgspec.json.schema(contract.type)
    head = {
        "$schema": DIALECT,
        "title": record,
        "description": contract.meaning,
        "x-version": contract.version,
        "x-topics": contracts.topics_of(record),
    }
    return msgspec.json.format(msgspec.json.encode(head | schema), indent=1) + b"\n"


def ours() -> list[str]:
    """Names of the records whose format is ours."""
    return [name for name, contract in contracts.records().items() if contract.struct]


def main() -> None:
    """Rewrite schemas/json beside this file."""
    folder = Path(__file__).parent / "json"
    for record in ours():
        (folder / f"{record}.schema.json").write_bytes(schema_of(record))


if __name__ == "__main__":
    main()
