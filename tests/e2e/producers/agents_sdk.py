# mypy: ignore-errors
"""An agent of the OpenAI Agents SDK with a model that needs no network; argument: the door."""

import asyncio
import sys

from agents import Agent, RunConfig, Runner, function_tool, set_trace_processors
from agents.items import ModelResponse
from agents.models.interface import Model
from agents.tracing import generation_span, get_trace_provider
from agents.tracing.processors import BackendSpanExporter, BatchTraceProcessor
from agents.usage import Usage
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

ENDPOINT = f"{sys.argv[1]}/v1/ingest/openai_agents"


class Scripted(Model):
    """Calls the tool, then says so."""

    def __init__(self):
        self.turn = 0

    async def get_response(self, *_, **__):
        self.turn += 1
        said = "refunded" if self.turn > 1 else "I call refund"
        with generation_span(
            input=[{"role": "user", "content": "refund order 7"}],
            output=[{"role": "assistant", "content": said}],
            model="scripted-1",
            usage={"input_tokens": 3, "output_tokens": 4},
        ):
            pass
        return ModelResponse(output=[self._output(said)], usage=Usage(), response_id=None)

    def _output(self, said):
        if self.turn > 1:
            text = ResponseOutputText(type="output_text", text=said, annotations=[])
            return ResponseOutputMessage(
                id="m", type="message", role="assistant", status="completed", content=[text]
            )
        return ResponseFunctionToolCall(
            type="function_call", id="f", call_id="c", name="refund", arguments='{"order": 7}'
        )

    def stream_response(self, *_, **__):
        raise NotImplementedError


@function_tool
def refund(order: int) -> str:
    """Refund an order."""
    return f"order {order} refunded"


exporter = BackendSpanExporter(api_key="none", endpoint=ENDPOINT)
set_trace_processors([BatchTraceProcessor(exporter)])
clerk = Agent(name="agents-clerk", instructions="Help.", tools=[refund], model=Scripted())
run = RunConfig(workflow_name="refunds", group_id="agents-talk")
print(asyncio.run(Runner.run(clerk, "refund order 7", run_config=run)).final_output)
get_trace_provider().shutdown()
