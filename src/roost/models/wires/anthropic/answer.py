"""Build one answer from the events of an Anthropic message, streamed or whole."""

from __future__ import annotations

from typing import Any, ClassVar

import msgspec

from roost.log.content import StopReason
from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import ModelEvent
from roost.models.sse import SSEEvent
from roost.models.wire_body import clean, encode
from roost.models.wires.anthropic.request import NAME
from roost.models.wires.assembly import Assembly, OpenCall, OpenText, OpenThinking, counted

_STOP_REASONS: dict[str, StopReason] = {
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class _Block(msgspec.Struct):
    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Details(msgspec.Struct):
    thinking_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: _Details | None = None


class _StopDetails(msgspec.Struct):
    category: str | None = None
    explanation: str | None = None


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class Message(msgspec.Struct):
    content: list[_Block] | None = None
    usage: _Usage | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: _StopDetails | None = None


class Frame(Message):
    """An event of the stream, or a whole message: their fields do not clash."""

    type: str = ""
    index: int = 0
    delta: _Delta | None = None
    content_block: _Block | None = None
    message: Message | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(Frame)


class AnthropicAnswer(Assembly):
    """A wire that shares the protocol extends the frame that `decoder` reads, and checks it first in `broken`."""

    wire: ClassVar[str] = NAME
    decoder: ClassVar[msgspec.json.Decoder[Any]] = _decoder

    def __init__(self, prompt: Prompt, profile: Profile, *, where: str) -> None:
        super().__init__(self.wire, prompt, profile, where=where)
        self._blocks: dict[int, OpenText | OpenThinking | OpenCall] = {}
        self._counts = _Usage()

    def feed(self, frame: SSEEvent) -> list[ModelEvent]:
        event = self._read(frame.data)
        if event is None:
            return []
        events: list[ModelEvent] = []
        match event.type:  # the most frequent first
            case "content_block_delta":
                if event.delta is not None:
                    self._grow(event.index, event.delta, events)
            case "content_block_start":
                if event.content_block is not None:
                    self._start(event.index, event.content_block, events)
            case "message_start":
                if event.message is not None:
                    self._count(event.message.usage)
            case "message_delta":
                self._count(event.usage)
                if event.delta is not None:
                    self._stop(event.delta)
            case "message_stop":
                self.over = True
            case _:
                pass  # pings, ends of blocks, unknown events
        return events

    def whole(self, body: bytes) -> list[ModelEvent]:
        message = self._read(body)
        events: list[ModelEvent] = []
        if message is not None:
            for index, block in enumerate(message.content or ()):
                self._start(index, block, events)
            self._count(message.usage)
            self._stop(message)
        return events

    def _read(self, data: bytes) -> Frame | None:
        frame: Frame | None = self.read(self.decoder, data)
        return None if frame is None or self.broken(frame) else frame

    def broken(self, frame: Any) -> bool:
        """Whether the frame reports an error, which is then recorded."""
        if frame.error:
            self.broke_off(frame.error)
        return bool(frame.error)

    def _start(self, index: int, block: _Block, events: list[ModelEvent]) -> None:
        match block.type:
            case "text":
                self._blocks[index] = part = self.open_text()
                self.say(part, block.text or "", events)
            case "thinking":
                self._blocks[index] = part = self.open_thinking()
                self.think(part, block.thinking or "", events)
                self.sign(part, block.signature, events)
            case "redacted_thinking":
                self._blocks[index] = part = self.open_thinking()
                part.redacted = True
                self.sign(part, block.data, events)
            case "tool_use":
                self._blocks[index] = part = self.open_call(block.id or "")
                arguments = encode(block.input).decode() if block.input else ""
                self.argue(part, arguments, events, name=block.name)
            case _:
                pass  # the server's own tools: the text has their results

    def _grow(self, index: int, delta: _Delta, events: list[ModelEvent]) -> None:
        part = self._blocks.get(index)
        if isinstance(part, OpenText):
            self.say(part, delta.text or "", events)
        elif isinstance(part, OpenCall):
            self.argue(part, delta.partial_json or "", events)
        elif isinstance(part, OpenThinking):
            if delta.thinking:
                self.think(part, delta.thinking, events)
            if delta.signature:
                self.sign(part, delta.signature, events)

    def _stop(self, end: _Delta | Message) -> None:
        if end.stop_reason:
            self.stop = _STOP_REASONS.get(end.stop_reason, "end")
            self.word = clean(end.stop_sequence)
        if (details := end.stop_details) is not None:
            self.why = details.explanation or details.category or self.why

    def _count(self, usage: _Usage | None) -> None:
        """Take the stream's counts, which are totals; missing ones keep their value."""
        if usage is None:
            return
        counts = self._counts
        for field in _Usage.__struct_fields__:
            if (value := getattr(usage, field)) is not None:
                setattr(counts, field, value)
        read, written = counts.cache_read_input_tokens or 0, counts.cache_creation_input_tokens or 0
        thinking = counts.output_tokens_details.thinking_tokens if counts.output_tokens_details else None
        prompt = (counts.input_tokens or 0) + read + written
        self.usage = counted(prompt, counts.output_tokens, read, written=written, thinking=thinking)
