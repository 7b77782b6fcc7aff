"""Builds one answer from the frames of an OpenAI chat completion, streamed or whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import msgspec

from roost.llm.ir import ModelEvent
from roost.llm.profile import Profile
from roost.llm.prompt import Prompt
from roost.llm.sse import SSEEvent
from roost.llm.wires.assembly import Assembly, OpenCall, OpenMedia, counted
from roost.llm.wires.body import encode
from roost.llm.wires.openai_chat.request import NAME
from roost.llm.wires.pieces import decode
from roost.log.content import StopReason

STOPS: dict[str, StopReason] = {
    "stop": "end",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "content_filter": "refusal",
}


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Sound(msgspec.Struct):
    data: str | None = None
    transcript: str | None = None


class ImageUrl(msgspec.Struct):
    url: str = ""


class Shown(msgspec.Struct):
    image_url: ImageUrl | None = None


class Delta(msgspec.Struct):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    audio: Sound | None = None
    images: list[Shown] | None = None
    """Pictures, from the few servers that send them."""


class Choice(msgspec.Struct):
    index: int | None = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None


class Details(msgspec.Struct):
    cached_tokens: float | None = None
    reasoning_tokens: float | None = None


class Counts(msgspec.Struct):
    """Some servers write `12.0`: an answer is not thrown away for that."""

    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None
    prompt_cache_hit_tokens: float | None = None
    cost: float | None = None
    """Dollars, from the few servers that say it."""


class Frame(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: Counts | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(Frame)


class OpenAIChatAnswer(Assembly):
    """Thinking comes first, then the text, then the calls, however the server mixes them.

    A wire that shares the protocol adds to the frame that `decoder` reads, and to what is made of its pieces.
    """

    wire: ClassVar[str] = NAME
    decoder: ClassVar[msgspec.json.Decoder[Any]] = _decoder
    stops: ClassVar[Mapping[str, StopReason]] = STOPS

    def __init__(self, prompt: Prompt, profile: Profile, *, where: str) -> None:
        super().__init__(self.wire, prompt, profile, where=where)
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
            frame: Frame = decode(self.decoder, body)
        except (ValueError, RecursionError) as error:
            self.unreadable(body, error)
            return []
        return self.take(frame)

    def take(self, frame: Any) -> list[ModelEvent]:
        """What a frame, streamed or whole, adds."""
        if frame.error:
            self.broke_off(frame.error)
            return []
        if (usage := frame.usage) is not None and (usage.prompt_tokens, usage.completion_tokens) != (None, None):
            self._count(usage)
        events: list[ModelEvent] = []
        for choice in frame.choices or ():
            if choice.index:
                continue
            if delta := choice.delta or choice.message:
                self.add(delta, events)
            if choice.finish_reason:
                self.finish(choice.finish_reason)
        return events

    def finish(self, reason: str) -> None:
        self.stop = self.stops.get(reason, "end")

    @property
    def spoken(self) -> bool:
        """Whether there is text or a call."""
        return bool(self.calls or self._text.pieces.text())

    def _count(self, usage: Counts) -> None:
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        cached = (prompt.cached_tokens if prompt else None) or usage.prompt_cache_hit_tokens
        thinking = completion.reasoning_tokens if completion else None
        self.usage = counted(usage.prompt_tokens, usage.completion_tokens, cached, thinking=thinking)
        self.dollars = usage.cost

    def add(self, delta: Delta, events: list[ModelEvent]) -> None:
        thinking, text = self.thought(delta), delta.content
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

    def thought(self, delta: Delta) -> str | None:
        """The piece of reasoning in `delta`."""
        return delta.reasoning_content or delta.reasoning

    def _hear(self, audio: Sound, events: list[ModelEvent]) -> None:
        """What is spoken is text too. The answer does not say its format: it is the one that was asked for."""
        if audio.transcript:
            self.say(self._text, audio.transcript, events)
        if audio.data:
            if self._sound is None:
                self._sound = self.open_media(f"audio/{self._format}")
            self._sound.pieces.append(audio.data)

    def _take_call(self, call: Call, events: list[ModelEvent]) -> None:
        function = call.function or Function()
        known = self._find(call, function)
        if known is None:
            known = self.open_call(call.id or "")
            self._by_index[len(self._by_index) if call.index is None else call.index] = known
        known.id = known.id or call.id or ""
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = encode(arguments).decode()
        self.argue(known, arguments or "", events, name=function.name)

    def _find(self, call: Call, function: Function) -> OpenCall | None:
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
