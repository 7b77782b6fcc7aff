"""Let a call be the only step of its turn."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import takewhile

import msgspec

from roost.agent.session import Session
from roost.features.system_calls.rights import MODEL
from roost.features.system_calls.state import CallInTurn
from roost.log.content import Text, ToolCall, Usage, UserMessage
from roost.models.model_wrapper import Whole, events
from roost.models.request import CallDelta, Completed, Model, ModelEvent, Profile, Request

_FREE = Usage(cost=0)


class Asked(msgspec.Struct):
    """The arguments of a call of the model. prompt: the message. instructions: in place of the agent's."""

    prompt: str
    instructions: str | None = None


class CallModel(Whole):
    """The model of a turn that a call began: it asks for the call, and then says its result."""

    def __init__(self, session: Session, call: CallInTurn) -> None:
        self._inner: Model = session.means.model
        self._call = call

    @property
    def name(self) -> str:
        return self._inner.name

    @property
    def profile(self) -> Profile:
        return self._inner.profile

    async def close(self) -> None:
        """Do nothing: the session's model is its node's."""

    async def stream(self, request: Request) -> AsyncGenerator[ModelEvent]:
        call = self._call
        if call.tool == MODEL:
            async with events(self._inner, _of(request, call)) as stream:
                async for event in stream:
                    if not isinstance(event, CallDelta):
                        yield _without_calls(event) if isinstance(event, Completed) else event
        elif call.outcome is None:
            yield Completed((ToolCall(call.id, call.tool, call.arguments),), "tool_calls", _FREE)
        else:
            yield Completed((Text(call.text or f"({call.outcome})"),), "end", _FREE)


def _without_calls(answer: Completed) -> Completed:
    """Return an answer without calls of tools: who may call the model may not call tools by what he tells it."""
    parts = tuple(part for part in answer.parts if not isinstance(part, ToolCall))
    if len(parts) == len(answer.parts):
        return answer
    return msgspec.structs.replace(answer, parts=parts or (Text("(the model asked for a tool)"),), stop="end", cut=None)


def _of(request: Request, call: CallInTurn) -> Request:
    """Return the request of a call of the model. What the session said before the call is not shown to it; what a
    person says meanwhile is."""
    asked = msgspec.json.decode(call.arguments, type=Asked)
    since = [*takewhile(lambda one: isinstance(one, UserMessage), reversed(request.messages))][-2::-1]
    meanwhile = (part for one in since if isinstance(one, UserMessage) for part in one.parts)
    said = (UserMessage((Text(asked.prompt), *meanwhile)),)
    instruction = request.instruction if asked.instructions is None else asked.instructions
    return msgspec.structs.replace(request, messages=said, instruction=instruction, tools=(), context=(), since=0)
