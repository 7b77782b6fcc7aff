"""The responses of chat completions, streamed and whole."""

from __future__ import annotations

import time
from typing import Any, Literal, TypeAlias

from roost.log.content import ToolCall, Usage
from roost.server.responses import encode

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter"]
DONE = b"data: [DONE]\n\n"


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cached},
        "completion_tokens_details": {"reasoning_tokens": usage.thinking},
    }


def call(part: ToolCall) -> dict[str, Any]:
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments}}


class Chunks:
    """Encode the chunks of one streamed answer. `usage`: the client asked for a last chunk with the usage."""

    def __init__(self, id: str, model: str, *, usage: bool) -> None:
        head = encode({"id": id, "object": "chat.completion.chunk", "created": int(time.time()), "model": model})
        self._head = b"data: " + head[:-1]
        self._usage = usage
        none = b',"usage":null' if usage else b""
        self._start = self._head + none + b',"choices":[{"index":0,"delta":'
        self.first = self.delta({"role": "assistant", "content": ""})

    def delta(self, delta: dict[str, Any], finish: FinishReason | None = None) -> bytes:
        return self._start + encode(delta) + b',"finish_reason":' + encode(finish) + b"}]}\n\n"

    def text(self, text: str) -> bytes:
        return self._start + b'{"content":' + encode(text) + b'},"finish_reason":null}]}\n\n'

    def thinking(self, text: str) -> bytes:
        return self._start + b'{"reasoning_content":' + encode(text) + b'},"finish_reason":null}]}\n\n'

    def end(self, finish: FinishReason, usage: Usage) -> bytes:
        last = self.delta({}, finish)
        if not self._usage:
            return last
        return last + self._head + b',"choices":[],"usage":' + encode(usage_of(usage)) + b"}\n\n"


def failure(error: dict[str, Any]) -> bytes:
    """Return the frame of an error in the middle of a stream."""
    return b"data: " + encode({"error": error}) + b"\n\n"


def whole(id: str, model: str, message: dict[str, Any], finish: FinishReason, usage: Usage) -> dict[str, Any]:
    """Return a whole answer. message: without its role."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}
    return {
        "id": id,
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [choice],
        "usage": usage_of(usage),
    }
