"""Answer a request by one call of a model, without loop, session or log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from roost.doors.gateway import GatewayStream, StreamedAnswer, model_header, whole_answer
from roost.doors.gemini.content_request import ContentRequest
from roost.doors.gemini.contents import messages_of
from roost.doors.gemini.errors import error_of, refusal
from roost.doors.gemini.signatures import sealed
from roost.errors import Invalid
from roost.ids import new_id
from roost.log.content import AssistantPart, Audio, ErrorData, Image, Text, Thinking, ToolCall, Usage, Video
from roost.models.request import MOST_OUTPUT, Completed, Model, Request, Signed
from roost.models.wire_body import json_object
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.responses import Reply, ReplyCall, encode, json

Json = dict[str, Any]
_STOPS = {"length": "MAX_TOKENS", "refusal": "SAFETY"}


def request_of(asked: ContentRequest, *, stream: bool = False, room: int = MOST_OUTPUT, whole: bool = True) -> Request:
    """Return the model's request. room: the most tokens of an answer of this model; clients ask for those of another.
    whole: the conversation must be one that a model can answer. Raises `Invalid`."""
    config = asked.config
    if asked.cached_content:
        raise Invalid("cachedContent: no contents are kept here; send them with the request")
    if config.candidate_count not in (None, 1):
        raise Invalid("generationConfig.candidateCount: one answer is made for each request")
    if config.max_output_tokens is not None and config.max_output_tokens < 1:
        raise Invalid("generationConfig.maxOutputTokens: an answer has at least 1 token")
    tools, choice = asked.called(asked.specs())
    knobs = {"top_p": config.top_p, "top_k": None if config.top_k is None else int(config.top_k), "seed": config.seed}
    return Request(
        instruction=asked.instructions,
        messages=messages_of(asked.contents, whole=whole),
        tools=tools,
        tool_choice=choice,
        output_schema=asked.answer_schema,
        max_output=None if config.max_output_tokens is None else min(config.max_output_tokens, max(1, room)),
        temperature=config.temperature,
        stop=tuple(config.stop_sequences or ()),
        effort=asked.effort,
        knobs={name: value for name, value in knobs.items() if value is not None},
        stream=stream,
    )


def reply(api: Api, model: Model, name: str, asked: ContentRequest, *, stream: bool, events: bool) -> ReplyCall:
    """Call the model and return the response. name: as the client called the model. events: the stream is one of
    events, and not a JSON array. Raises `Invalid`."""
    request, frames = request_of(asked, stream=stream, room=model.profile.max_output), Frames(name, asked.thoughts)
    named = [model_header(model)]
    if stream:
        answer = _GeminiAnswer(frames, events=events)
        made = GatewayStream(api, model, request, answer, refusal, named)
        if not events:
            made.headers = [(b"content-type", b"application/json; charset=utf-8"), *made.headers[1:]]
        return made

    def whole(done: Completed) -> Reply:
        return json(200, frames.last(frames.parts(done.parts), done), headers=named)

    def failed(error: ErrorData) -> Reply | None:
        return json(200, frames.refused(error), headers=named) if _refuses(error) else None

    return whole_answer(api, model, request, whole, refusal, failed)


class Frames:
    """The responses of one answer. thoughts: the client wants to see the reasoning."""

    def __init__(self, name: str, thoughts: bool) -> None:
        self._head = {"modelVersion": name, "responseId": new_id("gw")}
        self.thoughts = thoughts

    def frame(self, parts: Sequence[Json]) -> Json:
        candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
        return {"candidates": [candidate], **self._head}

    def last(self, parts: Sequence[Json], done: Completed) -> Json:
        """Return the response that ends the answer."""
        made = self.frame(parts)
        made["candidates"][0]["finishReason"] = _STOPS.get(done.stop, "STOP")
        return {**made, "usageMetadata": usage_of(done.usage)}

    def refused(self, error: ErrorData) -> Json:
        """Return the end of an answer that the model refused: no error, by this protocol."""
        made = self.frame([])
        made["candidates"][0] |= {"finishReason": "SAFETY", "finishMessage": error.message}
        return {**made, "usageMetadata": usage_of(Usage())}

    def parts(
        self, given: Sequence[AssistantPart], *, sent: frozenset[str] = frozenset(), texts: bool = True
    ) -> list[Json]:
        """Return parts of an answer, each with the signatures of the reasoning before it. sent: signatures that the
        client has. texts: with text and reasoning, which a stream has sent before."""
        found: list[Json] = []
        signed: list[Thinking] = []
        for part in given:
            made: Json | None = None
            match part:
                case Thinking():
                    signed += [part] if part.signature and part.signature not in sent else []
                    made = {"text": part.text, "thought": True} if texts and self.thoughts and part.text else None
                    found += [made] if made else []
                    continue
                case Text():
                    made = {"text": part.text} if texts and part.text else None
                case ToolCall():
                    arguments = msgspec.Raw(json_object(part.arguments).encode())
                    made = {"functionCall": {"id": part.id, "name": part.name, "args": arguments}}
                case Image() | Audio() | Video():
                    made = {"inlineData": {"mimeType": part.media_type, "data": part.data}} if part.data else None
            if made is not None:
                found.append(_signed(made, signed))
                signed = []
        return [*found, _signed({"text": ""}, signed)] if signed else found


class _GeminiAnswer(StreamedAnswer):
    """The answer of a model as a stream of responses. A client takes white space between them for nothing."""

    ping = b"\n"

    def __init__(self, frames: Frames, *, events: bool) -> None:
        self._frames, self._events = frames, events
        self._any = False
        self._thought = ""
        self._signed: list[Thinking] = []
        self._sent: set[str] = set()

    def begin(self) -> bytes:
        return b"" if self._events else b"["

    def text(self, text: str) -> bytes:
        signed, self._signed = self._signed, []
        self._sent.update(one.signature or "" for one in signed)
        return self._chunk(self._frames.frame([_signed({"text": text}, signed)])) if text else b""

    def thinking(self, text: str) -> bytes:
        self._thought += text
        return self._chunk(self._frames.frame([{"text": text, "thought": True}])) if self._frames.thoughts else b""

    def signed(self, event: Signed) -> bytes:
        """Keep the signature for the part that follows."""
        self._signed.append(Thinking(self._thought, event.signature, event.origin, event.redacted))
        self._thought = ""
        return b""

    def restart(self, *, held: bool) -> bytes:
        self._signed, self._thought = [], ""
        return b""

    def end(self, done: Completed, rest: str) -> bytes:
        parts = self._frames.parts(done.parts, sent=frozenset(self._sent), texts=False)
        text = [{"text": rest}] if rest else []
        return self._chunk(self._frames.last([*text, *parts], done))

    def failure(self, error: ErrorData) -> bytes | None:
        return self._chunk(self._frames.refused(error)) if _refuses(error) else None

    def last(self, problem: Problem | None) -> bytes:
        if problem is None:
            return b"" if self._events else b"]"
        # A client looks for an error as a document of its own, not as one of the responses.
        error = encode({"error": error_of(problem)})
        return error + b"\n" if self._events else (b"," if self._any else b"") + error + b"]"

    def _chunk(self, response: Json) -> bytes:
        comma, self._any = b"," if self._any else b"", True
        return b"data: " + encode(response) + b"\r\n\r\n" if self._events else comma + encode(response)


def usage_of(usage: Usage) -> Json:
    return {
        "promptTokenCount": usage.input,
        "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": max(0, usage.output - usage.thinking),
        "thoughtsTokenCount": usage.thinking,
        "totalTokenCount": usage.input + usage.output,
    }


def _signed(part: Json, thoughts: Sequence[Thinking]) -> Json:
    return {**part, "thoughtSignature": sealed(thoughts)} if thoughts else part


def _refuses(error: ErrorData) -> bool:
    return error.code in ("refusal", "refused")
