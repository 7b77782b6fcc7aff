"""An agent that does in its workspace what it is told, a shell command a line; a process that dies while it runs."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from roost.agent.definition import Agent
from roost.log import events as ev
from roost.log.content import AssistantMessage, Text, ToolMessage, UserMessage
from roost.log.protocols import Append
from roost.models.request import Request
from roost.runtime import Runtime, SessionHandle
from roost.stores.open import open_store
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.base import ToolContext
from roost.tools.function import tool
from tests.harness.crash.killing import KillingStore

from .support import BRISK, asleep, events, of_limits


class Talk:
    """A session that runs, and who speaks with it."""

    def __init__(self, runtime: Runtime, session: SessionHandle) -> None:
        self.runtime, self.session = runtime, session

    async def tell(self, *commands: str) -> str:
        return await self.session.ask("\n".join(commands))

    async def log(self) -> list[ev.Event]:
        return await events(self.session, self.runtime)

    async def sleep(self) -> None:
        await asleep(self.runtime, self.session)


def obey(request: Request) -> Answer | str:
    """The n-th step runs the n-th line of the message; then comes what the commands printed."""
    told, results, done = "", list[str](), 0
    for message in request.messages:
        match message:
            case UserMessage():
                told, results, done = _text(message.parts), [], 0
            case AssistantMessage():
                done += 1
            case ToolMessage():
                results.append(_text(message.parts))
    lines = told.split("\n")
    if done >= len(lines):
        return "\n".join(results)
    name, _, rest = lines[done].partition(" ")
    return Answer(calls=(Call(name, {"command": rest}),))


def _text(parts: Sequence[object]) -> str:
    return " ".join(part.text for part in parts if isinstance(part, Text) and not of_limits(part.text))


async def _run(command: str, context: ToolContext) -> str:
    result = await context.sandbox.exec(["/bin/sh", "-c", command], cwd=str(context.workspace.root))
    return result.stdout.strip() + result.stderr.strip()


@tool(replay="safe", safety="high_risk")
async def sh(command: str, context: ToolContext) -> str:
    """Run a command, again if need be."""
    return await _run(command, context)


@tool(replay="never", safety="high_risk")
async def once(command: str, context: ToolContext) -> str:
    """Run a command that must not run twice."""
    return await _run(command, context)


@tool(replay="safe", safety="read_only")
async def look(command: str, context: ToolContext) -> str:
    """Run a command that changes nothing."""
    return await _run(command, context)


@tool(replay="safe", safety="high_risk")
async def think(command: str) -> str:
    """Get at no file."""
    return command


def clerk() -> Agent:
    return Agent("clerk", model=ScriptedModel(obey), tools=[sh, once, look, think], permissions="all")


class Striking(KillingStore):
    """Kills this process at the `nth` append that has `mark` in it: an event's type, or `release`."""

    def strike_at(self, mark: str, nth: int, when: str) -> None:
        self._mark, self._nth, self._moment = mark, nth, when

    async def append(self, append: Append) -> int:
        hit = append.release if self._mark == "release" else any(self._mark.encode() in body for body in append.bodies)
        self._nth -= hit
        strike = hit and self._nth == 0
        if strike and self._moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        head = await super().append(append)
        if strike:
            os.kill(os.getpid(), signal.SIGKILL)
        return head


async def _main(home: str, url: str, snapshots: str, session: str, mark: str, nth: str, when: str) -> None:
    store = Striking(await open_store(url))
    store.strike_at(mark, int(nth), when)
    async with Runtime(Path(home), agents=[clerk()], store=store, snapshots=snapshots, config=BRISK) as runtime:
        await runtime.open(session).send(
            "sh echo 1 >> notes; rm gone; mkdir made\nsh echo 2 >> notes; ln -s notes link"
        )
        await asyncio.sleep(20)


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
