"""A model that follows a script, in this process. It costs next to nothing, so that benchmarks measure the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeAlias

import msgspec

from roost.log.content import (
    AssistantMessage,
    AssistantPart,
    ErrorData,
    Text,
    Thinking,
    ToolCall,
    Usage,
    UserMessage,
)
from roost.models.request import CallDelta, Completed, Failed, ModelEvent, Profile, Request, TextDelta, ThinkingDelta
from roost.stub.answers import Answer as Answer
from roost.stub.answers import Call as Call
from roost.stub.answers import pieces

Script: TypeAlias = Sequence[Answer | str] | Callable[[Request], Answer | str]
"""One answer per call, in order, or a function of the request."""


def by_step(answers: Sequence[Answer | str]) -> Callable[[Request], Answer | str]:
    """Return a script that depends on the transcript alone: the n-th model call of each turn gets the n-th answer,
    later ones the last. A repeated request gets the same answer."""

    def answer(request: Request) -> Answer | str:
        said = 0
        for message in reversed(request.messages):
            if isinstance(message, UserMessage):
                break
            said += isinstance(message, AssistantMessage)
        return answers[min(said, len(answers) - 1)]

    return answer


class ScriptedModel:
    """A `Model` whose answers are a list, one per call in order, or a function of the request.

    After the end of a list every call fails with the code `script_over`. `deltas`: stream pieces before the whole.
    `calls`: number of calls. `requests`: the last `keep` requests.
    """

    def __init__(
        self,
        script: Script,
        *,
        name: str = "scripted",
        profile: Profile | None = None,
        deltas: bool = False,
        keep: int = 64,
    ) -> None:
        self._script = script
        self._name = name
        self._profile = profile or Profile()
        self._deltas = deltas
        self.calls = 0
        self.requests: deque[Request] = deque(maxlen=keep)

    @property
    def name(self) -> str:
        return self._name

    @property
    def profile(self) -> Profile:
        return self._profile

    async def close(self) -> None:
        pass

    async def stream(self, request: Request) -> AsyncIterator[ModelEvent]:
        answer = self._next(request)
        if answer.delay:
            await asyncio.sleep(answer.delay)
        if answer.error is not None:
            yield Failed(answer.error)
            return
        parts = answer.parts(len(request.messages))
        if self._deltas or answer.pace:
            for delta in _deltas(parts, answer.piece):
                yield delta
                await asyncio.sleep(answer.pace)
        yield Completed(parts, answer.reason, self._spent(answer.usage))

    def _next(self, request: Request) -> Answer:
        self.calls += 1
        self.requests.append(request)
        if callable(self._script):
            said = self._script(request)
        elif self.calls <= len(self._script):
            said = self._script[self.calls - 1]
        else:
            said = Answer(error=ErrorData("script_over", f"the script has {len(self._script)} answers and no more"))
        return Answer(text=said) if isinstance(said, str) else said

    def _spent(self, usage: Usage) -> Usage:
        if usage.cost is None and self._profile.price is not None:
            return msgspec.structs.replace(usage, cost=self._profile.price.cost(usage))
        return usage


def _deltas(parts: Sequence[AssistantPart], size: int) -> list[ModelEvent]:
    deltas: list[ModelEvent] = []
    index = 0
    for part in parts:
        if isinstance(part, ToolCall):
            first, *rest = pieces(part.arguments, size) or [""]
            deltas.append(CallDelta(index, first, part.name))
            deltas += [CallDelta(index, piece) for piece in rest]
            index += 1
        elif isinstance(part, Text | Thinking):
            kind = TextDelta if isinstance(part, Text) else ThinkingDelta
            deltas += [kind(piece) for piece in pieces(part.text, size)]
    return deltas
