"""The responses of the Messages API, streamed and whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec

from roost.doors.anthropic.signatures import sealed
from roost.log.content import AssistantPart, Text, Thinking, ToolCall, Usage
from roost.models.wire_body import json_object
from roost.server.responses import encode

PING = b'event: ping\ndata: {"type":"ping"}\n\n'
StopReason: TypeAlias = Literal["end_turn", "tool_use", "max_tokens", "refusal", "stop_sequence"]
STOPS: dict[str, StopReason] = {"length": "max_tokens", "refusal": "refusal", "tool_calls": "tool_use"}
_EMPTY = Usage()


class Ending(msgspec.Struct):
    """Why and with what an answer ended. refused: the reason of a refusal, for people. word: the stop
    sequence that ended it."""

    reason: StopReason
    usage: Usage = _EMPTY
    refused: str | None = None
    word: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        details = None if self.refused is None else {"type": "refusal", "category": None, "explanation": self.refused}
        return {"stop_reason": self.reason, "stop_sequence": self.word, "stop_details": details}


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": max(0, usage.input - usage.cached - usage.written),
        "cache_creation_input_tokens": usage.written,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.thinking},
    }


def message(id: str, model: str, content: list[dict[str, Any]], end: Ending) -> dict[str, Any]:
    """Return a whole answer."""
    head = {"id": id, "type": "message", "role": "assistant", "model": model, "content": content}
    return {**head, **end.fields, "usage": usage_of(end.usage)}


def blocks_of(parts: Sequence[AssistantPart]) -> list[dict[str, Any]]:
    """Return the blocks of a whole answer. The protocol has no media in answers."""
    blocks: list[dict[str, Any]] = []
    for part in parts:
        match part:
            case Text():
                blocks.append({"type": "text", "text": part.text, "citations": None})
            case Thinking(redacted=True):
                blocks.append({"type": "redacted_thinking", "data": sealed(part.signature, part.origin)})
            case Thinking():
                proof = sealed(part.signature, part.origin)
                blocks.append({"type": "thinking", "thinking": part.text, "signature": proof})
            case ToolCall():
                arguments = msgspec.Raw(json_object(part.arguments).encode())
                blocks.append({"type": "tool_use", "id": part.id, "name": part.name, "input": arguments})
            case _:
                pass
    return blocks


class MessageEvents:
    """Encode the events of one streamed answer. One block is open at a time. Reasoning gets its signature when its
    block is closed."""

    def __init__(self, id: str, model: str) -> None:
        head: dict[str, Any] = {"id": id, "type": "message", "role": "assistant", "model": model, "content": []}
        nothing = {"stop_reason": None, "stop_sequence": None, "stop_details": None, "usage": usage_of(_EMPTY)}
        self.first = _event("message_start", {"message": {**head, **nothing}}) + PING
        self._index = -1
        self._open: Literal["text", "thinking"] | None = None
        self._delta = b""
        self._signed = False

    @property
    def thinks(self) -> bool:
        """Whether a block of reasoning is open."""
        return self._open == "thinking"

    def text(self, text: str) -> bytes:
        start = b""
        if self._open != "text":
            start = self._start("text", {"type": "text", "text": ""}, b'"text_delta","text":')
        return start + self._delta + encode(text) + b"}}\n\n"

    def thinking(self, text: str) -> bytes:
        start = b""
        if self._open != "thinking":
            block = {"type": "thinking", "thinking": "", "signature": ""}
            start = self._start("thinking", block, b'"thinking_delta","thinking":')
        return start + self._delta + encode(text) + b"}}\n\n"

    def sign(self, signature: str) -> bytes:
        """Sign the reasoning before it, and end its block. Without any open, this is a block without text."""
        start = self.thinking("") if self._open != "thinking" else b""
        delta = {"index": self._index, "delta": {"type": "signature_delta", "signature": signature}}
        self._signed = True
        return start + _event("content_block_delta", delta) + self.close()

    def block(self, block: dict[str, Any]) -> bytes:
        """Encode a block that does not grow."""
        before = self.close()
        self._index += 1
        start = _event("content_block_start", {"index": self._index, "content_block": block})
        return before + start + _event("content_block_stop", {"index": self._index})

    def call(self, part: ToolCall) -> bytes:
        before = self.close()
        self._index += 1
        block: dict[str, Any] = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
        arguments = {"type": "input_json_delta", "partial_json": json_object(part.arguments)}
        return (
            before
            + _event("content_block_start", {"index": self._index, "content_block": block})
            + _event("content_block_delta", {"index": self._index, "delta": arguments})
            + _event("content_block_stop", {"index": self._index})
        )

    def close(self) -> bytes:
        """End the open block."""
        if self._open is None:
            return b""
        if self._open == "thinking" and not self._signed:
            return self.sign(sealed(None, None))
        self._open = None
        return _event("content_block_stop", {"index": self._index})

    def end(self, end: Ending) -> bytes:
        delta = {"delta": end.fields, "usage": usage_of(end.usage)}
        return self.close() + _event("message_delta", delta) + _event("message_stop", {})

    def _start(self, kind: Literal["text", "thinking"], block: dict[str, Any], delta: bytes) -> bytes:
        before = self.close()
        self._index += 1
        self._open, self._signed = kind, False
        head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":'
        self._delta = head % self._index + delta
        return before + _event("content_block_start", {"index": self._index, "content_block": block})


def failure(error: dict[str, Any]) -> bytes:
    """Return the event of an error in the middle of a stream."""
    return _event("error", {"error": error})


def _event(kind: str, fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
