"""The common part of all wires' answers: parts that grow, and the final outcome."""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

import msgspec

from roost.ids import new_id
from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    Audio,
    ErrorData,
    Image,
    StopReason,
    Text,
    Thinking,
    ToolCall,
    Usage,
    Video,
)
from roost.models.media.sniff import canonical
from roost.models.profile import Profile
from roost.models.prompt import Prompt
from roost.models.request import CallDelta, Completed, Failed, ModelEvent, Price, Signed, TextDelta, ThinkingDelta
from roost.models.wire import Follow
from roost.models.wire_body import MOST_TOKENS, clean, is_json_object
from roost.models.wires.errors import body_error, stream_error
from roost.models.wires.pieces import Pieces, decode
from roost.models.wires.stop_words import StopWords

T = TypeVar("T")
_MOST_DOLLARS = 100_000
_LONGEST_NAME = 256
"""Limit in characters of a call's id or name. No provider exceeds it, and every log stores both."""


def origin_of(wire: str, profile: Profile) -> str:
    """Return the reader of a signature: one model family behind one wire."""
    return f"{wire}/{profile.family}"


class OpenText:
    """Text that grows."""

    __slots__ = ("pieces",)

    def __init__(self) -> None:
        self.pieces = Pieces()


class OpenThinking:
    """`signature` may be set at any time."""

    __slots__ = ("pieces", "redacted", "signature")

    def __init__(self) -> None:
        self.pieces = Pieces()
        self.signature: str | None = None
        self.redacted = False


class OpenCall:
    """A tool call that grows. number: its index among the calls of the answer."""

    __slots__ = ("arguments", "id", "name", "number")

    def __init__(self, number: int, call: str) -> None:
        self.number = number
        self.id = call
        self.name = ""
        self.arguments = Pieces()


class OpenMedia:
    """Media in `pieces` of base64, each complete in itself. Sound without a container (16-bit PCM, little-endian) gets
    one, so that other programs can play it."""

    __slots__ = ("media_type", "pieces")

    def __init__(self, media_type: str) -> None:
        self.media_type = media_type
        self.pieces: list[str] = []

    def part(self) -> Image | Audio | Video | None:
        """Return the part, None for a type that is no image, sound or video. Raises `ValueError`."""
        family = self.media_type.partition("/")[0].lower()
        kind = {"image": Image, "audio": Audio, "video": Video}.get(family)
        if kind is None:
            return None
        data = b"".join(base64.b64decode(piece, validate=True) for piece in self.pieces)
        media_type = canonical(clean(self.media_type))
        if media_type in _RAW:
            media_type, data = "audio/wav", _wav(data, _rate(self.media_type))
        return kind(media_type, base64.b64encode(data).decode("ascii"))


_RAW = {"audio/l16", "audio/pcm", "audio/pcm16"}
_RATE = 24_000
"""Default samples per second: that of OpenAI's and Google's models."""


def _rate(media_type: str) -> int:
    for field in media_type.lower().split(";")[1:]:
        name, _, value = field.strip().partition("=")
        if name == "rate" and value.isdigit() and 0 < int(value) < 1_000_000:
            return int(value)
    return _RATE


def _wav(samples: bytes, rate: int) -> bytes:
    """Make a WAVE file of one channel of signed 16-bit samples."""
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    body = head + struct.pack("<4sI", b"data", len(samples)) + samples
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WAVE" + body


Open: TypeAlias = OpenText | OpenThinking | OpenCall | OpenMedia


class Assembly:
    """The base of a wire's `Answer`, which adds `feed` and `whole`. Open parts in their final order, feed them pieces,
    and set `stop`, `usage` and the rest as the server reports them. An empty part is left out.

    stop: set means finished. refused: the model refused, whatever `stop` says. why: its reason. usage: the server's
    count. dollars: the server's cost. id: the server's name for the answer. word: the stop word that ended it.
    over: see `Answer`.
    """

    error: ErrorData | None
    over: bool
    follow: Follow | None
    stop: StopReason | None
    usage: Usage | None
    dollars: float | None
    id: str | None
    word: str | None

    def __init__(self, wire: str, prompt: Prompt, profile: Profile, *, where: str) -> None:
        self.where = where
        self.origin = origin_of(wire, profile)
        self.error = None
        self.over = False
        self.follow = None
        self.stop = None
        self.refused = False
        self.why = ""
        self.usage = None
        self.dollars = None
        self.id = None
        self.word = None
        self.calls: list[OpenCall] = []
        self._price: Price | None = profile.price
        self._open: list[Open] = []
        self._stops = StopWords(prompt.stop)
        self._spoken: OpenText | None = None
        self._prompt = prompt

    @property
    def finished(self) -> bool:
        return self.stop is not None

    def open_text(self) -> OpenText:
        part = OpenText()
        self._open.append(part)
        return part

    def open_thinking(self) -> OpenThinking:
        part = OpenThinking()
        self._open.append(part)
        return part

    def open_call(self, call: str = "") -> OpenCall:
        part = OpenCall(len(self.calls), call)
        if not self._stops.over:
            self.calls.append(part)
            self._open.append(part)
        return part

    def open_media(self, media_type: str) -> OpenMedia:
        part = OpenMedia(media_type)
        self._open.append(part)
        return part

    def show(self, url: str) -> None:
        """Add a picture from a data URL. Another URL is ignored, because it expires soon."""
        head, comma, data = url.partition(",")
        if comma and head.startswith("data:") and head.endswith(";base64"):
            self.open_media(head[5:-7]).pieces.append(data)

    def say(self, part: OpenText, piece: str, events: list[ModelEvent]) -> None:
        self._spoken = part
        if self._prompt.stop:
            piece = self._stops.take(piece)
        if piece := part.pieces.add(piece):
            events.append(TextDelta(piece))

    def think(self, part: OpenThinking, piece: str, events: list[ModelEvent]) -> None:
        if piece := part.pieces.add(piece):
            events.append(ThinkingDelta(piece))

    def sign(self, part: OpenThinking, signature: str | None, events: list[ModelEvent]) -> None:
        """Set the signature of reasoning that is whole. The last one counts."""
        if signature := clean(signature):
            part.signature = signature
            events.append(Signed(signature, self.origin, part.redacted))

    def argue(self, part: OpenCall, arguments: str, events: list[ModelEvent], *, name: str | None = None) -> None:
        """Add a piece of a call's arguments; the first `name` counts."""
        named = None
        if name and not part.name:
            named = part.name = name[:_LONGEST_NAME].encode("utf-8", "replace").decode()
        arguments = part.arguments.add(arguments)
        if (named or arguments) and not self._stops.over:
            events.append(CallDelta(part.number, arguments, named))

    def stop_for(self, word: str, reasons: Mapping[str, StopReason]) -> None:
        """Set `stop` from the server's word for it. Records an error for an unknown word: the answer may be cut."""
        self.stop = reasons.get(word)
        if self.stop is None:
            what = f"{self.where} ended its answer with the unknown stop reason {word!r}"
            self.error = ErrorData("malformed", what, True)

    def broke_off(self, error: Any) -> None:
        """Record an error that the server sent in place of an answer."""
        self.error = stream_error(error, where=self.where)

    def read(self, decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
        """Decode a frame or a document. Records an error and returns None for one that is not of this wire; after the
        end of the answer it is ignored."""
        try:
            return decode(decoder, data)
        except (ValueError, RecursionError) as error:
            if not self.finished:
                shown = data[:80].decode("utf-8", "replace")
                what = f"{self.where} sent a frame that cannot be read: {error}: {shown}"
                self.error = body_error(data, where=self.where) or ErrorData("malformed", what, True)
            return None

    def rest(self) -> list[ModelEvent]:
        """Return text held back until now: the possible start of a stop word, half a character."""
        if self._spoken is None or not self.finished:
            return []
        pieces = self._spoken.pieces
        piece = pieces.add(self._stops.rest()) + pieces.rest()
        return [TextDelta(piece)] if piece else []

    def end(self) -> Completed | Failed:
        """Return the outcome, once no more frames come."""
        if self.error is not None:
            return Failed(self.error, self.spent() if self.usage else None)
        if self.stop is None:
            return self._failed("malformed", "ended its stream without a finish reason: the answer is not whole", True)
        if self._stops.over and self.stop == "length":
            self.stop = "end"
        cut = self.stop in ("length", "refusal")
        if not cut and any(not call.name for call in self.calls):
            return self._failed("malformed", "made a tool call without a name", True)
        try:
            parts = self._parts(cut=cut)
        except ValueError as error:
            return self._failed("malformed", f"sent media that are not base64: {error}", True)
        content = [part for part in parts if not isinstance(part, Thinking)]
        if self.stop == "refusal" or self.refused:
            if content:
                return Completed(parts, "refusal", self.spent())
            return self._failed("refused", f"refused to answer{': ' if self.why else ''}{self.why}")
        if self.stop == "length":
            return Completed(parts, "length", self.spent(), self._cut() or (None if parts else ""))
        if not content:
            return self._failed("empty", "gave an empty answer", True)
        calls = any(isinstance(part, ToolCall) for part in content)
        word = self._stops.word or self.word
        return Completed(parts, "tool_calls" if calls else "end", self.spent(), word=word)

    def _cut(self) -> str | None:
        """Return the name of the incomplete call, if any."""
        halves = (call for call in self.calls if call.name and not is_json_object(call.arguments.text()))
        return next((call.name for call in halves), None)

    def spent(self) -> Usage:
        usage = self.usage
        if usage is None:
            return Usage()
        cost = None
        if self._price is not None:
            cost = self._price.cost(usage)
        elif self.dollars is not None and 0 <= self.dollars <= _MOST_DOLLARS:
            cost = round(self.dollars * 1e9)
        return msgspec.structs.replace(usage, cost=cost)

    def _failed(self, code: str, what: str, retryable: bool = False) -> Failed:
        return Failed(ErrorData(code, f"{self.where} {what}", retryable), self.spent() if self.usage else None)

    def _parts(self, *, cut: bool) -> tuple[AssistantPart, ...]:
        parts: list[AssistantPart] = []
        ids = CallIds(self._prompt)
        for part in self._open:
            match part:
                case OpenText():
                    if text := part.pieces.text():
                        parts.append(Text(text))
                case OpenThinking():
                    text, signature = part.pieces.text(), clean(part.signature) or None
                    if text or signature:
                        origin = self.origin if signature else None
                        parts.append(Thinking(text, signature, origin, part.redacted))
                case OpenMedia():
                    if part.pieces and (media := part.part()) is not None:
                        parts.append(media)
                case OpenCall():
                    arguments = part.arguments.text()
                    # The limit may have cut the last call; an incomplete call must not look complete.
                    if part.name and not (cut and not is_json_object(arguments)):
                        parts.append(ToolCall(ids.unique(part.id), part.name, arguments or "{}"))
        return tuple(parts)


class CallIds:
    """Makes call ids that are unique in the conversation."""

    def __init__(self, prompt: Prompt) -> None:
        messages = (message for message in prompt.messages if isinstance(message, AssistantMessage))
        self._taken = {call.id for message in messages for call in message.calls}

    def unique(self, call: str) -> str:
        """Return `call` if it is unused, else a new id."""
        call = call.encode("utf-8", "replace").decode()
        if not call or call in self._taken or len(call) > _LONGEST_NAME or not call.isprintable():
            call = new_id("call")
        self._taken.add(call)
        return call


def counted(
    prompt: float | None,
    output: float | None,
    cached: float | None = 0,
    *,
    written: float | None = 0,
    thinking: float | None = 0,
) -> Usage | None:
    """Make a usage from a server's counts, which may be missing or inconsistent. given: all input, including cached and
    written tokens. Returns None for impossible counts: the usage is then unknown and gets estimated."""
    all_in, out = prompt or 0, output or 0
    if not (0 <= all_in <= MOST_TOKENS and 0 <= out <= MOST_TOKENS):
        return None
    read = max(0, min(cached or 0, all_in))
    return Usage(
        int(all_in),
        int(out),
        int(read),
        written=int(max(0, min(written or 0, all_in - read))),
        thinking=int(max(0, min(thinking or 0, out))),
    )
