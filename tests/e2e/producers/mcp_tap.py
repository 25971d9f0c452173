# mypy: ignore-errors
"""A tap between an MCP client and the server that it starts: carries each message on and posts
them all to the door; arguments: the door, the server.
"""

import datetime as dt
import json
import subprocess
import sys
import threading
import urllib.request

door, program = sys.argv[1:]
server = subprocess.Popen(
    [sys.executable, program, door], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)
seen = []


def carry(source, sink, direction):
    for line in source:
        said = {
            "ts": dt.datetime.now(dt.UTC).isoformat(),
            "session": "tapped-talk",
            "server": "orders",
            "transport": "stdio",
            "direction": direction,
            "message": json.loads(line),
        }
        seen.append(said)
        sink.write(line)
        sink.flush()
    sink.close()


back = threading.Thread(target=carry, args=(server.stdout, sys.stdout.buffer, "server_to_client"))
back.start()
carry(sys.stdin.buffer, server.stdin, "client_to_server")
back.join()
request = urllib.request.Request(
    f"{door}/v1/ingest/mcp", json.dumps(seen).encode(), {"content-type": "application/json"}
)
urllib.request.urlopen(request).read()
server.wait()
