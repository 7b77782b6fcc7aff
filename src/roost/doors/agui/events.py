"""Encode the events of AG-UI, as lines of a stream of server-sent events."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from roost.doors.agui.run_input import RESULT
from roost.doors.approvals import SCHEMA
from roost.doors.open_calls import Question
from roost.log.content import ResultPart, Text, ToolCall, Usage

VERSION = "1.0"


def event(kind: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % msgspec.json.encode({"type": kind, **fields})


class Words:
    """Encodes what an agent says in a run. Messages of one model call have one id, the same when the run is read
    again."""

    def __init__(self, run: str) -> None:
        self._run = run
        self._open: tuple[Literal["text", "thinking"], str] | None = None

    def say(self, kind: Literal["text", "thinking"], step: int, delta: str) -> bytes:
        """Return the events for a piece of text of a model call."""
        id = self.message(step) if kind == "text" else f"{self.message(step)}/thinking"
        begin = b""
        if self._open != (kind, id):
            begin = self.close() + self._begin(kind, id)
            self._open = kind, id
        name = "TEXT_MESSAGE_CONTENT" if kind == "text" else "REASONING_MESSAGE_CONTENT"
        return begin + event(name, messageId=id, delta=delta)

    def _begin(self, kind: str, id: str) -> bytes:
        if kind == "text":
            return event("TEXT_MESSAGE_START", messageId=id, role="assistant")
        start = event("REASONING_MESSAGE_START", messageId=id, role="reasoning")
        return event("REASONING_START", messageId=id) + start

    def close(self) -> bytes:
        """Return the events that end the open message, if one is open."""
        if self._open is None:
            return b""
        (kind, id), self._open = self._open, None
        if kind == "text":
            return event("TEXT_MESSAGE_END", messageId=id)
        return event("REASONING_MESSAGE_END", messageId=id) + event("REASONING_END", messageId=id)

    def message(self, step: int) -> str:
        return f"{self._run}/{step}"

    def call(self, step: int, id: str, call: ToolCall) -> bytes:
        """Return the events for a call that the model asks for."""
        start = event("TOOL_CALL_START", toolCallId=id, toolCallName=call.name, parentMessageId=self.message(step))
        given = event("TOOL_CALL_ARGS", toolCallId=id, delta=call.arguments)
        return start + given + event("TOOL_CALL_END", toolCallId=id)

    def result(self, id: str, parts: Sequence[ResultPart]) -> bytes:
        """Return the event for what a tool of the agent returned."""
        content = "\n".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts)
        message = f"{self._run}/{id.rpartition('/')[2]}{RESULT}"
        return event("TOOL_CALL_RESULT", messageId=message, toolCallId=id, content=content, role="tool")


def interrupt(id: str, question: Question) -> dict[str, Any]:
    """Return the interrupt for a call that waits for a person. Its id names the question: a call can be asked about
    again."""
    asked = question.event
    details = {
        "name": asked.name,
        "arguments": asked.arguments,
        "why": asked.why,
        "due": asked.due,
        "dangers": asked.dangers,
        "prefixes": asked.prefixes,
        "offers": asked.offers,
    }
    return {
        "id": f"{id}@{question.at}",
        "reason": "tool_approval",
        "message": f"{asked.name} {asked.arguments}: {asked.reason}",
        "toolCallId": id,
        "responseSchema": SCHEMA,
        "metadata": {"roost": details},
    }


def usage_of(usage: Usage) -> list[dict[str, int]]:
    return [
        {
            "inputTokens": usage.input,
            "outputTokens": usage.output,
            "totalTokens": usage.input + usage.output,
            "reasoningTokens": usage.thinking,
            "cachedInputTokens": usage.cached,
            "cacheWriteInputTokens": usage.written,
        }
    ]
