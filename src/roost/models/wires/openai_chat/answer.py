"""Build one answer from the frames of an OpenAI chat completion, streamed or whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import msgspec

from roost.log.content import ErrorData, StopReason
from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import Completed, Failed, ModelEvent
from roost.models.sse import SSEEvent
from roost.models.wire_body import encode, is_json_object
from roost.models.wires.assembly import Assembly, OpenCall, OpenMedia, OpenThinking, counted
from roost.models.wires.openai_chat.reasoning import Details, call_signature
from roost.models.wires.openai_chat.request import NAME, Quirks
from roost.models.wires.openai_chat.tags import Tags

_ENDS = "stop", "end", "end_turn", "eos", "eos_token", "stop_sequence", "stop_token", "complete", "completed", "normal"
STOP_REASONS: dict[str, StopReason] = {
    **dict.fromkeys(_ENDS, "end"),
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "function_call": "tool_calls",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "refusal",
    "refusal": "refusal",
    "safety": "refusal",
}
"""Finish reasons of a good end. Any other reason is a failure: the answer may be incomplete."""
_FINE = {None, 0, 200, "0", "200", "success", "ok"}
"""Values of `code` that are no error."""


class Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: Any = None
    """Google's signature of the call."""


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
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    audio: Sound | None = None
    images: list[Shown] | None = None
    """Pictures; few servers send them."""


class CountDetails(msgspec.Struct):
    cached_tokens: float | None = None
    reasoning_tokens: float | None = None


class Counts(msgspec.Struct):
    """Token counts. Floats, because some servers write `12.0`."""

    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: CountDetails | None = None
    completion_tokens_details: CountDetails | None = None
    prompt_cache_hit_tokens: float | None = None
    cached_tokens: float | None = None
    cost: float | None = None
    """Dollars; few servers report it."""


class Choice(msgspec.Struct):
    """usage: Kimi reports its counts here."""

    index: int | None = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None
    usage: Counts | None = None
    error: Any = None


class Groq(msgspec.Struct):
    usage: Counts | None = None


class Frame(msgspec.Struct):
    """A frame. code and the fields after it: an error of a server that always answers 200."""

    id: Any = None
    choices: list[Choice] | None = None
    usage: Counts | None = None
    error: Any = None
    x_groq: Groq | None = None
    code: Any = None
    status: Any = None
    message: Any = None
    detail: Any = None
    msg: Any = None


_decoder = msgspec.json.Decoder(Frame)
_LONGEST_ID = 256


class OpenAIChatAnswer(Assembly):
    """Orders thinking, text and calls, in whatever order the server sends them.

    A wire that shares the protocol extends the frame that `decoder` reads, and the handling of its pieces.
    """

    error: ErrorData | None
    wire: ClassVar[str] = NAME
    decoder: ClassVar[msgspec.json.Decoder[Any]] = _decoder
    stops: ClassVar[Mapping[str, StopReason]] = STOP_REASONS

    def __init__(
        self,
        prompt: Prompt,
        profile: Profile,
        *,
        where: str,
        quirks: Quirks | None = None,
        origin: str | None = None,
    ) -> None:
        """With an `origin`, the server's own forms of reasoning are kept, to be sent back to it."""
        super().__init__(self.wire, prompt, profile, where=where)
        self.origin = origin or self.origin
        self._details = Details() if origin else None
        self._thinking = self.open_thinking()
        self._text = self.open_text()
        self._by_index: dict[tuple[int, int], OpenCall] = {}
        self._signatures: dict[int, OpenThinking] = {}
        self._sound: OpenMedia | None = None
        self._format = _format_of(prompt.knobs.get("audio"))
        quirks = quirks or Quirks(think_tags="none")
        self._finishes = quirks.finish_reasons
        schemas = {tool.name: tool.schema for tool in prompt.tools} if quirks.text_calls else {}
        self._tags = Tags(quirks.think_tags, schemas)

    def feed(self, frame: SSEEvent) -> list[ModelEvent]:
        data = frame.data
        if data.strip() == b"[DONE]":
            self.over = True
            self._close()
            return []
        return self.whole(data)

    def whole(self, body: bytes) -> list[ModelEvent]:
        frame: Frame | None = self.read(self.decoder, body)
        return [] if frame is None else self.take(frame)

    def take(self, frame: Any) -> list[ModelEvent]:
        """Add a frame, streamed or whole."""
        if self.id is None and isinstance(frame.id, str) and len(frame.id) <= _LONGEST_ID:
            self.id = frame.id
        if error := frame.error or _odd_error(frame):
            self.broke_off(error)
            return []
        self._count(frame.usage or (frame.x_groq.usage if frame.x_groq else None))
        events: list[ModelEvent] = []
        for choice in frame.choices or ():
            self._count(choice.usage)
            if choice.error:
                self.broke_off(choice.error)
                return events
            if delta := choice.delta or choice.message:
                if choice.index:
                    # One choice was requested: a second one holds calls of the first (Copilot).
                    self._take_calls(delta, events, choice.index)
                    choice.finish_reason = choice.finish_reason if delta.tool_calls else None
                else:
                    self.add(delta, events)
            if choice.finish_reason and not (choice.index and not self.calls):
                self.finish(choice.finish_reason)
        return events

    def finish(self, reason: str) -> None:
        stop = self._finishes.get(reason) or self.stops.get(reason.lower())
        if stop is not None:
            self.stop = stop
        elif not self.finished:
            known = "map it with the option finish_reasons if it is a good end"
            what = f"{self.where} ended its answer with the finish reason {reason!r}: {known}"
            self.error = ErrorData("malformed", what, True)

    def _close(self) -> None:
        """Accept the server's end mark in place of a missing finish reason, if no call is cut."""
        whole = all(call.name and is_json_object(call.arguments.text() or "{}") for call in self.calls)
        if not self.finished and self.error is None and self.spoken and whole:
            self.stop = "end"

    def rest(self) -> list[ModelEvent]:
        events: list[ModelEvent] = []
        self._flush(events)
        return events + super().rest()

    def end(self) -> Completed | Failed:
        self._flush([])
        if self._details is not None:
            self._thinking.signature = self._details.signature()
        return super().end()

    def _flush(self, events: list[ModelEvent]) -> None:
        thought, text, calls = self._tags.rest(finished=self.stop != "length")
        if thought:
            self.think(self._thinking, thought, events)
        if text:
            self.say(self._text, text, events)
        for name, arguments in calls if not self.calls else ():
            self.argue(self.open_call(), arguments, events, name=name)

    @property
    def spoken(self) -> bool:
        """Whether there is text or a call."""
        return bool(self.calls or self._text.pieces.text())

    def _count(self, usage: Counts | None) -> None:
        if usage is None or (usage.prompt_tokens, usage.completion_tokens) == (None, None):
            return
        prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
        cached = (prompt.cached_tokens if prompt else None) or usage.prompt_cache_hit_tokens or usage.cached_tokens
        thinking = completion.reasoning_tokens if completion else None
        self.usage = counted(usage.prompt_tokens, usage.completion_tokens, cached, thinking=thinking)
        self.dollars = usage.cost

    def add(self, delta: Delta, events: list[ModelEvent]) -> None:
        thinking, text = self.thought(delta), delta.content
        if isinstance(text, list):
            text, more = _from_parts(text)
            thinking = (thinking or "") + more
        if self._details is not None and delta.reasoning_details:
            shown = self._details.add(delta.reasoning_details)
            thinking = thinking or shown
        if text:
            more, text = self._tags.take(text)
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
        self._take_calls(delta, events)

    def thought(self, delta: Delta) -> str | None:
        """Return the piece of reasoning in `delta`."""
        return delta.reasoning_content or delta.reasoning

    def _hear(self, audio: Sound, events: list[ModelEvent]) -> None:
        """Add sound, and its transcript as text. The answer does not state the format; it is the requested one."""
        if audio.transcript:
            self.say(self._text, audio.transcript, events)
        if audio.data:
            if self._sound is None:
                self._sound = self.open_media(f"audio/{self._format}")
            self._sound.pieces.append(audio.data)

    def _take_calls(self, delta: Delta, events: list[ModelEvent], choice: int = 0) -> None:
        for call in delta.tool_calls or ():
            self._take_call(call, events, choice)

    def _take_call(self, call: Call, events: list[ModelEvent], choice: int) -> None:
        function = call.function or Function()
        known = self._find(call, function, choice)
        if known is None:
            mark = self.open_thinking()
            known = self.open_call(call.id or "")
            self._signatures[known.number] = mark
            index = len(self._by_index) if call.index is None else call.index
            self._by_index[choice, index] = known
        known.id = known.id or call.id or ""
        if self._details is not None and (signature := call_signature(call.extra_content)):
            self._signatures[known.number].signature = signature
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = encode(arguments).decode()
        self.argue(known, arguments or "", events, name=function.name)

    def _find(self, call: Call, function: Function, choice: int) -> OpenCall | None:
        """Return the call that this piece belongs to, None if it starts a new one.

        Servers number calls, or give them ids, or neither. A piece with a name starts a call, unless the server repeats
        the name in every piece: then the call's arguments so far are incomplete.
        """
        if call.index is not None:
            known = self._by_index.get((choice, call.index))
        elif call.id and (same := [one for one in self.calls if one.id == call.id]):
            return same[-1]
        else:
            known = self.calls[-1] if self.calls else None
        if known is None or not function.name:
            return known
        if call.id and known.id:
            return known if call.id == known.id else None
        again = function.name == known.name and not is_json_object(known.arguments.text())
        return known if again or not known.name else None


def _odd_error(frame: Frame) -> Any:
    """Return the error of a document that is one as a whole: `{"code": 20012, "message": ...}`, `{"detail": ...}`."""
    message = frame.message or frame.detail or frame.msg
    if frame.choices is not None or frame.usage is not None or not message:
        return None
    if isinstance(frame.code, int | str | None) and frame.code in _FINE and frame.code is not None:
        return None
    return {"code": frame.code, "status": frame.status, "message": message}


def _format_of(audio: Any) -> str:
    return str(cast("dict[str, Any]", audio).get("format") or "wav") if isinstance(audio, dict) else "wav"


def _from_parts(parts: list[Any]) -> tuple[str, str]:
    """Return (text, thinking) of content given as a list of parts."""
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
