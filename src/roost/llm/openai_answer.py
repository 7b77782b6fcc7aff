"""Builds one answer from the frames of an OpenAI chat completion, streamed or whole."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, cast

import msgspec

from roost.ids import new_id
from roost.llm.ir import CallDelta, Completed, Failed, ModelEvent, Price, TextDelta, ThinkingDelta
from roost.llm.openai_errors import stream_error
from roost.llm.openai_request import is_json_object
from roost.log.content import AssistantPart, ErrorData, StopReason, Text, Thinking, ToolCall, Usage

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


class _Delta(msgspec.Struct):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(msgspec.Struct):
    index: int | None = 0
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    cost: float | None = None
    """Dollars, from the few servers that say it."""


class _Frame(msgspec.Struct):
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Frame)


class _Pieces:
    """Text in pieces. Surrogate pairs that a server split are joined, lone ones replaced: valid UTF-8 comes out."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._high = ""

    def add(self, piece: str) -> str:
        if piece.isascii() and not self._high:
            self._pieces.append(piece)
            return piece
        piece, self._high = self._high + piece, ""
        if piece and "\ud800" <= piece[-1] <= "\udbff":
            piece, self._high = piece[:-1], piece[-1]
        piece = piece.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        self._pieces.append(piece)
        return piece

    def text(self) -> str:
        return "".join(self._pieces) + ("\ufffd" if self._high else "")


class _OpenCall:
    def __init__(self, number: int, call: str) -> None:
        self.number = number
        self.id = call
        self.name = ""
        self.arguments = _Pieces()


class Answer:
    """Feed it frames; it gives deltas at once and the whole at the end.

    `error` is set by a frame that cannot be read or that carries an error: nothing after it counts. `finished` says
    that the server gave its finish reason: the answer is whole then, whatever becomes of the rest, and not before.
    """

    def __init__(self, *, where: str, price: Price | None, taken: Iterable[str] = ()) -> None:
        self._where = where
        self._price = price
        self._taken = set(taken)
        self._text = _Pieces()
        self._thinking = _Pieces()
        self._calls: list[_OpenCall] = []
        self._by_index: dict[int, _OpenCall] = {}
        self._refused = False
        self._finish: str | None = None
        self._usage: _Usage | None = None
        self.error: ErrorData | None = None

    @property
    def finished(self) -> bool:
        return self._finish is not None

    def feed(self, data: bytes) -> list[ModelEvent]:
        try:
            frame = _decode(data)
        except (ValueError, RecursionError) as error:
            if self.finished:
                return []
            shown = data[:80].decode("utf-8", "replace")
            self.error = ErrorData(
                "malformed", f"{self._where} sent a frame that cannot be read: {error}: {shown}", True
            )
            return []
        if frame.error:
            self.error = stream_error(frame.error, where=self._where)
            return []
        if frame.usage is not None:
            self._usage = frame.usage
        events: list[ModelEvent] = []
        for choice in frame.choices or ():
            if choice.index:
                continue
            if delta := choice.delta or choice.message:
                self._take(delta, events)
            self._finish = choice.finish_reason or self._finish
        return events

    def end(self) -> Completed | Failed:
        """The outcome, once no more frames come."""
        if self.error is not None:
            return Failed(self.error)
        if self._finish is None:
            return self._failed("malformed", "ended its stream without a finish reason: the answer is not whole", True)
        stop = _STOPS.get(self._finish, "end")
        cut = stop in ("length", "refusal")
        if not cut and any(not call.name for call in self._calls):
            return self._failed("malformed", "made a tool call without a name", True)
        parts = self._parts(cut=cut)
        said = [part for part in parts if not isinstance(part, Thinking)]
        if stop == "refusal" or self._refused:
            return Completed(parts, "refusal", self._spent()) if said else self._failed("refused", "refused to answer")
        if stop == "length":
            if not parts:
                return self._failed("empty", "reached the output limit before it said anything; raise max_output")
            return Completed(parts, "length", self._spent())
        if not said:
            return self._failed("empty", "gave an empty answer", True)
        calls = any(isinstance(part, ToolCall) for part in said)
        return Completed(parts, "tool_calls" if calls else "end", self._spent())

    def _failed(self, code: str, what: str, retryable: bool = False) -> Failed:
        return Failed(ErrorData(code, f"{self._where} {what}", retryable))

    def _take(self, delta: _Delta, events: list[ModelEvent]) -> None:
        thinking, text = delta.reasoning_content or delta.reasoning, delta.content
        if isinstance(text, list):
            text, more = _from_parts(text)
            thinking = (thinking or "") + more
        if thinking and (thinking := self._thinking.add(thinking)):
            events.append(ThinkingDelta(thinking))
        if delta.refusal:
            self._refused = True
        pieces = (self._text.add(piece) for piece in (text, delta.refusal) if piece)
        events += [TextDelta(piece) for piece in pieces if piece]
        for call in delta.tool_calls or ():
            self._take_call(call, events)

    def _take_call(self, call: _Call, events: list[ModelEvent]) -> None:
        function = call.function or _Function()
        known = self._find(call, function)
        if known is None:
            known = _OpenCall(len(self._calls), call.id or "")
            self._calls.append(known)
            self._by_index[len(self._by_index) if call.index is None else call.index] = known
        name = None
        if function.name and not known.name:
            name = known.name = function.name.encode("utf-8", "replace").decode()
        known.id = known.id or call.id or ""
        arguments = function.arguments
        if isinstance(arguments, dict):
            arguments = msgspec.json.encode(arguments).decode()
        arguments = known.arguments.add(arguments or "")
        if name or arguments:
            events.append(CallDelta(known.number, arguments, name))

    def _find(self, call: _Call, function: _Function) -> _OpenCall | None:
        if call.index is None:
            known = self._calls[-1] if self._calls else None
            starts = bool(function.name)
        else:
            known = self._by_index.get(call.index)
            # Some servers number every parallel call 0: a new id with a name is a new call.
            starts = bool(function.name and call.id and known and known.id and call.id != known.id)
        return None if starts else known

    def _parts(self, *, cut: bool) -> tuple[AssistantPart, ...]:
        parts: list[AssistantPart] = []
        if thinking := self._thinking.text():
            parts.append(Thinking(thinking))
        if text := self._text.text():
            parts.append(Text(text))
        for call in self._calls:
            arguments = call.arguments.text()
            # The limit may have cut the last call: what is not whole must not look as if it were.
            if not call.name or (cut and not is_json_object(arguments)):
                continue
            parts.append(ToolCall(self._unique(call.id), call.name, arguments or "{}"))
        return tuple(parts)

    def _unique(self, call: str) -> str:
        call = call.encode("utf-8", "replace").decode()
        if not call or call in self._taken:
            call = new_id("call")
        self._taken.add(call)
        return call

    def _spent(self) -> Usage:
        usage = self._usage
        if usage is None:
            return Usage()
        details = usage.prompt_tokens_details
        cached = (details.cached_tokens if details else None) or usage.prompt_cache_hit_tokens or 0
        given = usage.prompt_tokens or 0
        spent = Usage(max(0, given), max(0, usage.completion_tokens or 0), max(0, min(cached, given)))
        cost = None
        if self._price is not None:
            cost = self._price.cost(spent)
        elif usage.cost is not None and 0 <= usage.cost < math.inf:
            cost = round(usage.cost * 1e9)
        return msgspec.structs.replace(spent, cost=cost)


def _decode(data: bytes) -> _Frame:
    try:
        return _decoder.decode(data)
    except msgspec.ValidationError:
        raise
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Servers that escape may split a surrogate pair over two frames; the strict decoder refuses halves.
        return msgspec.convert(json.loads(data.decode("utf-8", "replace")), _Frame)


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
