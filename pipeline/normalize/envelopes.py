"""What stands around the objects of others: an array, a log file of AWS, an event of EventBridge, a
record of Microsoft's audit search.
"""

from typing import Any, Final

import msgspec

# `{"Records": [...]}`, as CloudTrail writes its files.
_RECORDS: Final = "Records"
# What EventBridge carries, and what else it says.
_DETAIL: Final = "detail"
_DETAIL_TYPE: Final = "detail-type"
# JSON text of the record that an audit search found.
_AUDITED: Final = "AuditData"


def items(document: Any) -> list[Any]:
    """The items of a document; one that is no list is an item by itself."""
    if document.__class__ is dict and len(document) == 1:
        document = document.get(_RECORDS, document)
    return document if document.__class__ is list else [document]


def inner(item: dict[str, Any]) -> Any:
    """The object that an envelope carries; an item that is none as it is."""
    if _DETAIL_TYPE in item and item.get(_DETAIL).__class__ is dict:
        return item[_DETAIL]
    audited = item.get(_AUDITED)
    if audited.__class__ is str:
        try:
            found = msgspec.json.decode(audited)
        except (msgspec.DecodeError, RecursionError):
            return item
        return found if found.__class__ is dict else item
    return audited if audited.__class__ is dict else item


def holds_many(text: bytes) -> bool:
    """Whether a document begins as one of many items does, rather than as lines do."""
    head = text[:_HEAD_BYTES].lstrip()
    return head.startswith(b"[") or (
        head.startswith(b"{") and head[1:].lstrip().startswith(_RECORDS_KEY)
    )


_RECORDS_KEY: Final = b'"Records"'
_HEAD_BYTES: Final = 256
