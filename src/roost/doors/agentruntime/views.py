"""The shapes of AgentRuntime's requests and responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from roost.agent.definition import AgentSpec
from roost.doors.json_body import embedded
from roost.features.checkpoints.api import CheckpointInfo
from roost.log.content import AssistantMessage, Message, Text, ToolCall, ToolMessage, UserMessage
from roost.log.facts import Fact
from roost.log.session_info import SessionInfo

MODEL_LABEL = "agentruntime.model"
"""The label of a session with the model or agent that its client asked for."""
_LABELS = {"pause": "pause-checkpoint", "stop": "stop-checkpoint"}
_CHECKPOINT = "cp_"


class SessionCreate(msgspec.Struct):
    name: Annotated[str, Meta(max_length=1024)]
    model: Annotated[str, Meta(min_length=1, max_length=256)]
    system_prompt: Annotated[str, Meta(max_length=1024 * 1024)] = ""
    tools: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=256)] = []


class SessionResume(msgspec.Struct):
    """AgentRuntime demands `session_id` and does not read it."""

    session_id: str = ""
    checkpoint_id: Annotated[str, Meta(max_length=256)] | None = None


class MemoryStore(msgspec.Struct):
    key: Annotated[str, Meta(min_length=1, max_length=200)]
    value: Any


def row(info: SessionInfo) -> dict[str, Any]:
    """Return a session as it stands in a list: what needs no look into its log."""
    return {
        "session_id": info.id,
        "name": info.title or "",
        "model": info.labels.get(MODEL_LABEL, info.agent),
        "system_prompt": "",
        "tools": [],
        "status": info.state,
        "memory": {},
        "messages": [],
        "tool_history": [],
        "created_at": time_of(info.created_at),
        "updated_at": time_of(info.updated_at),
    }


def whole(info: SessionInfo, spec: AgentSpec, memory: Mapping[str, Any], messages: Sequence[Message]) -> dict[str, Any]:
    shown = _messages(messages)
    calls = [call for one in shown for call in one["tool_calls"]]
    more = {"system_prompt": spec.instructions, "tools": spec.tools, "memory": memory}
    return {**row(info), **more, "messages": shown, "tool_history": calls}


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return messages with the calls of each and their results, which are no messages of their own there."""
    results = {one.call: _text(one.parts) for one in messages if isinstance(one, ToolMessage)}
    shown: list[dict[str, Any]] = []
    for one in messages:
        if isinstance(one, UserMessage):
            shown.append({"role": "user", "content": _text(one.parts), "tool_calls": []})
        elif isinstance(one, AssistantMessage):
            calls = [_call(part, results.get(part.id)) for part in one.parts if isinstance(part, ToolCall)]
            shown.append({"role": "assistant", "content": one.text, "tool_calls": calls})
    return shown


def _text(parts: Sequence[Any]) -> str:
    return "\n".join(one.text if isinstance(one, Text) else f"[{one.media_type}]" for one in parts)


def _call(call: ToolCall, result: str | None) -> dict[str, Any]:
    arguments = embedded(call.arguments)
    fits = arguments is not None and bytes(arguments).startswith(b"{")
    return {"name": call.name, "arguments": arguments if fits else {}, "result": result}


def checkpoint(session: str, seq: int, made_at: float, label: str | None) -> dict[str, Any]:
    return {
        "checkpoint_id": f"{_CHECKPOINT}{seq}",
        "session_id": session,
        "created_at": time_of(made_at),
        "label": label,
    }


def checkpoint_of(session: str, one: CheckpointInfo) -> dict[str, Any]:
    label = one.label if one.cause == "manual" else _LABELS.get(one.cause, "auto-checkpoint")
    return checkpoint(session, one.seq, one.made_at, label)


def position_of(checkpoint: str) -> int | None:
    """Return the position in the log that the id of a checkpoint means; None for any other text."""
    number = checkpoint.removeprefix(_CHECKPOINT)
    fits = number != checkpoint and number.isascii() and number.isdigit() and len(number) < 16
    return int(number) if fits else None


def value_of(fact: Fact) -> msgspec.Raw | str:
    """Return what was stored under a fact's key; the text of a fact that this door has not written."""
    return embedded(fact.text) or fact.text


def time_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
