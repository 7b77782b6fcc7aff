"""`task`, `list_agents` and `message_agent`: work with other agents of the same user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from roost.features.delegation.delegated_calls import CallAgents
from roost.policy.rules import Touches
from roost.tools.base import ToolContext
from roost.tools.errors import ToolError
from roost.tools.function import tool

_Seconds = Annotated[float, Meta(gt=0, le=1e8)]
PROMPT = 256 * 1024
"""Most bytes of a task's prompt or a message."""


def _calls(arguments: Mapping[str, Any], root: Path) -> Touches:
    agent = arguments.get("agent")
    return Touches(agent=agent) if isinstance(agent, str) else Touches()


@tool(replay="safe", safety="safe_write", inside=True, files=False, reach=_calls)
async def task(
    context: ToolContext,
    agent: Annotated[str, "Its name, as list_agents shows it."],
    prompt: Annotated[str, "All that it must know: it sees nothing of this conversation."],
    background: Annotated[bool, "Go on at once; its answer comes later, as a message."] = False,
    deadline: Annotated[_Seconds | None, "Seconds after which it is given up."] = None,
) -> str:
    """Give another agent a task, and get its answer. Calls in the same answer run at the same time."""
    if not prompt.strip():
        raise ToolError("the prompt is empty: say what the task is")
    child = await _agents(context).begin(agent, _fits(prompt), background=background, deadline=deadline)
    return f"{agent} works on it in session {child}; its answer comes as a message of its own"


@tool(replay="safe", safety="read_only", inside=True, files=False)
async def list_agents(context: ToolContext) -> str:
    """List the agents to whom you may give tasks with `task`, and the tasks that run."""
    agents = _agents(context)
    found = [f"- {one.name}: {one.description or '(no description)'}" for one in agents.callable()]
    running = [f"- session {one.name}: a task of {one.description}" for one in agents.running()]
    return "\n".join((found or ["there is none"]) + (["", "Running now:", *running] if running else []))


@tool(replay="safe", safety="safe_write", inside=True, files=False)
async def cancel_task(context: ToolContext, session: Annotated[str, "Its id, as `task` told it."]) -> str:
    """Give up a task that runs in the background. What it has done stays done."""
    _agents(context).cancel(session)
    return f"session {session} is told to end; a message says when it has"


@tool(replay="safe", safety="safe_write", inside=True, files=False)
async def message_agent(
    context: ToolContext,
    to: Annotated[str, "The id of a session, the name of an agent for its newest session, or `parent`."],
    text: Annotated[str, "What to say."],
) -> str:
    """Say something to another agent in a session of the same user. It answers, if it does, with a message of its
    own."""
    if not text.strip():
        raise ToolError("the message is empty")
    return f"session {await _agents(context).tell(to, _fits(text))} will read it"


def _fits(text: str) -> str:
    if len(text.encode("utf-8", "replace")) > PROMPT:
        raise ToolError(f"it has more than {PROMPT} bytes: put what is long into a file that the other agent can read")
    return text.encode("utf-8", "replace").decode()


def _agents(context: ToolContext) -> CallAgents:
    return context.port(CallAgents, "no other agent can be reached from here")


task = msgspec.structs.replace(task, delegates=True)
