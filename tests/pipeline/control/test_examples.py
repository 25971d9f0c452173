"""The examples of docs/containment.md do what the page says of them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

from tachograph.schemas.action import Action
from tachograph.schemas.codec import decode
from tests.pipeline.serve.conftest import OpenDoor, broker, door, records, settings, written
from tests.pipeline.serve.test_control import held, issue, told
from tests.waiting import WAIT_S, eventually

__all__ = ["broker", "door", "settings"]

EXAMPLES = Path(__file__).resolve().parents[3] / "docs" / "examples" / "containment"
SERVER = (sys.executable, str(EXAMPLES / "notes_server.py"))


class Client:
    """An MCP client behind the gateway."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._to: IO[str] = process.stdin
        self._from: IO[str] = process.stdout
        self._next = 0

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._next += 1
        message = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}
        self._to.write(json.dumps(message) + "\n")
        self._to.flush()
        answer: dict[str, Any] = json.loads(self._from.readline())
        assert answer["id"] == self._next
        return answer


def test_the_gateway_reports_calls_and_refuses_those_that_it_is_told_to(door: OpenDoor) -> None:
    command = [sys.executable, str(EXAMPLES / "mcp_gateway.py"), door.url, "notes", "--", *SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        client = Client(process)
        assert client.ask("initialize")["result"]["serverInfo"]["name"] == "notes"
        assert len(client.ask("tools/list")["result"]["tools"]) == 2
        assert "result" in client.ask("tools/call", name="delete_note", arguments={})
        issue(door, told("quarantine", "stop", agent_id="mcp/notes", scope={"tool": "delete_*"}))
        held(door, "mcp/notes")
        answers: list[dict[str, Any]] = []

        def refused() -> bool:
            answers.append(client.ask("tools/call", name="delete_note", arguments={}))
            return "error" in answers[-1]

        eventually(refused, "the call is refused")
        assert "quarantine" in answers[-1]["error"]["message"]
        assert "result" in client.ask("tools/call", name="read_note", arguments={})
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(WAIT_S) == 0
    lines = _actions(door)
    kinds = {(one.kind, one.tool_name, one.outcome) for one in lines}
    assert ("tool_listing", "delete_note", None) in kinds
    assert {("tool_call", "delete_note", "succeeded"), ("tool_call", "delete_note", "denied"),
            ("tool_call", "read_note", "succeeded")} <= kinds  # fmt: skip
    assert len({one.session_id for one in lines}) == 1


def _actions(door: OpenDoor) -> list[Action]:
    found = records(door.settings, "agent.raw", written(door.settings, "agent.raw"))
    return [decode(Action, line) for one in found for line in (one.value() or b"").split(b"\n")]


def test_the_agent_stops_when_it_is_told_to(door: OpenDoor) -> None:
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / "agent.py"), door.url], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "read_ticket called\n"
        issue(door, told("quarantine", "stop", agent_id="billing-agent"))
        said = process.stdout.read()
        assert process.wait(WAIT_S) == 0
    assert "was not called: quarantine until" in said
