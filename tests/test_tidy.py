"""House rules that no linter knows: sizes, directions of import, and what may be committed."""

import ast
import gc
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAX_FUNCTION_LINES = 70
MAX_MODULE_LINES = 500
MAX_FILE_BYTES = 1_000_000

TOP_LEVEL = {
    "pipeline",
    "detectors",
    "schemas",
    "tests",
    "infra",
    "docs",
    ".ci",
    "pyproject.toml",
    "Makefile",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "SECURITY.md",
    "NOTICE",
    "requirements.lock",
    ".gitignore",
    ".gitattributes",
}
# What reaches outside the process. `schemas` and `detectors` are functions of their input.
OUTSIDE = {
    "aiohttp",
    "aiokafka",
    "asyncio",
    "chdb",
    "clickhouse_connect",
    "confluent_kafka",
    "faust",
    "http",
    "httpx",
    "multiprocessing",
    "pickle",
    "requests",
    "shelve",
    "signal",
    "socket",
    "sqlite3",
    "ssl",
    "starlette",
    "subprocess",
    "threading",
    "urllib3",
    "uvicorn",
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
KINDS = (*FUNCTIONS, ast.Import, ast.ImportFrom, ast.ExceptHandler, ast.Call)
FORBIDDEN_CALLS = {"eval", "exec", "os.system", "pickle.load", "pickle.loads", "yaml.load"}
# In pieces, so that this file does not hold the words it looks for.
FOREIGN_WORDS = [
    "/" + "work" + "/",
    "bash" + "_jobs",
    "py" + "pi.org",
    "python" + "hosted",
    "registry." + "npmjs",
    "repo1." + "maven",
    "repo." + "maven",
    "crates" + ".io",
    "deb." + "debian",
]


@cache
def tracked() -> tuple[Path, ...]:
    """Every file in the index that is on disk."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return tuple(path for name in names.split("\0") if name and (path := ROOT / name).is_file())


def python_files(*trees: str) -> list[Path]:
    wanted = trees or ("pipeline", "detectors", "schemas", "infra", "tests")
    return [p for p in tracked() if p.suffix == ".py" and p.relative_to(ROOT).parts[0] in wanted]


@cache
def looked_at(path: Path) -> tuple[ast.AST, ...]:
    """All of a file that is of a kind that anybody asks for: to walk through a file takes several
    times as long as to read it.
    """
    walked = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return tuple(node for node in walked if isinstance(node, KINDS))


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def imported(path: Path) -> Iterator[tuple[int, str]]:
    for node in looked_at(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or ""


@pytest.fixture(scope="module", autouse=True)
def _in_a_repository() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("what is committed can only be checked in a git clone")


@pytest.fixture(scope="module", autouse=True)
def _all_syntax_is_kept() -> Iterator[None]:
    """A million nodes that live until the last test: to look for garbage among them takes twice as
    long as to make them.
    """
    gc.disable()
    yield
    looked_at.cache_clear()
    gc.enable()


def test_functions_fit_on_a_screen() -> None:
    long = [
        f"{place(path, node.lineno)} {node.name}: {lines} lines"
        for path in python_files()
        for node in looked_at(path)
        if isinstance(node, FUNCTIONS)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_modules_can_be_read_in_one_go() -> None:
    counts = {path: len(path.read_text().splitlines()) for path in python_files()}
    assert [f"{p.relative_to(ROOT)}: {n}" for p, n in counts.items() if n > MAX_MODULE_LINES] == []


def test_schemas_and_detectors_touch_nothing_outside_the_process() -> None:
    reaching = [
        f"{place(path, line)} imports {name}"
        for path in python_files("schemas", "detectors")
        for line, name in imported(path)
        if name.split(".")[0] in OUTSIDE
    ]
    assert reaching == []


def test_imports_go_one_way_from_pipeline_to_detectors_to_schemas() -> None:
    upward = {
        "schemas": ("tachograph.pipeline", "tachograph.detectors"),
        "detectors": ("tachograph.pipeline",),
    }
    wrong = [
        f"{place(path, line)} imports {name}"
        for tree, above in upward.items()
        for path in python_files(tree)
        for line, name in imported(path)
        if name.startswith(above)
    ]
    assert wrong == []


def test_no_error_is_swallowed_in_silence() -> None:
    silent = [
        place(path, handler.lineno)
        for path in python_files()
        for handler in looked_at(path)
        if isinstance(handler, ast.ExceptHandler) and is_broad(handler.type) and is_empty(handler)
    ]
    assert silent == []


def is_broad(kind: ast.expr | None) -> bool:
    names = kind.elts if isinstance(kind, ast.Tuple) else [kind]
    return any(
        name is None or (isinstance(name, ast.Name) and name.id in {"Exception", "BaseException"})
        for name in names
    )


def is_empty(handler: ast.ExceptHandler) -> bool:
    return all(
        isinstance(line, ast.Pass | ast.Continue)
        or (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        for line in handler.body
    )


def test_nothing_runs_text_as_code_or_unpickles() -> None:
    bad = [
        f"{place(path, node.lineno)} {name}"
        for path in python_files("pipeline", "detectors", "schemas", "infra")
        for node in looked_at(path)
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func)) in FORBIDDEN_CALLS
    ]
    assert bad == []


def test_only_known_names_stand_at_the_top_level() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in tracked()} - TOP_LEVEL == set()


def test_no_committed_file_is_larger_than_a_megabyte() -> None:
    large = [p.relative_to(ROOT) for p in tracked() if p.stat().st_size > MAX_FILE_BYTES]
    assert large == []


def test_no_file_names_a_machine_path_or_a_package_registry() -> None:
    pattern = re.compile("|".join(map(re.escape, FOREIGN_WORDS)))
    named = [
        f"{place(path, number)}: {found[0]}"
        for path in tracked()
        if path.suffix not in {".gz", ".zst"}
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if (found := pattern.search(line))
    ]
    assert named == []
