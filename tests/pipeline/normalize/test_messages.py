"""What a model's interface answered in pieces is read as one message."""

import json
from typing import Any

import pytest

from tachograph.pipeline.normalize.messages import MAX_CHUNKS, answered


def _stream(*chunks: dict[str, Any]) -> str:
    return "\n\n".join(f"data: {json.dumps(chunk)}" for chunk in chunks) + "\n\ndata: [DONE]\n"


def _choice(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta}]}


def _called(name: str, arguments: str) -> list[dict[str, Any]]:
    return [{"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}]


CHAT = _stream(
    _choice(role="assistant", content="I delete "),
    _choice(content="it."),
    _choice(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "shell", "arguments": ""}}]),
    _choice(tool_calls=[{"index": 0, "function": {"arguments": '{"cmd": "rm -r'}}]),
    _choice(tool_calls=[{"index": 0, "function": {"arguments": 'f /"}'}}]),
)
BLOCKS = _stream(
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I del"}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ete it."}},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "c1", "name": "shell", "input": {}},
    },
    *(
        {"index": 1, "delta": {"type": "input_json_delta", "partial_json": part}}
        for part in ('{"cmd": "rm -r', 'f /"}')
    ),
)


@pytest.mark.parametrize("stream", [CHAT, BLOCKS], ids=["chat completions", "messages"])
def test_words_and_calls_of_a_stream_are_whole(stream: str) -> None:
    [message], _ = answered(stream)
    assert message["content"].endswith("delete it.")
    assert message["tool_calls"] == _called("shell", '{"cmd": "rm -rf /"}')


def test_a_stream_that_only_calls_a_tool_is_a_message_too() -> None:
    [message], _ = answered("\n".join(BLOCKS.splitlines()[4:]))
    assert (message["content"], message["tool_calls"]) == (
        "",
        _called("shell", '{"cmd": "rm -rf /"}'),
    )


def test_a_stream_of_too_many_lines_is_kept_whole() -> None:
    stream = _stream(_choice(content="begin")) + "\n" * MAX_CHUNKS + _stream(_choice(content="end"))
    assert answered(stream) == (stream, [])


@pytest.mark.parametrize(
    "chunk",
    [
        {"delta": {"type": "input_json_delta", "partial_json": 7}, "index": "x"},
        {"choices": [{"delta": {"tool_calls": [{"index": [], "function": 3}, 4]}}]},
        {"choices": {"delta": 1}, "content_block": [], "delta": []},
        {"content_block": {"type": "tool_use", "name": 5}, "index": 10**30},
    ],
)
def test_no_chunk_breaks_it(chunk: dict[str, Any]) -> None:
    answered(_stream(chunk))
