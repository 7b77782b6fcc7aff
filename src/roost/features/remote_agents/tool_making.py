"""Make the tools by which an agent asks remote agents."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from roost.agent.remote_agent_options import RemoteAgent
from roost.agent.session import Session
from roost.agent.tool_offers import ToolOffers
from roost.features.remote_agents.cards import Cards
from roost.features.remote_agents.events import RemoteTaskBegan
from roost.features.remote_agents.remote_tasks import RemoteTask, RemoteTasks
from roost.features.remote_agents.requests import Requests
from roost.features.remote_agents.state import RemoteAgentState, RemoteAgentTurn
from roost.policy.rules import Touches
from roost.tools.base import Tool, ToolContext, ToolResult
from roost.tools.checked_http import NotSent, parts_of, place_of
from roost.tools.errors import ToolError

_OVERHEAD = 120.0
_MESSAGE = 256 * 1024
_SHOWN = 48_000
_SCHEMA = {
    "type": "object",
    "properties": {
        "message": {
            "type": "string",
            "description": "All that it must know: it sees only what you tell it in this conversation with it.",
        },
        "task": {
            "type": "string",
            "description": "The id of a task, to answer what it asks, or without a message to wait for it.",
        },
        "new": {"type": "boolean", "description": "Begin a new conversation with it."},
    },
    "additionalProperties": False,
}


class _Offered:
    """Whether the session's tools are offered."""

    def __init__(self, session: Session) -> None:
        self.done = False


def offer(session: Session) -> None:
    """Offer a tool for each remote agent of the session's agent."""
    kept, cards = session.own(_Offered), session.means.find(Cards)
    if kept.done or cards is None:
        return
    kept.done = True
    tools = [_RemoteTool(session, agent, cards).tool() for agent in session.spec.remote_agents]
    session.own(ToolOffers).offer("remote_agents", {tool.name: tool for tool in tools})


class _RemoteTool:
    """The tool of one remote agent."""

    def __init__(self, session: Session, agent: RemoteAgent, cards: Cards) -> None:
        self._session, self._agent, self._cards = session, agent, cards

    def tool(self) -> Tool:
        agent = self._agent
        host, _ = place_of(parts_of(agent.url))
        about = agent.about or f"The agent {agent.name} at {host}."
        return Tool(
            name=f"ask_{agent.name}",
            description=f"Ask the remote agent {agent.name}, which works elsewhere, and wait for its answer. {about}",
            schema=_SCHEMA,
            run=self._run,
            replay="safe",
            safety=agent.safety,
            files=False,
            timeout=agent.seconds + _OVERHEAD,
            taints=True,
            reach=_reach(host),
            secrets=(agent.secret,) if agent.secret else (),
            early=False,
        )

    async def _run(self, ctx: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        text, task = str(arguments.get("message") or ""), str(arguments.get("task") or "")
        if not (text.strip() or task):
            raise ToolError("say something in `message`, or name a `task` to wait for")
        if len(text.encode("utf-8", "replace")) > _MESSAGE:
            raise ToolError(f"the message has more than {_MESSAGE} bytes")
        requests = Requests(self._agent, ctx.secret)
        tasks = RemoteTasks(self._agent.name, await self._cards.endpoint(self._agent, requests), requests)
        found = await self._begin(ctx, tasks, text, task, new=bool(arguments.get("new")))
        return _result(self._agent.name, await tasks.follow(found, self._agent.seconds))

    async def _begin(self, ctx: ToolContext, tasks: RemoteTasks, text: str, task: str, *, new: bool) -> RemoteTask:
        """Send the message of this call, or go on with the task that an earlier attempt of it began."""
        session = self._session
        turn = session.state.turn
        known = turn.part(RemoteAgentTurn).tasks.get(ctx.key) if turn is not None else None
        if known is not None:
            return await tasks.get(known)
        if not text.strip():
            return await tasks.get(task)
        context = "" if new or task else session.state.part(RemoteAgentState).contexts.get(self._agent.name, "")
        message = hashlib.blake2b(f"{session.id}\n{ctx.key}".encode(), digest_size=16).hexdigest()
        found = await tasks.find(message, context) if ctx.attempt > 1 else None
        if found is None:
            try:
                found = await tasks.send(text, message=message, context=context, task=task)
            except NotSent:
                raise
            except ToolError as error:
                found = await self._after(error, tasks, message, context)
        if found.id:
            session.log.note(
                RemoteTaskBegan(
                    at=time.time(),
                    agent=self._agent.name,
                    call=ctx.call,
                    key=ctx.key,
                    task=found.id,
                    context=found.context,
                )
            )
            await session.log.flush_shielded()
        return found

    async def _after(self, error: ToolError, tasks: RemoteTasks, message: str, context: str) -> RemoteTask:
        """Look for a task whose message may have arrived although its answer did not. Raises `error` if there is
        none."""
        try:
            found = await tasks.find(message, context)
        except ToolError:
            found = None
        if found is None:
            raise error
        return found


def _reach(host: str) -> Any:
    def reach(arguments: Mapping[str, Any], root: Path) -> Touches:
        return Touches(hosts=(host,), outside=True)

    return reach


def _result(name: str, task: RemoteTask) -> ToolResult:
    said = "\n".join(_text(part) for part in task.parts).strip()
    if len(said) > _SHOWN:
        said = f"{said[:_SHOWN]}\n[cut: {len(said)} characters]"
    match task.state:
        case "COMPLETED":
            return ToolResult.of(said or f"[{name} has no answer in words]")
        case "INPUT_REQUIRED":
            return ToolResult.of(f"[{name} asks; answer with task={task.id!r}]\n{said}")
        case "FAILED" | "CANCELED" | "REJECTED" | "AUTH_REQUIRED":
            return ToolResult.of(f"[the task {task.id} of {name}: {task.state.lower()}]\n{said}".strip(), error=True)
        case _:
            return ToolResult.of(
                f"[{name} still works; call this again with task={task.id!r} to wait for it]\n{said}".strip()
            )


def _text(part: dict[str, Any]) -> str:
    if isinstance(text := part.get("text"), str):
        return text
    if "data" in part:
        return msgspec.json.encode(part["data"]).decode()
    name, kind = str(part.get("filename") or "a file")[:200], str(part.get("mediaType") or "unknown type")[:100]
    where = f", at {str(part['url'])[:500]}" if part.get("url") else ""
    return f"[{name}: {kind}{where}]"
