"""Build one answer from the events of an OpenAI response, streamed or whole."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from roost.log.content import StopReason
from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import ModelEvent
from roost.models.sse import SSEEvent
from roost.models.wires.assembly import Assembly, OpenCall, OpenMedia, OpenText, OpenThinking, counted
from roost.models.wires.openai_responses.request import NAME

_DELTAS = {
    "response.output_text.delta",
    "response.function_call_arguments.delta",
    "response.reasoning_summary_text.delta",
    "response.reasoning_text.delta",
    "response.refusal.delta",
}
_ENDS = {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
_INCOMPLETE: dict[str, StopReason] = {"content_filter": "refusal", "max_messages": "end", "steered": "end"}
_POLICY = {"bio_policy", "misalignment_policy_violation", "image_content_policy_violation"}
_OVERLOAD = {"server_error", "server_is_overloaded", "slow_down", "vector_store_timeout"}


class _Content(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Content] | None = None
    summary: list[_Content] | None = None
    encrypted_content: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    result: str | None = None
    output_format: str | None = None


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _PromptDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    output: list[_Item] | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: Any = None


class _Frame(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: Any = None
    item: _Item | None = None
    response: _Response | None = None
    error: Any = None
    code: Any = None
    message: Any = None


_frames = msgspec.json.Decoder(_Frame)
_whole = msgspec.json.Decoder(_Response)


class OpenAIResponsesAnswer(Assembly):
    def __init__(self, prompt: Prompt, profile: Profile, *, where: str) -> None:
        super().__init__(NAME, prompt, profile, where=where)
        self._items: dict[int, OpenText | OpenThinking | OpenCall | OpenMedia | None] = {}
        self._grown: set[int] = set()
        self._summary: dict[int, int] = {}

    def feed(self, frame: SSEEvent) -> list[ModelEvent]:
        if frame.data.strip() == b"[DONE]":
            self.over = True
            return []
        event = self.read(_frames, frame.data)
        if event is None:
            return []
        events: list[ModelEvent] = []
        if event.type.endswith(".delta"):  # the most frequent first
            if event.type in _DELTAS and isinstance(event.delta, str):
                self._grow(event, event.delta, events)
        elif event.item is not None:
            if event.type == "response.output_item.added":
                self._start(event.output_index, event.item, events)
            elif event.type == "response.output_item.done":
                self._close(event.output_index, event.item, events)
        elif event.response is not None and event.type in _ENDS:
            self._settle(event.response, events, event.type.removeprefix("response."))
            self.over = True
        elif event.type == "error" or (not event.type and event.error):
            self._fail(event.error or {"code": event.code, "message": event.message})
        # The rest: intermediate states, ends of parts, the server's own tools, unknown events.
        return events

    def whole(self, body: bytes) -> list[ModelEvent]:
        response = self.read(_whole, body)
        events: list[ModelEvent] = []
        if response is not None:
            self._settle(response, events, response.status)
        return events

    def _start(self, index: int, item: _Item, events: list[ModelEvent]) -> None:
        """Open the part of an item. Content that the item already has is repeated in its end event."""
        match item.type:
            case "message":
                self._items[index] = self.open_text()
            case "reasoning":
                self._items[index] = self.open_thinking()
            case "function_call":
                self._items[index] = part = self.open_call(item.call_id or "")
                self.argue(part, "", events, name=item.name)
            case "image_generation_call":
                self._items[index] = self.open_media("")
            case _:
                self._items[index] = None

    def _grow(self, frame: _Frame, piece: str, events: list[ModelEvent]) -> None:
        index, part = frame.output_index, self._items.get(frame.output_index)
        self._grown.add(index)
        if isinstance(part, OpenText):
            self.refused = self.refused or frame.type == "response.refusal.delta"
            self.say(part, piece, events)
        elif isinstance(part, OpenCall):
            self.argue(part, piece, events)
        elif isinstance(part, OpenThinking):
            if self._summary.setdefault(index, frame.summary_index) != frame.summary_index:
                self._summary[index] = frame.summary_index
                piece = "\n\n" + piece
            self.think(part, piece, events)

    def _close(self, index: int, item: _Item, events: list[ModelEvent]) -> None:
        """End an item. Its end event is complete, so content that did not come in pieces is taken from here."""
        if index not in self._items:
            self._start(index, item, events)
        part = self._items[index]
        grown = index in self._grown
        self._grown.add(index)
        if isinstance(part, OpenThinking):
            if not grown:
                self.think(part, _joined(item.summary) or _joined(item.content), events)
            self.sign(part, item.encrypted_content, events)
        elif isinstance(part, OpenCall):
            part.id = part.id or item.call_id or ""
            self.argue(part, "" if grown else item.arguments or "", events, name=item.name)
        elif isinstance(part, OpenMedia):
            part.media_type = f"image/{item.output_format or 'png'}"
            part.pieces += [item.result] if item.result and not grown else []
        elif isinstance(part, OpenText):
            self._speak(part, item.content or [], events, grown=grown)

    def _speak(self, part: OpenText, contents: list[_Content], events: list[ModelEvent], *, grown: bool) -> None:
        for content in contents:
            self.refused = self.refused or content.type == "refusal"
            if not grown:
                self.say(part, content.text or content.refusal or "", events)

    def _settle(self, response: _Response, events: list[ModelEvent], status: str | None) -> None:
        self._count(response.usage)
        if response.error or status in ("failed", "cancelled"):
            self._fail(response.error or {"code": "server_error", "message": f"the response is {status}"})
            return
        for index, item in enumerate(response.output or ()):
            if index not in self._grown:
                self._close(index, item, events)
        if status == "completed":
            self.stop = "end"
        elif status == "incomplete":
            reason = (response.incomplete_details.reason if response.incomplete_details else None) or ""
            self.stop, self.why = _INCOMPLETE.get(reason, "length"), reason

    def _count(self, usage: _Usage | None) -> None:
        if usage is None:
            return
        prompt, made = usage.input_tokens_details or _PromptDetails(), usage.output_tokens_details or _OutputDetails()
        self.usage = counted(
            usage.input_tokens,
            usage.output_tokens,
            prompt.cached_tokens,
            written=prompt.cache_write_tokens,
            thinking=made.reasoning_tokens,
        )

    def _fail(self, error: Any) -> None:
        """Record an error. The codes of this protocol are words; those that `stream_error` does not know are translated
        here."""
        if self.stop is not None:
            return
        if isinstance(error, dict):
            fields = cast("dict[str, Any]", error)
            code = str(fields.get("code") or "")
            kind = fields.get("type")
            if code in _POLICY:
                kind = "invalid_request_error content_policy"
            elif code.startswith(("invalid_", "image_", "unsupported_", "empty_image", "failed_to_download")):
                kind = "invalid_request_error"
            elif code in _OVERLOAD:
                kind = "500"
            error = {**fields, "type": kind}
        self.broke_off(error)


def _joined(contents: list[_Content] | None) -> str:
    return "\n\n".join(content.text for content in contents or () if content.text)
