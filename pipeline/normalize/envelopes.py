"""What a document holds: the objects of an array, or of a log file of AWS, which is one object."""

from typing import Any, Final

# `{"Records": [...]}`, as CloudTrail writes its files.
_RECORDS: Final = "Records"


def items(document: Any) -> list[Any]:
    """The items of a document; one that is no list is an item by itself."""
    if document.__class__ is dict and len(document) == 1:
        document = document.get(_RECORDS, document)
    return document if document.__class__ is list else [document]


def holds_many(text: bytes) -> bool:
    """Whether a document begins as one of many items does, rather than as lines do."""
    head = text[:_HEAD_BYTES].lstrip()
    return head.startswith(b"[") or (
        head.startswith(b"{") and head[1:].lstrip().startswith(_RECORDS_KEY)
    )


_RECORDS_KEY: Final = b'"Records"'
_HEAD_BYTES: Final = 256
