"""Real producers, unchanged, end as actions in ClickHouse: the OpenAI Agents SDK, an OpenAI client
under OpenTelemetry's GenAI instrumentation, the LiteLLM proxy that it calls, an MCP client and
server with a tap between them. What they report to is `tacho up`, which a drill has shown to see,
and which Ctrl-C ends.

They are installed once, into folders of their own under `.cache`, with the versions of
`producers/requirements.txt` and `litellm.txt`; where no package index can be reached their tests
are skipped.
"""

import hashlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from infra.kafka.broker import free_ports
from tests.e2e import running

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "producers"
WITHIN_S = 300.0
# Of this run's proxy, on loopback: it does not start without one.
PROXY_KEY = "sk-" + uuid.uuid4().hex
Rows = list[dict[str, Any]]
# Which actions, and how many there are to be.
QUESTIONS = {
    "agents": ("source_kind = 'openai_agents'", 4),
    "told twice": ("model_name = 'gpt-4o-mini' AND length(report_sources) = 2", 1),
    "of the model": ("model_name = 'gpt-4o-mini'", 1),
    "told thrice": ("kind = 'tool_call' AND length(report_sources) = 3", 2),
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def _clean(**more: str) -> dict[str, str]:
    ours = ("TACHO_", "KAFKA_", "CLICKHOUSE_", "PROMETHEUS_", "OTEL_", "OPENAI_", "LITELLM_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    # What an SDK would say of itself to its maker is not our business.
    return {**kept, "OPENAI_API_KEY": "none", "LITELLM_LOCAL_MODEL_COST_MAP": "True", **more}


class NotInstalledError(Exception):
    """There is no package index here."""


def _installed(wanted: Path) -> Path:
    """Folder of the programs of an environment with these packages. Raises NotInstalledError."""
    digest = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()[:12]
    home = ROOT / ".cache" / "producers" / digest
    if not (home / "installed").exists():
        uv = [sys.executable, "-m", "uv", "--quiet"]
        steps = (
            [*uv, "venv", "--clear", "--python", sys.executable, str(home)],
            [*uv, "pip", "install", "--prerelease=allow", "--python", str(home / "bin" / "python"),
             "--requirement", str(wanted)],
        )  # fmt: skip
        for step in steps:
            done = subprocess.run(step, check=False, capture_output=True, text=True, timeout=600)
            if done.returncode:
                said = done.stderr.strip()[-200:]
                raise NotInstalledError(f"the producers cannot be installed: {said}")
        (home / "installed").touch()
    return home / "bin"


class Run(NamedTuple):
    """One `tacho up`, ended by Ctrl-C."""

    folder: Path
    code: int
    # The actions of QUESTIONS, by their names; without producers, why there are none.
    found: dict[str, Rows]
    lacking: str

    def rows(self, question: str) -> Rows:
        """Its answer; skips where there were no producers."""
        if self.lacking:
            pytest.skip(self.lacking)
        return self.found[question]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in which a drill was seen, and then each producer has ended well."""
    folder = tmp_path_factory.mktemp("producers")
    door_port, clickhouse_port, proxy_port = free_ports(3)
    door, clickhouse = (f"http://127.0.0.1:{port}" for port in (door_port, clickhouse_port))
    ports = (f"--door-port={door_port}", f"--clickhouse-port={clickhouse_port}")
    found: dict[str, Rows] = {}
    python, proxy, lacking = None, "", ""
    with ExitStack() as stack:
        try:
            # Its packages do not go with those of the others. To start takes it longer than us.
            litellm = _installed(PROGRAMS / "litellm.txt") / "litellm"
            python = _installed(PROGRAMS / "requirements.txt") / "python"
            proxy = stack.enter_context(_proxy(litellm, proxy_port, door, folder / "proxy"))
        except NotInstalledError as error:
            lacking = str(error)
        up = stack.enter_context(running.tacho(folder, "up", "--no-demo", "--plain", *ports))
        # What has just begun may tell who sends to wait; not every producer does.
        _wait_until(lambda: _open(f"{door}/readyz"), up, folder / "out")
        _wait_until(lambda: _drilled(folder, door), up, folder / "out")
        running.wait_for(folder, running.ALERTED, up)
        if python is not None:
            _run_producers(python, door, proxy)
            found = {name: _rows(clickhouse, *asked) for name, asked in QUESTIONS.items()}
        up.send_signal(signal.SIGINT)
        code = up.wait(running.WITHIN_S)
    return Run(folder, code, found, lacking)


@contextmanager
def _proxy(litellm: Path, port: int, door: str, out: Path) -> Iterator[str]:
    """LiteLLM's proxy with an answer of its own, which logs to the door as its manual says."""
    environment = _clean(LITELLM_MASTER_KEY=PROXY_KEY, DEFAULT_FLUSH_INTERVAL_SECONDS="1")
    text = (PROGRAMS / "litellm.yaml").read_text().replace("DOOR", door)
    (out.parent / "litellm.yaml").write_text(text)
    config = ["--config", "litellm.yaml", "--host", "127.0.0.1", "--port", str(port)]
    with out.open("w") as sink, subprocess.Popen(
        [litellm, *config], cwd=out.parent, env=environment, stdin=subprocess.DEVNULL,
        stdout=sink, stderr=sink,
    ) as proxy:  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            _wait_until(lambda: _open(f"{url}/health/liveliness"), proxy, out)
            yield url
        finally:
            proxy.kill()


def _drilled(folder: Path, door: str) -> bool:
    """Whether a drill is an alert in time; one that came before the door takes anything is not."""
    command = [sys.executable, "-m", "tachograph.pipeline.cli", "drill", "--within", "100"]
    environment = _clean(TACHO_HOME=str(folder / ".tacho"), TACHO_DOOR_URL=door)
    done = subprocess.run(command, check=False, env=environment, timeout=WITHIN_S)
    return done.returncode == 0


def _open(url: str) -> bool:
    try:
        # To load certificates, five times a second, would keep a core from what is waited for.
        return httpx.get(url, timeout=5, verify=False).status_code == 200  # noqa: S501 - plain HTTP
    except httpx.HTTPError:
        return False


def _wait_until(done: Callable[[], bool], process: "subprocess.Popen[Any]", out: Path) -> None:
    end = time.monotonic() + WITHIN_S
    while not done():
        assert process.poll() is None, out.read_text()[-3_000:]
        assert time.monotonic() < end, out.read_text()[-3_000:]
        time.sleep(0.2)


def _run_producers(python: Path, door: str, proxy: str) -> None:
    programs = [
        ["agents_sdk.py", door],
        ["gateway_client.py", door, proxy, PROXY_KEY],
        ["mcp_client.py", door, str(PROGRAMS / "mcp_tap.py"), str(PROGRAMS / "mcp_server.py")],
    ]
    running = [
        subprocess.Popen(
            [python, PROGRAMS / name, *arguments], env=_clean(),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for name, *arguments in programs
    ]  # fmt: skip
    for process in running:
        said, _ = process.communicate(timeout=WITHIN_S)
        assert process.returncode == 0, said[-3_000:]


def _rows(clickhouse: str, where: str, count: int) -> Rows:
    """The rows as soon as there are `count` of them; else what there is."""
    query = f"SELECT * FROM tacho.actions WHERE {where} ORDER BY event_time FORMAT JSON"
    end = time.monotonic() + WITHIN_S
    rows: Rows = []
    while time.monotonic() < end:
        rows = httpx.post(clickhouse, content=query, timeout=WITHIN_S).json()["data"]
        if len(rows) == count:
            break
        time.sleep(0.5)
    return rows


def _told(row: dict[str, Any], *names: str) -> tuple[Any, ...]:
    return tuple(row[name] for name in names)


def test_an_agent_of_the_agents_sdk_is_seen_with_its_calls_and_words(run: Run) -> None:
    rows = run.rows("agents")
    assert {_told(row, "agent_id", "session_id") for row in rows} == {
        ("agents-clerk", "agents-talk")
    }
    kinds = [row["kind"] for row in rows]
    assert sorted(kinds) == ["agent_call", "completion", "completion", "tool_call"]
    call = rows[kinds.index("tool_call")]
    assert _told(call, "tool_name", "tool_args", "tool_result", "outcome") == (
        "refund", '{"order": 7}', "order 7 refunded", "succeeded",
    )  # fmt: skip
    said = rows[len(kinds) - 1 - kinds[::-1].index("completion")]
    assert _told(said, "content_text", "model_name", "usage_output_tokens") == (
        "refunded", "scripted-1", 4,
    )  # fmt: skip


def test_a_call_that_client_and_gateway_report_is_one_action_with_both_sources(run: Run) -> None:
    [call] = run.rows("told twice")
    assert sorted(call["report_sources"]) == sorted(
        ["litellm", "opentelemetry.instrumentation.openai_v2"]
    )
    assert _told(call, "kind", "content_text", "outcome") == (
        "completion", "refunded", "succeeded",
    )  # fmt: skip
    assert len(run.rows("of the model")) == 1


def test_an_mcp_call_that_client_server_and_tap_report_is_one_action(run: Run) -> None:
    rows = run.rows("told thrice")
    assert [sorted(row["report_sources"]) for row in rows] == [
        ["mcp", "mcp-python-sdk", "mcp-python-sdk (server)"]
    ] * 2
    names = ("tool_name", "tool_server", "session_id", "tool_args", "outcome")
    assert [_told(row, *names) for row in rows] == [
        ("refund", "orders", "tapped-talk", '{"order":7}', "succeeded"),
        ("refund", "orders", "tapped-talk", '{"order":-1}', "failed"),
    ]
    assert rows[0]["tool_result"] == "order 7 refunded"


def test_ctrl_c_ends_everything_cleanly(run: Run) -> None:
    assert run.code == 0, running.said(run.folder)[-3_000:]
    running.ended_cleanly(run.folder)
