"""Whether a tool did well, by what it gave: that it ran and answered says nothing of that.

A result of MCP says `isError`; a command gives its exit code, in the words of a coding agent or as
JSON.
"""

import re
from typing import Any, Final

from tachograph.pipeline.normalize.messages import parsed
from tachograph.pipeline.normalize.raw import Row

TOOL_ERROR: Final = "tool_error"
CALLS: Final = ("tool_call", "tool_result")
_CODES: Final = ("exit_code", "exitCode", "returncode")
# A result without one of these tells nothing: most need no second look.
TELLING: Final = r'"(?:isError|exit_code|exitCode|returncode)"|^(?:Process exited with|Exit) code'
_SAID: Final = re.compile(r"(?:Process exited with code|Exit code:?) (-?\d{1,9})\b")
_TELLING: Final = re.compile(TELLING)
_INT32: Final = 2**31


def told(result: Any) -> tuple[bool, int | None]:
    """(whether it says that the tool failed, exit code) of a result as text or decoded."""
    if result.__class__ is str:
        said = _SAID.match(result)
        if said:
            return said[1] != "0", int(said[1])
        if not _TELLING.search(result):
            return False, None
        result = parsed(result)
    if result.__class__ is not dict:
        return False, None
    code = _exit_code(result)
    if code is None and result.get("metadata").__class__ is dict:
        code = _exit_code(result["metadata"])
    return result.get("isError") is True or bool(code), code


def _exit_code(result: dict[str, Any]) -> int | None:
    found = next((result[name] for name in _CODES if name in result), None)
    return found if found.__class__ is int and -_INT32 <= found < _INT32 else None


def judge(row: Row) -> None:
    """Let what the tool gave correct an outcome that only says that it ran. In place."""
    if row.get("kind") not in CALLS:
        return
    failed, code = told(row.get("tool_result"))
    if code is not None:
        row.setdefault("process_exit_code", code)
    failed = failed or row.get("process_exit_code") not in (None, 0)
    if failed and row.get("outcome") in (None, "succeeded", "unknown"):
        row["outcome"] = "failed"
        row.setdefault("error_type", TOOL_ERROR)
