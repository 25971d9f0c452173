# mypy: ignore-errors
"""A client of a gateway, which OpenTelemetry's instrumentation watches: with the gateway's log two
reports of one call. Arguments: the door, the gateway and its key.
"""

import os
import sys

DOOR, GATEWAY, KEY = sys.argv[1:4]
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"

import openai
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider(resource=Resource.create({"service.name": "gateway-client"}))
exporter = OTLPSpanExporter(endpoint=f"{DOOR}/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
OpenAIInstrumentor().instrument()
client = openai.OpenAI(api_key=KEY, base_url=f"{GATEWAY}/v1")
client.chat.completions.create(
    model="gpt-4o-mini",
    user="kim",
    messages=[{"role": "user", "content": "refund order 7"}],
)
assert provider.force_flush()
provider.shutdown()
