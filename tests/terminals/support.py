"""Helpers for tests of terminals."""

from __future__ import annotations

import asyncio
from typing import Any

from roost.agent.definition import Agent
from roost.features.terminals.api import TerminalView
from roost.runtime import Runtime, SessionHandle
from roost.sandbox.choose import Isolation
from roost.testing.scripted import ScriptedModel
from tests.kernel.support import running

PATIENCE = 60.0


def agent(script: Any = None, level: int = 0, **options: Any) -> Agent:
    model = ScriptedModel(script or (lambda request: "ok"))
    isolation = Isolation(required=level, prefers=level)
    return Agent("a", model=model, permissions="all", isolation=isolation, **options)


async def lines(runtime: Runtime, session: str, terminal: str) -> list[str]:
    return (await runtime.terminals.screen(session, terminal)).lines


async def shows(runtime: Runtime, session: str, terminal: str, text: str) -> list[str]:
    """Wait until the screen shows a text. Returns the screen's lines."""
    found: list[str] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while text not in "\n".join(found := await lines(runtime, session, terminal)):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"the screen does not show {text!r}: {found}") from None
    return found


async def until_ended(runtime: Runtime, session: str, terminal: str) -> TerminalView:
    async with asyncio.timeout(PATIENCE):
        while True:
            found = (await runtime.terminals.list(session)).terminals
            if ended := [one for one in found if one.terminal == terminal and one.state == "ended"]:
                return ended[0]
            await asyncio.sleep(0.02)


async def events(runtime: Runtime, session: SessionHandle, kind: type[Any]) -> list[Any]:
    found = [record.event for record in await runtime.sessions.history(session.id)]
    return [event for event in found if isinstance(event, kind)]


__all__ = ["agent", "events", "lines", "running", "shows", "until_ended"]
