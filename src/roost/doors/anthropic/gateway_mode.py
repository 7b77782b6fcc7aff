"""Gateway mode: `model` names a model. One call of it, without loop, session or log."""

from __future__ import annotations

from collections.abc import Sequence

from roost.doors.anthropic.client_identity import Client
from roost.doors.anthropic.conversation import Answered, Entry, Said, conversation
from roost.doors.anthropic.errors import error_of, refusal, request_id
from roost.doors.anthropic.message_events import PING, STOPS, Ending, MessageEvents, blocks_of, failure, message
from roost.doors.anthropic.message_request import MessageRequest
from roost.doors.anthropic.signatures import sealed
from roost.doors.gateway import GatewayStream, StreamedAnswer, meta_of, model_header, whole_answer
from roost.errors import Invalid
from roost.ids import new_id
from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    ErrorData,
    Message,
    Thinking,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from roost.models.request import MOST_OUTPUT, Completed, Model, Request, Signed
from roost.server.app_state import Api
from roost.server.problems import Problem
from roost.server.responses import Header, Reply, ReplyCall, json


def request_of(asked: MessageRequest, *, user: str = "", room: int = MOST_OUTPUT, whole: bool = True) -> Request:
    """Return the model's request. room: the most tokens of an answer of this model; clients ask for those of another.
    whole: the conversation must be one that a model can answer. Raises `Invalid`."""
    tools, choice = asked.called(asked.specs())
    if asked.max_tokens is not None and asked.max_tokens < 1:
        raise Invalid(f"max_tokens: an answer has at least 1 token, not {asked.max_tokens}")
    knobs = {"top_p": asked.top_p, "top_k": asked.top_k}
    return Request(
        instruction=asked.instructions or "",
        messages=messages_of(conversation(asked.messages), whole=whole),
        tools=tools,
        tool_choice=choice,
        output_schema=asked.answer_schema,
        max_output=None if asked.max_tokens is None else min(asked.max_tokens, max(1, room)),
        temperature=asked.temperature,
        stop=tuple(asked.stop_sequences or ()),
        effort=asked.effort,
        knobs={name: value for name, value in knobs.items() if value is not None},
        meta=meta_of(user),
        stream=bool(asked.stream),
    )


def reply(api: Api, model: Model, asked: MessageRequest, client: Client) -> ReplyCall:
    """Call the model and return the response. Raises `Invalid`."""
    request, id = request_of(asked, user=client.user, room=model.profile.max_output), new_id("msg")
    named: list[Header] = [model_header(model), request_id()]
    one_call = asked.tool_choice is not None and bool(asked.tool_choice.disable_parallel_tool_use)
    if asked.stream:
        answer = _MessageAnswer(MessageEvents(id, asked.model), one_call=one_call)
        return GatewayStream(api, model, request, answer, refusal, named)

    def whole(done: Completed) -> Reply:
        return json(200, message(id, asked.model, blocks_of(_kept(done.parts, one_call)), _ending(done)), headers=named)

    def failed(error: ErrorData) -> Reply | None:
        end = _refused(error)
        return None if end is None else json(200, message(id, asked.model, [], end), headers=named)

    return whole_answer(api, model, request, whole, refusal, failed)


class _MessageAnswer(StreamedAnswer):
    """The answer of a model as events of a message."""

    ping = PING

    def __init__(self, events: MessageEvents, *, one_call: bool) -> None:
        self._events = events
        self._one_call = one_call
        self._sent: set[str] = set()
        self._held = False

    def begin(self) -> bytes:
        return self._events.first

    def text(self, text: str) -> bytes:
        return self._events.text(text)

    def thinking(self, text: str) -> bytes:
        return self._events.thinking(text)

    def signed(self, event: Signed) -> bytes:
        self._sent.add(event.signature)
        proof = sealed(event.signature, event.origin)
        if event.redacted:
            return self._events.block({"type": "redacted_thinking", "data": proof})
        return self._events.sign(proof)

    def restart(self, *, held: bool) -> bytes:
        self._held = held
        return self._events.sign(sealed(None, None, "void")) if self._events.thinks else b""

    def end(self, done: Completed, rest: str) -> bytes:
        """Return the rest of the text, signatures that came late, the calls, which may have been repaired, and the
        end."""
        chunks = [self._events.text(rest)] if rest else []
        for part in _kept(done.parts, self._one_call):
            if isinstance(part, ToolCall):
                chunks.append(self._events.call(part))
            elif isinstance(part, Thinking) and part.signature not in self._sent:
                chunks.append(self._late(part))
        return b"".join((*chunks, self._events.end(_ending(done))))

    def _late(self, part: Thinking) -> bytes:
        """Encode reasoning whose signature was not sent. Its text was, unless it was held."""
        if self._held or not part.text:
            (block,) = blocks_of([part])
            return self._events.block(block)
        if part.signature is None:
            return b""
        proof = sealed(part.signature, part.origin, "late")
        return self._events.block({"type": "thinking", "thinking": "", "signature": proof})

    def failure(self, error: ErrorData) -> bytes | None:
        end = _refused(error)
        return None if end is None else self._events.end(end)

    def last(self, problem: Problem | None) -> bytes:
        return b"" if problem is None else failure(error_of(problem))


def _ending(done: Completed) -> Ending:
    if done.stop == "end" and done.word is not None:
        return Ending("stop_sequence", done.usage, word=done.word)
    calls = any(isinstance(part, ToolCall) for part in done.parts)
    return Ending(STOPS.get(done.stop, "tool_use" if calls else "end_turn"), done.usage)


def _refused(error: ErrorData) -> Ending | None:
    """Return the end of an answer that the model refused: no error, by this protocol."""
    return Ending("refusal", refused=error.message) if error.code in ("refusal", "refused") else None


def _kept(parts: Sequence[AssistantPart], one_call: bool) -> Sequence[AssistantPart]:
    """Return the parts of the answer, without calls after the first where the client wants one."""
    first = next((at for at, part in enumerate(parts) if isinstance(part, ToolCall)), len(parts))
    return parts[: first + 1] if one_call else parts


def messages_of(entries: Sequence[Entry], *, whole: bool = True) -> tuple[Message, ...]:
    """Return the conversation as every provider accepts it: it begins with the user, and each call has its result.
    Raises `Invalid`."""
    found: list[Message] = []
    waiting: dict[str, str] = {}  # names of the calls that have no result yet
    for entry in entries:
        if isinstance(entry, Answered):
            if entry.parts:
                found.append(AssistantMessage(entry.parts))
            waiting = {call.id: call.name for call in entry.calls}
            continue
        found += _results(entry, waiting)
        if waiting and whole:
            raise Invalid(f"messages: `tool_use` ids were found without `tool_result` blocks: {', '.join(waiting)}")
        waiting = {}
        if entry.parts:
            found.append(UserMessage(entry.parts))
    if whole and (waiting or not found or isinstance(found[-1], AssistantMessage)):
        raise Invalid("messages: the last message must be the user's, and must not be empty; no answer is begun here")
    if whole and not isinstance(found[0], UserMessage):
        raise Invalid("messages: the first message must be the user's")
    return tuple(found)


def _results(said: Said, waiting: dict[str, str]) -> list[Message]:
    """Return the results as messages, and take their calls out of `waiting`."""
    found: list[Message] = []
    for result in said.results:
        if result.call not in waiting:
            raise Invalid(f"messages: unexpected `tool_use_id` {result.call!r}: no call directly before has this id")
        found.append(ToolMessage(result.call, waiting.pop(result.call), result.parts, result.error))
    return found
