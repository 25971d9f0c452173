# mypy: ignore-errors
"""A gateway on LiteLLM that answers by itself, and a client of it which OpenTelemetry's
instrumentation watches: two reports of one call; argument: the door.
"""

import asyncio
import http.server
import json
import os
import sys
import threading
import time

DOOR = sys.argv[1]
os.environ["GENERIC_LOGGER_ENDPOINT"] = f"{DOOR}/v1/ingest/litellm"
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"

import litellm
import openai
from litellm.integrations.generic_api.generic_api_callback import GenericAPILogger
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

WITHIN_S = 120
loop = asyncio.new_event_loop()


class Gateway(http.server.BaseHTTPRequestHandler):
    """Chat completions."""

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        body = waited(answer(asked)).model_dump_json().encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


async def answer(asked):
    return await litellm.acompletion(
        model=asked["model"],
        messages=asked["messages"],
        mock_response="refunded",
        user="kim",
        litellm_session_id="gateway-talk",
    )


async def made():
    return GenericAPILogger()


def waited(work):
    return asyncio.run_coroutine_threadsafe(work, loop).result(WITHIN_S)


threading.Thread(target=loop.run_forever, daemon=True).start()
logger = waited(made())
litellm.callbacks = [logger]
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
threading.Thread(target=server.serve_forever, daemon=True).start()

provider = TracerProvider(resource=Resource.create({"service.name": "gateway-client"}))
exporter = OTLPSpanExporter(endpoint=f"{DOOR}/v1/traces")
provider.add_span_processor(BatchSpanProcessor(exporter))
trace.set_tracer_provider(provider)
OpenAIInstrumentor().instrument()
client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{server.server_port}/v1")
client.chat.completions.create(
    model="gpt-4o-mini", messages=[{"role": "user", "content": "refund order 7"}]
)
end = time.monotonic() + WITHIN_S
while not logger.log_queue and time.monotonic() < end:
    time.sleep(0.05)
waited(logger.async_send_batch())
assert provider.force_flush()
provider.shutdown()
# LiteLLM leaves threads behind.
os._exit(0)
