# mypy: ignore-errors
"""An MCP client that calls a tool twice, the second time in vain; arguments: the door, the tap,
the server.
"""

import asyncio
import sys

from mcp import Client, StdioServerParameters
from mcp.client import stdio
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

# The client kills the server, and the tap with it, so long after it has hung up. Both have to send
# what they saw first, which may take longer on a busy machine.
stdio.PROCESS_TERMINATION_TIMEOUT = 120.0
door, tap, server = sys.argv[1:]
provider = TracerProvider(resource=Resource.create({"service.name": "mcp-agent"}))
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{door}/v1/traces")))
trace.set_tracer_provider(provider)


async def main():
    command = StdioServerParameters(command=sys.executable, args=[tap, door, server])
    async with Client(command) as client:
        for order in (7, -1):
            await client.call_tool("refund", {"order": order})


asyncio.run(main())
provider.shutdown()
