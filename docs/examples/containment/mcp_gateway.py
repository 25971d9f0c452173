"""A gateway in front of an MCP server: it reports every tool call, keeps to what it is told, and
knows the tools of the server by the hashes of their definitions.

    python mcp_gateway.py http://127.0.0.1:4318 notes -- python notes_server.py

It stands where a client would start the server itself, and speaks MCP over its standard input and
output (JSON-RPC, a message a line). The agent needs to know nothing of it.
"""

import hashlib
import json
import subprocess
import sys
import threading
import uuid
from typing import Any

from tachograph.pipeline.sdk import Contained, Control, Recorder

REFUSED = -32_001


class Gateway:
    """Passes messages on, but for the calls that must not be made."""

    def __init__(self, recorder: Recorder, server: str, child: "subprocess.Popen[str]") -> None:
        self.recorder, self.server, self.child = recorder, server, child
        self.session = f"mcp-{uuid.uuid4().hex}"
        self.tools: dict[str, str] = {}
        self.open: dict[Any, dict[str, Any]] = {}
        self.control: Control = recorder.listen(state=self.state)

    def state(self) -> dict[str, Any]:
        """What is told on capture."""
        calls = [f"{call['tool_name']} ({number})" for number, call in list(self.open.items())]
        return {"tools": dict(self.tools), "open_calls": calls, "source": "gateway"}

    def from_client(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """A message of the client: None when it goes on to the server, else the answer."""
        if message.get("method") != "tools/call":
            return None
        asked = message.get("params") or {}
        name, args = str(asked.get("name")), asked.get("arguments")
        call = {
            "tool_name": name,
            "tool_args": args,
            "tool_server": self.server,
            "tool_definition_hash": self.tools.get(name),
            "mcp_method": "tools/call",
        }
        try:
            self.control.admit(name, args=args)
        except Contained as contained:
            self.recorder.action(
                "tool_call",
                **call,
                attempt="requested",
                outcome="denied",
                policy_reason=str(contained.directive.directive_id),
            )
            error = {"code": REFUSED, "message": str(contained)}
            return {"jsonrpc": "2.0", "id": message.get("id"), "error": error}
        self.open[message.get("id")] = call
        return None

    def from_server(self, message: dict[str, Any]) -> None:
        """A message of the server: reported, always passed on."""
        result = message.get("result")
        listed = result.get("tools") if isinstance(result, dict) else None
        for tool in listed or ():
            text = json.dumps(tool, sort_keys=True, separators=(",", ":"))
            name, digest = str(tool.get("name")), hashlib.sha256(text.encode()).hexdigest()[:32]
            self.tools[name] = digest
            self.recorder.action(
                "tool_listing",
                tool_name=name,
                tool_server=self.server,
                tool_definition_hash=digest,
                tool_schema=tool.get("inputSchema"),
                tool_description=tool.get("description"),
            )
        call = self.open.pop(message.get("id"), None)
        if call is not None:
            failed = "error" in message or (isinstance(result, dict) and result.get("isError"))
            self.recorder.action(
                "tool_call",
                **call,
                attempt="executed",
                tool_result=result,
                outcome="failed" if failed else "succeeded",
            )


def passed_back(gateway: Gateway) -> None:
    """Everything the server says, to the client."""
    with gateway.recorder.session(gateway.session):
        for line in gateway.child.stdout or ():
            gateway.from_server(json.loads(line))
            print(line, end="", flush=True)


def main(door: str, server: str, command: list[str]) -> int:
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with Recorder(f"mcp/{server}", endpoint=door) as recorder, child:
        gateway = Gateway(recorder, server, child)
        back = threading.Thread(target=passed_back, args=(gateway,))
        back.start()
        with recorder.session(gateway.session):
            for line in sys.stdin:
                answer = gateway.from_client(json.loads(line))
                if answer is not None:
                    print(json.dumps(answer), flush=True)
                elif child.stdin is not None:
                    child.stdin.write(line)
                    child.stdin.flush()
        if child.stdin is not None:
            child.stdin.close()
        back.join()
        gateway.control.close()
    return 0


if __name__ == "__main__":
    at = sys.argv.index("--")
    raise SystemExit(main(sys.argv[1], sys.argv[2], sys.argv[at + 1 :]))
