"""The publishing SDK: a few lines in a Python agent, and what it does reaches the pipeline.

    from tachograph.pipeline.sdk import Recorder

    recorder = Recorder("travel-agent", endpoint="http://127.0.0.1:4318")
    with recorder.session("conversation-7"):
        recorder.action("prompt", content_text="Book me a flight")
        with recorder.tool_call("book_flight", {"to": "VIE"}) as call:
            call.result(book_flight(to="VIE"))

It needs confluent-kafka and msgspec, to be told something cryptography besides, and imports nothing
of the stages.
"""

from tachograph.pipeline.sdk.control import Control
from tachograph.pipeline.sdk.holding import Contained
from tachograph.pipeline.sdk.recorder import Recorder, Stats, ToolCall

__all__ = ["Contained", "Control", "Recorder", "Stats", "ToolCall"]
