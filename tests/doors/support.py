"""A call that is asked about twice: a pause cuts it off."""

from __future__ import annotations

import asyncio
from typing import Any

from roost.agent.definition import Agent
from roost.testing.scripted import Answer, Call, ScriptedModel
from roost.tools.function import tool


def again_asking() -> Agent:
    """An agent whose only call runs until it is cut off, and then, if it is approved again, returns."""
    runs: list[str] = []

    @tool(replay="ask", safety="destructive")
    async def strike(what: str) -> str:
        """Needs an approval."""
        runs.append(what)
        if len(runs) == 1:
            await asyncio.Event().wait()
        return f"struck {what}"

    def model(request: Any) -> Answer:
        done = any(hasattr(message, "call") for message in request.messages)
        return Answer(text="Done.") if done else Answer(calls=(Call("strike", {"what": "it"}),))

    return Agent("striker", model=ScriptedModel(model), tools=[strike])


def log(served: Any, session: str) -> list[str]:
    return [one["event"]["type"] for one in served.history(session)]


def cut_off(served: Any, session: str, wait: Any) -> None:
    """Wait until the call runs, cut it off, and wait until it is asked about again."""
    wait(lambda: "tool.started" in log(served, session))
    assert served.post(f"/sessions/{session}/pause").status in (200, 202)
    wait(lambda: served.get(f"/sessions/{session}")["info"]["state"] == "paused")
    assert served.post(f"/sessions/{session}/resume").status in (200, 202)
    wait(lambda: log(served, session).count("approval.requested") == 2)
