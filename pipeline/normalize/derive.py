"""Fields that rules ask for and producers leave inside the arguments: command line, file, URL,
recipients, amounts.

A producer's own value always holds. Before redaction, so that what is derived is redacted like the
rest.
"""

import re
import shlex
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import polars as pl

from tachograph.pipeline.normalize import limits
from tachograph.pipeline.normalize.messages import parsed
from tachograph.pipeline.normalize.raw import Row
from tachograph.pipeline.normalize.rows import json_text
from tachograph.schemas.batch import COLUMNS
from tachograph.schemas.identity import Key

_canonical = msgspec.json.Encoder(order="sorted").encode
MAX_ARGUMENTS: Final = 200
MAX_VALUE_CHARS: Final = 16_000
MAX_TOOL_CHARS: Final = 200

# Names of arguments that say where a tool puts what it makes or brings.
_OUTWARD: Final = ("save", "output", "out", "dest", "destination", "download", "export")


def _outward(*nouns: str) -> str:
    return " ".join(
        f"{verb}{joint}{noun}" for verb in _OUTWARD for noun in nouns for joint in ("_", "")
    )


# What an argument of this name is; `program` only when the tool is one that runs programs.
_ROLES: Final[dict[str, str]] = {
    name: role
    for role, names in {
        "command": "command cmd command_line commandline shell_command full_command commands",
        "program": "code script input source python_code program query keystrokes",
        "file": "path file_path filepath file filename file_name notebook_path target_file"
        " absolute_path relative_path relative_workspace_path",
        "folder": _outward("dir", "directory", "folder"),
        "written": f"{_outward('path')} output_file out_file output_filename",
        "url": "url uri href endpoint link webhook webhook_url base_url web_url",
        "recipients": "to cc bcc recipient recipients participants email_to to_email to_emails"
        " recipient_email email_address attendee attendees invitee invitees guest_emails"
        " collaborator collaborators",
        "amount": "amount",
        "target_branch": "branch",
        "target_repo": "repo repository repo_name repository_name repo_full_name",
        "target_table": "table table_name",
        "target_resource": "bucket bucket_name",
        "currency": "currency",
    }.items()
    for name in names.split()
}
_SHELL: Final = re.compile(
    r"(?i)bash|shell|terminal|exec|command|powershell|python|run_?code|interpreter|\bcmd\b|\bsh\b"
)
_READS: Final = re.compile(r"(?i)read|cat|view|open|get|load|fetch|download")
_WRITES: Final = re.compile(r"(?i)write|create|edit|save|append|replace|patch|upload|put")
_DELETES: Final = re.compile(r"(?i)delete|remove|unlink|\brm\b")
_SPLIT: Final = re.compile(r"[,;]\s*")
# Linear, and no Unicode word boundary: see redact.py.
URL: Final = r"""(?i)\b(?:https?|ftp|wss?)://[^\s"'<>\\`{}|^\[\]‹›]{3,2000}"""
_RUST_URL: Final = URL.replace(r"\b", r"(?-u:\b)")


def arguments(row: Row, key: Key) -> None:
    """Fill what the tool's arguments tell, and their keyed hash. In place; never raises on any
    row.
    """
    given = row.get("tool_args")
    if given is None or given == "":
        return
    value = parsed(given)
    if value.__class__ is dict:
        _from_arguments(row, value)
        if given.__class__ is str and ("\\u" in given or "\\/" in given):
            # An escape would hide words from every rule: the same JSON, written plainly.
            row["tool_args"] = value
    if "tool_args_hash" not in row:
        row["tool_args_hash"] = key.digest(_hashable(value))


def _hashable(value: Any) -> bytes:
    try:
        return value.encode() if value.__class__ is str else _canonical(value)
    except (ValueError, RecursionError):
        return repr(value)[:MAX_VALUE_CHARS].encode("utf-8", "replace")


def columns(frame: pl.DataFrame, key: Key) -> pl.DataFrame:
    """The same for a frame of actions whose arguments are texts."""
    if "tool_args" not in frame.columns:
        return frame
    size = frame.height
    tools = frame["tool_name"] if "tool_name" in frame.columns else [None] * size
    hashes: list[str | None] = [None] * size
    plain: dict[int, str] = {}
    found: dict[str, list[Any]] = {}
    for at, (given, tool) in enumerate(zip(frame["tool_args"], tools, strict=True)):
        if not given:
            continue
        row = {"tool_args": given, "tool_name": tool}
        arguments(row, key)
        hashes[at] = row.pop("tool_args_hash")
        if row["tool_args"] is not given:
            plain[at] = json_text(row["tool_args"])
        if len(row) > 2:
            del row["tool_args"], row["tool_name"]
            for name, value in row.items():
                found.setdefault(name, [None] * size)[at] = value
    made = [pl.Series("tool_args_hash", hashes, pl.String)]
    if plain:
        told = pl.Series(list(plain.values()), dtype=pl.String)
        made.append(frame["tool_args"].clone().scatter(list(plain), told))
    return frame.with_columns(*made, *(_filled(frame, n, v) for n, v in found.items()))


def _filled(frame: pl.DataFrame, name: str, values: list[Any]) -> pl.Series:
    """The column with the values where it has none."""
    made = pl.Series(name, values, COLUMNS[name], strict=True)
    if name not in frame.columns:
        return made
    return frame[name].zip_with(frame[name].is_not_null(), made)


# What is named beside a bucket: a thing in it.
_IN_BUCKET: Final = ("key", "object", "object_key", "object_name", "blob", "blob_name")


def _from_arguments(row: Row, args: Row) -> None:
    if len(args) > MAX_ARGUMENTS:
        args = dict(list(args.items())[:MAX_ARGUMENTS])
    known, resource = _known_roles, row.get("target_resource")
    own = row.get("file_path"), row.get("file_op")
    places: dict[str, str] = {}
    for name, value in args.items():
        role = known[name] if name in known else _role(name)
        if role is None or value is None or value == "":
            continue
        if role not in ("folder", "written"):
            _take(row, role, value)
        elif value.__class__ is str:
            places.setdefault(role, value)
    if places and own[0] is None:
        _written(row, places, own[1])
    if resource is None and "target_resource" in row:
        inside = next((args[name] for name in _IN_BUCKET if args.get(name)), None)
        if inside.__class__ is str:
            row["target_resource"] = f"{row['target_resource']}/{inside}"[:MAX_VALUE_CHARS]
    if "target_url" not in row:
        _url_inside(row, args)


# Names of arguments that were seen, as tools send the same ones again and again.
_known_roles: dict[str, str | None] = dict(_ROLES)
KNOWN_NAMES: Final = 10_000
KNOWN_NAME_CHARS: Final = 64


def _role(name: str) -> str | None:
    role = _ROLES.get(name.lower())
    if len(name) <= KNOWN_NAME_CHARS and len(_known_roles) < KNOWN_NAMES:
        _known_roles[name] = role
    return role


def _take(row: Row, role: str, value: Any) -> None:
    if role == "command":
        _set(row, "process_command_line", _command(value))
    elif role == "recipients":
        _recipients(row, value)
    elif role == "amount":
        if value.__class__ in (int, float):
            _set(row, "amount", value)
    elif role == "program":
        if _runs_programs(_tool(row)):
            _set(row, "process_command_line", _command(value))
    elif value.__class__ is str:
        if role == "file":
            _set(row, "file_path", value)
            _set(row, "file_op", _operation(_tool(row)))
        else:
            _set(row, "target_url" if role == "url" else role, value)


def _written(row: Row, places: dict[str, str], own_op: Any) -> None:
    """Where the tool writes: the file, or the folder with the name that stands beside it. A path
    that is named beside is what the tool reads, and stays.
    """
    name, folder = row.get("file_path"), places.get("folder")
    if name is None:
        path = places.get("written", folder)
    elif folder is None or "/" in name or "\\" in name:
        return
    else:
        path = f"{folder.rstrip('/')}/{name}"
    row["file_path"] = path[:MAX_VALUE_CHARS] if path else path
    if own_op is None:
        row["file_op"] = "write"


def _tool(row: Row) -> str:
    tool = row.get("tool_name")
    return tool[:MAX_TOOL_CHARS] if tool.__class__ is str else ""


@lru_cache(limits.CACHED_TEXTS)
def _runs_programs(tool: str) -> bool:
    return _SHELL.search(tool) is not None


def _set(row: Row, field: str, value: Any) -> None:
    if value is not None and row.get(field) is None:
        row[field] = value[:MAX_VALUE_CHARS] if value.__class__ is str else value


def _command(value: Any) -> str | None:
    if value.__class__ is str:
        return str(value)
    if value.__class__ is list and value and all(one.__class__ is str for one in value):
        return shlex.join(value[: limits.LIST_ITEMS])
    return None


@lru_cache(limits.CACHED_TEXTS)
def _operation(tool: str) -> str | None:
    for pattern, operation in ((_DELETES, "delete"), (_WRITES, "write"), (_READS, "read")):
        if pattern.search(tool):
            return operation
    return None


# What models write where an argument has no value: they would be one recipient of many agents.
_NOBODY: Final = frozenset({"", "null", "None"})


def _recipients(row: Row, value: Any) -> None:
    texts = _SPLIT.split(value[:MAX_VALUE_CHARS]) if value.__class__ is str else value
    if texts.__class__ is not list:
        return
    known = row.get("recipients") or []
    if known.__class__ is list:
        more = [one for one in texts if one.__class__ is str and one not in _NOBODY]
        row["recipients"] = [*known, *more][: limits.LIST_ITEMS]


def _url_inside(row: Row, args: Row) -> None:
    for value in args.values():
        if value.__class__ is str and "://" in value:
            found = _FIRST_URL.search(value[:MAX_VALUE_CHARS])
            if found:
                row["target_url"] = found[0].rstrip(".,;:!?)")
                return


_FIRST_URL: Final = re.compile(URL)


def destination(row: Row) -> None:
    """Host, domain and port of the target URL, and the number of recipients. In place; never
    raises.
    """
    url = row.get("target_url")
    if url.__class__ is str and "target_domain" not in row:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if host and len(host) <= 253:
            _set(row, "target_domain", host)
            _set(row, "target_host", host)
            _set(row, "target_port", port)
    recipients = row.get("recipients")
    if recipients.__class__ is list and "recipient_count" not in row:
        row["recipient_count"] = len(recipients)


def destinations(frame: pl.DataFrame) -> pl.DataFrame:
    """The same for a frame of actions."""
    size = frame.height
    found: dict[str, list[Any]] = {}
    names = [name for name in _DESTINATION if name in frame.columns]
    if not {"target_url", "recipients"}.intersection(names):
        return frame
    given = frame.select(names)
    asked = pl.any_horizontal(
        pl.col(name).is_not_null() for name in ("target_url", "recipients") if name in names
    )
    places = given.select(asked).to_series().arg_true()
    for at, known in zip(places, given[places].iter_rows(named=True), strict=True):
        row = {name: value for name, value in known.items() if value is not None}
        destination(row)
        for name, value in row.items():
            if value is not known.get(name):
                found.setdefault(name, [None] * size)[at] = value
    return frame.with_columns(_filled(frame, n, v) for n, v in found.items())


_DESTINATION: Final = (
    "target_url", "target_domain", "target_host", "target_port", "recipients", "recipient_count",
)  # fmt: skip


def content_urls(frame: pl.DataFrame) -> pl.DataFrame:
    """`content_urls` out of the words or the result, where the producer named none."""
    sources = [name for name in ("content_text", "tool_result") if name in frame.columns]
    if not sources or "content_urls" in frame.columns:
        return frame
    text = pl.coalesce(sources)
    told = frame.select(text.alias("text"), text.str.contains("://", literal=True).alias("has"))
    if not told["has"].any():
        return frame
    places = told["has"].arg_true()
    found = told["text"].gather(places).str.extract_all(_RUST_URL)
    urls = pl.DataFrame({"at": places, "urls": found.list.head(limits.CONTENT_URLS)})
    at = pl.DataFrame({"at": pl.int_range(0, frame.height, dtype=pl.UInt32, eager=True)})
    joined = at.join(urls, on="at", how="left", maintain_order="left")["urls"]
    named = joined.list.eval(pl.element().str.strip_chars_end(".,;:!?)")).list.unique(
        maintain_order=True
    )
    return frame.with_columns(named.alias("content_urls"))


def hashes(texts: Sequence[str | None], key: Key) -> tuple[list[str | None], list[int | None]]:
    """Keyed hashes and sizes in bytes of texts, before redaction and cuts: equal contents join."""
    digest = key.digest
    found = [None if text is None else text.encode() for text in texts]
    return (
        [None if text is None else digest(text) for text in found],
        [None if text is None else len(text) for text in found],
    )
