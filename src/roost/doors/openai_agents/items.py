"""Items of a session as resources: what was said, thought, called and returned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, cast

import msgspec

from roost.agent.servers import server_tool
from roost.log import events as ev
from roost.log.content import Image, ResultPart, Text, ToolCall, ToolOutcome, Usage, UserPart

SERVER = "roost"
"""What clients see as the MCP server of the agent's own tools."""
Status: TypeAlias = Literal["in_progress", "completed", "failed", "incomplete"]
Item: TypeAlias = dict[str, Any]
_SHELL = ("shell", "shell_start")
_BODY = 256 * 1024
"""Most characters of a tool's result in an item."""


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.thinking},
        "total_tokens": usage.input + usage.output,
    }


def arguments_of(text: str) -> Any:
    """Return the arguments of a call as JSON; as text if the model wrote none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def said_by_user(id: str, turn: str, parts: Sequence[UserPart]) -> Item:
    content = [_input(part) for part in parts]
    return {"type": "message", "id": id, "role": "user", "status": "completed", "content": content, "turn_id": turn}


def _input(part: UserPart | ResultPart) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, Image):
        return {"type": "input_image", "image_url": part.url or f"data:{part.media_type};base64,{part.data}"}
    return {"type": "input_text", "text": f"[{part.name or part.media_type}]"}


def answer(id: str, turn: str, text: str, status: str, phase: str | None = None) -> Item:
    content = [{"type": "output_text", "text": text}] if status != "in_progress" else []
    return {
        "type": "message",
        "id": id,
        "role": "assistant",
        "status": status,
        "content": content,
        "phase": phase,
        "turn_id": turn,
    }


def reasoning(id: str, turn: str, text: str, status: str) -> Item:
    summary = [{"type": "summary_text", "text": text}] if status != "in_progress" else []
    return {"type": "reasoning", "id": id, "status": status, "summary": summary, "turn_id": turn}


def function_call(id: str, turn: str, call: ToolCall, status: Status = "in_progress") -> Item:
    return {
        "type": "function_call",
        "id": id,
        "call_id": call.id,
        "name": call.name,
        "arguments": arguments_of(call.arguments),
        "status": status,
        "turn_id": turn,
    }


def function_output(id: str, turn: str, event: ev.ToolCompleted) -> Item:
    failed = event.outcome != "ok"
    shown = [_input(part) for part in event.parts]
    plain = all(isinstance(part, Text) for part in event.parts)
    output: Any = told(event.parts) if plain else shown
    return {
        "type": "function_call_output",
        "id": id,
        "call_id": event.call,
        "output": None if failed else output,
        "error": told(event.parts) or event.outcome if failed else None,
        "status": "failed" if failed else "completed",
        "turn_id": turn,
    }


def own_call(id: str, turn: str, agent: str, call: ToolCall, *, child: str | None = None) -> Item:
    """Return the item of a call of one of the agent's own tools, in progress. child: the session that it delegated a
    task to."""
    given = arguments_of(call.arguments)
    arguments = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    base: Item = {"id": id, "status": "in_progress", "turn_id": turn}
    if call.name in _SHELL:
        command = str(arguments.get("command", call.arguments))
        empty = {"cwd": None, "duration_ms": None, "exit_code": None, "output": None}
        return {"type": "command_execution", **base, "command": command, **empty}
    if call.name == "task":
        content = [{"type": "output_text", "text": str(arguments.get("prompt", ""))}]
        chosen = {"model": None, "reasoning_effort": None}
        return {"type": "create_subagent_call", **base, "agent_id": agent, "content": content, **chosen}
    if call.name == "message_agent":
        content = [{"type": "output_text", "text": str(arguments.get("text", ""))}]
        to = {"sender_agent_id": agent, "recipient_agent_id": str(arguments.get("to", ""))}
        return {"type": "send_subagent_input_call", **base, "content": content, **to}
    if call.name == "cancel_task":
        to = {"sender_agent_id": agent, "recipient_agent_id": str(arguments.get("session", ""))}
        return {"type": "interrupt_subagent_call", **base, **to}
    if call.name == "web_search":
        return {"type": "web_search_call", **base, "action": None}
    server, name = server_tool(call.name) or (SERVER, call.name)
    return {
        "type": "mcp_call",
        **base,
        "server_label": server,
        "name": name,
        "arguments": given,
        "output": None,
        "error": None,
    }


def own_done(item: Item, event: ev.ToolCompleted) -> Item:
    """Return an item of `own_call` with the outcome of its call."""
    status = _STATUS[event.outcome]
    text = told(event.parts)
    done = {**item, "status": status}
    if item["type"] == "command_execution":
        return {**done, "output": text, "exit_code": event.code, "duration_ms": round(event.seconds * 1000)}
    if item["type"] == "mcp_call":
        return {**done, "output": text} if status == "completed" else {**done, "error": {"message": text}}
    if item["type"] == "web_search_call" and status == "failed":
        return {**done, "status": "incomplete"}
    return done


_STATUS: dict[ToolOutcome, Status] = {
    "ok": "completed",
    "error": "failed",
    "denied": "failed",
    "cancelled": "incomplete",
    "interrupted": "incomplete",
    "skipped": "incomplete",
}


def told(parts: Sequence[ResultPart]) -> str:
    """Return what a tool returned, as text."""
    text = "\n".join(part.text if isinstance(part, Text) else f"[{part.media_type}]" for part in parts)
    return text if len(text) <= _BODY else text[:_BODY] + "\n[cut]"
