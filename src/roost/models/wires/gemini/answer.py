"""Build one answer from Gemini's responses, streamed or whole; every frame is a piece of the answer."""

from __future__ import annotations

from typing import Any

import msgspec

from roost.log.content import ErrorData
from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import ModelEvent
from roost.models.sse import SSEEvent
from roost.models.wire_body import encode
from roost.models.wires.assembly import Assembly, OpenMedia, OpenText, OpenThinking, counted
from roost.models.wires.gemini.errors import gemini_stream_error
from roost.models.wires.gemini.request import NAME

_REFUSALS = {
    "SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR",
    "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION",
}  # fmt: skip
_BROKEN = {
    "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MALFORMED_RESPONSE", "OTHER",
    "MISSING_THOUGHT_SIGNATURE",
}  # fmt: skip


class _Call(msgspec.Struct):
    name: str | None = None
    id: str | None = None
    args: Any = None


class _Data(msgspec.Struct, rename="camel"):
    mime_type: str = ""
    data: str = ""


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None
    inline_data: _Data | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    index: int | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Usage(msgspec.Struct, rename="camel"):
    prompt_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None


class _Frame(msgspec.Struct, rename="camel"):
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Frame)


class GeminiAnswer(Assembly):
    """The protocol has no end mark: the answer ends with its body. A signature becomes reasoning without text before
    the part that it came with."""

    error: ErrorData | None

    def __init__(self, prompt: Prompt, profile: Profile, *, where: str) -> None:
        super().__init__(NAME, prompt, profile, where=where)
        self._last: OpenText | OpenThinking | OpenMedia | None = None

    def feed(self, frame: SSEEvent) -> list[ModelEvent]:
        return self.whole(frame.data)

    def whole(self, body: bytes) -> list[ModelEvent]:
        frame = self.read(_decoder, body)
        if frame is None:
            return []
        events: list[ModelEvent] = []
        if frame.usage_metadata is not None:
            self._count(frame.usage_metadata)
        if frame.error:
            if not self.finished:
                self.error = gemini_stream_error(frame.error, where=self.where)
            return events
        if (feedback := frame.prompt_feedback) is not None and feedback.block_reason:
            self._refuse(feedback.block_reason, feedback.block_reason_message)
        for candidate in frame.candidates or ():
            if candidate.index:
                continue
            for part in (candidate.content.parts if candidate.content else None) or ():
                self._take(part, events)
            if candidate.finish_reason:
                self._stop(candidate.finish_reason, candidate.finish_message)
        return events

    def _take(self, part: _Part, events: list[ModelEvent]) -> None:
        call, signature = part.function_call, part.thought_signature
        if part.thought:
            if part.inline_data is not None:
                return  # an intermediate sketch of the picture
            if not isinstance(self._last, OpenThinking):
                self._last = self.open_thinking()
            self.think(self._last, part.text or "", events)
            self.sign(self._last, signature, events)
            return
        if signature:
            # Signed text is not joined with unsigned text.
            self.sign(self.open_thinking(), signature, events)
            self._last = None
        if call is not None:
            self._last = None
            arguments = "{}" if call.args is None else encode(call.args).decode()
            self.argue(self.open_call(call.id or ""), arguments, events, name=call.name)
        elif part.inline_data is not None:
            self._show(part.inline_data)
        elif part.text:
            text = self._last if isinstance(self._last, OpenText) else self.open_text()
            self.say(text, part.text, events)
            self._last = None if signature else text

    def _show(self, media: _Data) -> None:
        """Add media. Sound comes in pieces, a picture as a whole."""
        last = self._last
        if not (isinstance(last, OpenMedia) and last.media_type == media.mime_type):
            last = self.open_media(media.mime_type)
        last.pieces.append(media.data)
        self._last = last if media.mime_type.startswith("audio/") else None

    def _stop(self, reason: str, message: str | None) -> None:
        if reason in _REFUSALS:
            self._refuse(reason, message)
        elif reason in _BROKEN:
            why = f": {message}" if message else ""
            text = f"{self.where} gave up its answer ({reason}){why}"[:1_000]
            wrong = reason == "MISSING_THOUGHT_SIGNATURE"
            self.error = ErrorData("bad_request" if wrong else "malformed", text, not wrong)
        else:
            # Other servers of this protocol have their own names for a good end.
            self.stop = "length" if reason == "MAX_TOKENS" else "end"

    def _refuse(self, reason: str, message: str | None) -> None:
        self.stop = "refusal"
        self.why = f"{reason}: {message}" if message else reason

    def _count(self, usage: _Usage) -> None:
        thinking = usage.thoughts_token_count or 0
        self.usage = counted(
            (usage.prompt_token_count or 0) + (usage.tool_use_prompt_token_count or 0),
            (usage.candidates_token_count or 0) + thinking,
            usage.cached_content_token_count,
            thinking=thinking,
        )
