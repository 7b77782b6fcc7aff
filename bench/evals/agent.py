"""The agent that does the tasks: the assistant that ships, in a `Runtime`, over a folder of the task's files."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from pathlib import Path

import msgspec

from bench.evals.task import Call
from roost.agent.default_agent import DEFAULT_AGENT, default_agent
from roost.log import events as ev
from roost.log.content import AssistantMessage, Usage
from roost.models.request import Model
from roost.runtime import Runtime, SessionHandle

MAX_STEPS = 12
SECONDS = 600.0


class Trace(msgspec.Struct, kw_only=True):
    """`failure` names why there is no answer. `tool`: of a model that says so, the probability that the first step is a
    call and not an answer, as it was decided by. `refused`: answers that did not stand in what was read."""

    answer: str = ""
    calls: list[Call] = []
    failure: str | None = None
    steps: int = 0
    tool: float | None = None
    refused: list[str] = []
    usage: Usage = Usage(cost=0)


@contextlib.asynccontextmanager
async def assistant(model: Model, home: Path) -> AsyncGenerator[Runtime]:
    """A runtime with the shipped assistant on this model. The permissions are the agent's own."""
    async with Runtime(home, agents=[default_agent().replace(model=model)]) as runtime:
        yield runtime


async def run_agent(runtime: Runtime, prompt: str, folder: Path, *, choice_only: bool = False) -> Trace:
    """Have the assistant work on `prompt` in `folder`; every call that it asks for is approved. `choice_only` ends it
    after its first choice. Never raises for what the model does."""
    session = await runtime.session(DEFAULT_AGENT, workspace=str(folder))
    trace = Trace()
    try:
        async with asyncio.timeout(SECONDS):
            await session.send(prompt)
            await _follow(session, trace, choice_only=choice_only)
    except TimeoutError:
        trace.failure = f"no answer after {SECONDS:.0f} s"
    await session.delete()
    return trace


async def _follow(session: SessionHandle, trace: Trace, *, choice_only: bool) -> None:
    planned: dict[str, Call] = {}
    async for event in session.events():
        match event:
            case ev.ModelNotice(kind="choice") if trace.tool is None:
                trace.tool = event.data.get("led")
                if choice_only:
                    return
            case ev.ModelNotice(kind="unsupported"):
                trace.refused.append(str(event.data.get("answer")))
            case ev.ModelCompleted():
                message = AssistantMessage(event.parts)
                trace.steps += 1
                trace.usage += event.usage
                trace.answer = "" if message.calls else message.text
                planned = {call.id: Call(call.name, call.arguments) for call in message.calls}
            case ev.ApprovalRequested():
                await session.approve(event.call)
            case ev.ToolCompleted() if event.call in planned:
                call = planned[event.call]
                trace.calls.append(msgspec.structs.replace(call, error=event.outcome != "ok"))
                if trace.steps >= MAX_STEPS:
                    trace.failure = f"no answer after {MAX_STEPS} steps"
                    return
            case ev.ModelFailed():
                trace.failure = f"{event.error.code}: {event.error.message}"
            case ev.TurnCompleted():
                if event.outcome != "answered":
                    trace.failure = trace.failure or f"{event.outcome}: {event.reason}"
                return
            case _:
                pass
