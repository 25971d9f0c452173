"""`forward.yaml` or `forward.toml`: which destinations there are, what each gets, and how. All
problems come at once.

Secrets stand in the environment (`secret_env`) or a file (`secret_file`), never in this file: it
can be shown, copied and committed.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml

from tachograph.pipeline import plain_yaml
from tachograph.pipeline.errors import ConfigError
from tachograph.pipeline.forward.destination import DestinationType, Options, Secret, types
from tachograph.pipeline.forward.formats import Format, formats
from tachograph.pipeline.settings import Settings
from tachograph.schemas.alert import RiskCategory, Severity

FILE_NAMES = ("forward.yaml", "forward.yml", "forward.toml")
PATH_VARIABLE = "TACHO_FORWARD_CONFIG"
MAX_DESTINATIONS = 50
MAX_FILE_BYTES = 1_048_576
MAX_SECRET_BYTES = 4_096
# The name is part of a consumer group, of a file name and of metric labels.
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")

S = TypeVar("S", bound=msgspec.Struct)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """What every destination can be told, whatever its type. An empty list lets all through."""

    name: str
    type: str
    format: str | None = None
    min_severity: Severity = "informational"
    tenants: list[str] = []
    environments: list[str] = []
    risk_categories: list[RiskCategory] = []
    rules: list[str] = []  # rule ids; * stands for any text
    owner_teams: list[str] = []
    synthetic: Literal["mark", "skip"] = "mark"
    # Alerts a minute; the rest is held back and summed up in one record. None: no cap.
    rate_cap: Annotated[int, msgspec.Meta(ge=1)] | None = None
    # How often the destination is told that we are alive; 0: never.
    health_every_s: Annotated[int, msgspec.Meta(ge=0)] = 300
    secret_env: str | None = None
    secret_file: str | None = None


class Configured(msgspec.Struct, frozen=True, kw_only=True):
    """One destination, checked and ready to be opened."""

    route: Route
    type: DestinationType
    options: Options
    format: Format
    secret: Secret | None

    def shown(self) -> dict[str, Any]:
        """The configuration as a person may see it: no secret, no URL path (which may be one)."""
        options = msgspec.to_builtins(self.options)
        for name in ("url", "login_url", "endpoint"):
            if options.get(name):
                options[name] = re.sub(r"^(\w+://[^/?#]+).*", r"\1/…", options[name])
        return {**msgspec.to_builtins(self.route), "format": self.format.NAME, **options}


def load(
    settings: Settings, path: Path | None = None, environ: Mapping[str, str] | None = None
) -> list[Configured]:
    """The destinations of `path`, else of the file that TACHO_FORWARD_CONFIG names, else of
    forward.yaml or forward.toml in TACHO_HOME; none when there is no such file.

    Raises ConfigError that names every problem, one a line.
    """
    environ = os.environ if environ is None else environ
    named = path or (Path(environ[PATH_VARIABLE]) if environ.get(PATH_VARIABLE) else None)
    chosen = named or _beside(settings.home)
    if chosen is None:
        return []
    tables, problems = _tables(chosen)
    found = []
    for number, table in enumerate(tables, 1):
        where = f"destination {table.get('name', number)}" if isinstance(table, dict) else ""
        configured, wrong = _configured(table, environ)
        problems += [f"{where or f'destination {number}'}: {problem}" for problem in wrong]
        found += [configured] if configured else []
    problems += _twice([configured.route.name for configured in found])
    if problems:
        raise ConfigError(f"{chosen}:\n" + "\n".join(f"  {problem}" for problem in problems))
    return found


def _beside(home: Path) -> Path | None:
    found = [home / name for name in FILE_NAMES if (home / name).exists()]
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise ConfigError(f"{home}: {names}: keep one of them")
    return found[0] if found else None


def _tables(path: Path) -> tuple[list[Any], list[str]]:
    try:
        content = path.read_bytes()
        if len(content) > MAX_FILE_BYTES:
            return [], [f"larger than {MAX_FILE_BYTES} bytes"]
        document = _document(path, content.decode())
    except OSError as error:
        return [], [f"cannot be read: {error.strerror}"]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        return [], [f"is no {_language(path)}: {error}"]
    if not isinstance(document, dict):
        return [], ["begins with destinations:"]
    # TOML writers think of one table, YAML writers of a list: either word will do.
    tables = document.pop("destinations", document.pop("destination", []))
    problems = [f"unknown key {name!r}; only destinations is known" for name in document]
    if not isinstance(tables, list):
        return [], [*problems, "destinations is a list; in TOML write [[destination]]"]
    if len(tables) > MAX_DESTINATIONS:
        problems.append(f"more than {MAX_DESTINATIONS} destinations")
    return tables[:MAX_DESTINATIONS], problems


def _language(path: Path) -> str:
    return "TOML" if path.suffix == ".toml" else "YAML"


def _document(path: Path, text: str) -> Any:
    if _language(path) == "TOML":
        return tomllib.loads(text)
    document = plain_yaml.loaded(text)
    return {} if document is None else document


def _configured(table: Any, environ: Mapping[str, str]) -> tuple[Configured | None, list[str]]:
    if not isinstance(table, dict):
        return None, ["is no table"]
    common = {field.name for field in msgspec.structs.fields(Route)}
    route, problems = _struct(Route, {k: v for k, v in table.items() if k in common})
    secret, secret_problems = _secret(table, environ)
    problems += secret_problems
    if route is not None:
        problems += _route_problems(route)
    kind = types().get(str(table.get("type")))
    if kind is None:
        return None, [*problems, f"type: none of {', '.join(sorted(types()))}"]
    rest = {k: v for k, v in table.items() if k not in common}
    options, wrong = _struct(kind.Options, rest)
    problems += wrong
    if options is not None and not secret_problems:
        problems += options.problems(secret)
    form, wrong = _format(table.get("format"), kind)
    problems += wrong
    if form is not None and (form.NAME == "template") != bool(rest.get("template_file")):
        problems.append('format = "template" and template_file go together')
    if problems or route is None or options is None or form is None:
        return None, problems
    return Configured(route=route, type=kind, options=options, format=form, secret=secret), []


def _struct(kind: type[S], table: dict[str, Any]) -> tuple[S | None, list[str]]:
    """The table as a struct, or every field that is wrong (msgspec alone names only the first)."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    problems = [f"unknown option {name!r}" for name in table if name not in fields]
    for name, field in fields.items():
        if name not in table:
            if field.required:
                problems.append(f"{name} is missing")
            continue
        try:
            msgspec.convert(table[name], field.type)
        except msgspec.ValidationError as error:
            problems.append(f"{name}: {error}")
    if problems:
        return None, problems
    return msgspec.convert(table, kind), []


def _route_problems(route: Route) -> list[str]:
    if _NAME.fullmatch(route.name):
        return []
    return [f"name: {route.name!r}; use up to 41 of a-z 0-9 - _, beginning with a letter or digit"]


def _format(name: Any, kind: DestinationType) -> tuple[Format | None, list[str]]:
    chosen = kind.FORMATS[0] if name is None else name
    if chosen not in kind.FORMATS:
        return None, [f"format: {chosen!r}; {kind.TYPE} carries {', '.join(kind.FORMATS)}"]
    return formats()[chosen], []


def _secret(table: dict[str, Any], environ: Mapping[str, str]) -> tuple[Secret | None, list[str]]:
    variable, path = table.get("secret_env"), table.get("secret_file")
    if "secret" in table:
        return None, ["secret: not in this file; use secret_env or secret_file"]
    if variable and path:
        return None, ["secret_env and secret_file: give one of them"]
    if isinstance(variable, str) and variable:
        value = environ.get(variable)
        return (Secret(value), []) if value else (None, [f"secret_env: {variable} is not set"])
    if isinstance(path, str) and path:
        return _secret_file(Path(path))
    return None, []


def _secret_file(path: Path) -> tuple[Secret | None, list[str]]:
    try:
        with path.open("rb") as file:
            value = file.read(MAX_SECRET_BYTES).decode().strip()
    except OSError as error:
        return None, [f"secret_file: {path}: {error.strerror}"]
    except UnicodeDecodeError:
        return None, [f"secret_file: {path} is not UTF-8 text"]
    return (Secret(value), []) if value else (None, [f"secret_file: {path} is empty"])


def _twice(names: list[str]) -> list[str]:
    doubled = sorted({name for name in names if names.count(name) > 1})
    return [f"name {name!r} is given twice" for name in doubled]
