"""As small as an MCP server can be: two tools, over standard input and output."""

import json
import sys

TOOLS = [
    {"name": "read_note", "description": "Reads a note.", "inputSchema": {"type": "object"}},
    {"name": "delete_note", "description": "Deletes a note.", "inputSchema": {"type": "object"}},
]


def answer(message: dict) -> dict:
    match message.get("method"):
        case "initialize":
            server = {"name": "notes", "version": "1"}
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": server,
            }
        case "tools/list":
            return {"tools": TOOLS}
        case "tools/call":
            name = message["params"]["name"]
            return {"content": [{"type": "text", "text": f"{name}: done"}], "isError": False}
    return {}


for line in sys.stdin:
    message = json.loads(line)
    if "id" in message:
        said = {"jsonrpc": "2.0", "id": message["id"], "result": answer(message)}
        print(json.dumps(said), flush=True)
