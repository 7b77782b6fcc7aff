"""Builds one answer from the frames of an OpenAI chat completion, streamed or whole."""

from __future__ import annotations

from typing import Any, cast

import msgspec

from roost.llm.ir import ModelEvent
from roost.llm.profile import Profile
from roost.llm.prompt import Prompt
from roost.llm.sse import SSEEvent
from roost.llm.wires.assembly import Assembly, OpenCall, OpenMedia, counted
from roost.llm.wires.openai_chat.request import NAME
from roost.llm.wires.pieces import decode
from roost.log.content import StopReason

_STOPS: dict[str, StopReason] = {
    "stop": "end",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "content_filter": "refusal",
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Audio(msgspec.Struct):
    data: str | None = None
    transcript: str | None = None


class _ImageUrl(msgspec.Struct):
    url: str = ""


class _Shown(msgspec.Struct):
    image_url: _ImageUrl | None = None


class _Delta(msgspec.Struct):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    audio: _Audio | None = None
    images: list[_Shown] | None = None
    """Pictures, from the few servers that send them."""


class _Choice(msgspec.Struct):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    cost: float | None = None
    """Dollars, from the few servers that say it."""


class _Frame(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Frame)


class OpenAIChatAnswer(Assembly):
    """Thinking comes first, then the text, then the calls, however the server mixes them."""

    def __init__(self, prompt: Prompt, profile: Profile, *, where: str) -> None:
        super().__init__(NAME, prompt, profile, where=where)
        self._thinking = self.open_thinking()
        self._text = self.open_text()
        self._by_index: dict[int, OpenCall] = {}
        self._sound: OpenMedia | None = None
        self._format = _format_of(prompt.knobs.get("audio"))

    def feed(self, frame: SSEEvent) -> list[ModelEvent]:
        data = frame.data
        if data.strip() == b"[DONE]":
            self.over = True
            return []
        return self.whole(data)

    def whole(self, body: bytes) -> list[ModelEvent]:
        try:
            frame = decode(_decoder, body)
        except (ValueError, RecursionError) as error:
            self.unreadable(body, error)
            return []
        if frame.error:
            self.broke_off(frame.error)
            return []
        if frame.usage is not None:
            self._count(frame.usage)
        events: list[ModelEvent] = []
        for choice in frame.choices or ():
            if choice.index:
                continue
            if delta := choice.delta or choice.message:
                self._take(delta, events)
            if choice.finish_reason:
                self.stop = _STOPS.get(choice.finish_reason, "end")
        return events

    def _count(self, usage: _Usage) -> None:
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        cached = (prompt.cached_tokens if prompt else None) or usage.prompt_cache_hit_tokens
        thinking = completion.reasoning_tokens if completion else None
        self.usage = counted(usage.prompt_tokens, usage.completion_tokens, cached, thinking=thinking)
        self.dollars = usage.cost

    def _take(self, delta: _Delta, events: list[ModelEvent]) -> None:
        thinking, text = delta.reasoning_content or delta.reasoning, delta.content
        if isinstance(text, list):
            text, more = _from_parts(text)
            thinking = (thinking or "") + more
        if thinking:
            self.think(self._thinking, thinking, events)
        if text:
            self.say(self._text, text, events)
        if delta.refusal:
            self.refused = True
            self.say(self._text, delta.refusal, events)
        if delta.audio is not None:
            self._hear(delta.audio, events)
        for shown in delta.images or ():
            self.show(shown.image_url.url if shown.image_url else "")
        for call in delta.tool_calls or ():
            self._take_call(call, events)

    def _hear(self, audio: _Audio, events: list[ModelEvent]) -> None:
        """What is spoken is text too. The answer does not say its format: it is the one that was asked for."""
        if audio.transcript:
            self.say(self._text, audio.transcript, events)
        if audio.data:
            if self._sound is None:
                self._sound = self.open_media(f"audio/{self._format}")
            self._sound.pieces.append(audio.data)

    def _take_call(self, call: _Call, events: list[ModelEvent]) -> None:
        function = call.function or _Function()
        known = self._find(call, function)
        if known is None:
            known = self.open_call(call.id or "")
            self._by_index[len(self._by_index) if call.index is None else call.index] = known
        known.id = known.id or call.id or ""
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        self.argue(known, arguments or "", events, name=function.name)

    def _find(self, call: _Call, function: _Function) -> OpenCall | None:
        if call.index is None:
            known = self.calls[-1] if self.calls else None
            starts = bool(function.name)
        else:
            known = self._by_index.get(call.index)
            # Some servers number every parallel call 0: a new id with a name is a new call.
            starts = bool(function.name and call.id and known and known.id and call.id != known.id)
        return None if starts else known


def _format_of(audio: Any) -> str:
    return str(cast("dict[str, Any]", audio).get("format") or "wav") if isinstance(audio, dict) else "wav"


def _from_parts(parts: list[Any]) -> tuple[str, str]:
    """(text, thinking) of content that came as a list of parts."""
    text, thinking = "", ""
    for part in parts:
        if not isinstance(part, dict):
            continue
        entry = cast("dict[str, Any]", part)
        if isinstance(entry.get("text"), str):
            text += entry["text"]
        elif isinstance(entry.get("thinking"), list):
            thinking += _from_parts(entry["thinking"])[0]
    return text, thinking
