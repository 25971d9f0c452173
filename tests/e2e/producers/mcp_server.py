# mypy: ignore-errors
"""An MCP server on standard input and output; argument: the door."""

import sys

from mcp.server.mcpserver import MCPServer
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(resource=Resource.create({"service.name": "mcp-orders"}))
exporter = OTLPSpanExporter(endpoint=f"{sys.argv[1]}/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
server = MCPServer("orders")


@server.tool()
def refund(order: int) -> str:
    """Refund an order."""
    if order < 0:
        raise ValueError("no such order")
    return f"order {order} refunded"


server.run("stdio")
provider.shutdown()
