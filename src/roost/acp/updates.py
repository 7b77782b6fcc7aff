"""Turn a session's events and deltas into `session/update` notifications."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from roost.acp import tool_calls
from roost.acp.answer import AnswerPieces, Kind
from roost.acp.content import block_of, text
from roost.features.mcp.events import McpFailed
from roost.features.planning.events import PlanChanged
from roost.log import events as ev
from roost.log.content import Audio, Image, ToolCall, Usage
from roost.log.frames import Delta
from roost.terminal_text import clean

Update: TypeAlias = dict[str, Any]
_CHUNKS = {"text": "agent_message_chunk", "thinking": "agent_thought_chunk"}
_NOTHING = Usage(cost=0)
_GOALS = {"todo": "pending", "doing": "in_progress", "done": "completed"}


class Updates:
    """The updates of one session, in the order of its log.

    folder: the session's workspace, if it is a folder of the user. own: says whether a message came from this
    connection, whose editor shows it already. window: returns the tokens that a model takes in, if that is known.
    spent: what the session has used before.
    """

    def __init__(
        self,
        folder: str | None,
        own: Callable[[str | None], bool],
        window: Callable[[str], int | None],
        spent: Usage = _NOTHING,
    ) -> None:
        self._folder, self._own, self._window, self._spent = folder, own, window, spent
        self._answer = AnswerPieces()
        self._calls: dict[str, tuple[str, str]] = {}
        self._model = ""

    def live(self, own: Callable[[str | None], bool]) -> Updates:
        """Return the updates of what follows a history."""
        updates = Updates(self._folder, own, self._window, self._spent)
        updates._calls, updates._model = self._calls, self._model
        return updates

    def id_of(self, call: str) -> str:
        """Return the id that the editor knows a call by: a model may use its own again."""
        return self._calls[call][0] if call in self._calls else call

    def delta(self, delta: Delta) -> list[Update]:
        piece = self._answer.hear(delta)
        return [] if piece is None else [_chunk(piece, delta.step)]

    def event(self, event: ev.Event) -> list[Update]:
        match event:
            case ev.InputReceived():
                return [] if self._own(event.source) else _message(event)
            case ev.ModelStarted():
                self._model = event.model
                return []
            case ev.ModelNotice(kind="restart"):
                self._answer.restart()
                return []
            case ev.ModelCompleted():
                return self._completed(event)
            case ev.ToolStarted():
                return [self._change(event.call, status="in_progress")]
            case ev.ToolCompleted():
                known = self._calls.get(event.call, ("", ""))
                return [self._change(event.call, **tool_calls.outcome(known[1], event))]
            case PlanChanged():
                return [_plan(event)]
            case McpFailed():
                return [note(f"({clean(event.line)})")]
            case ev.SessionRolledBack():
                return [note(f"(rolled back to {event.label or f'event {event.to}'})")]
            case _:
                self._spend(event)
                return []

    def _completed(self, event: ev.ModelCompleted) -> list[Update]:
        found = [_chunk(piece, event.step) for piece in self._answer.complete(event)]
        found += [_media(part, event.step) for part in event.parts if isinstance(part, Image | Audio)]
        found += [self._call(part, event.step) for part in event.parts if isinstance(part, ToolCall)]
        self._spend(event)
        size = self._window(event.model or self._model)
        if size is not None and event.usage.input:
            usage: Update = {"sessionUpdate": "usage_update", "used": event.usage.input + event.usage.output}
            usage["size"] = size
            if self._spent.cost is not None:
                usage["cost"] = {"amount": self._spent.cost / 1e9, "currency": "USD"}
            found.append(usage)
        return found

    def _spend(self, event: ev.Event) -> None:
        spent = event.spent
        if spent is not None and spent.usage is not None:
            self._spent += spent.usage

    def _call(self, call: ToolCall, step: int) -> Update:
        id = f"{step}:{call.id}"
        self._calls[call.id] = (id, call.name)
        fields = tool_calls.shown(call.name, call.arguments, self._folder)
        return {"sessionUpdate": "tool_call", "toolCallId": id, "status": "pending", **fields}

    def _change(self, call: str, **fields: Any) -> Update:
        return {"sessionUpdate": "tool_call_update", "toolCallId": self.id_of(call), **fields}


def note(said: str, kind: str = "agent_message_chunk") -> Update:
    """Return a line that Roost says, not the model."""
    return {"sessionUpdate": kind, "messageId": "roost", "content": text(f"{said}\n\n")}


def _chunk(piece: tuple[Kind, str], step: int) -> Update:
    kind, said = piece
    return {"sessionUpdate": _CHUNKS[kind], "messageId": f"step-{step}", "content": text(said)}


def _media(part: Image | Audio, step: int) -> Update:
    return {"sessionUpdate": "agent_message_chunk", "messageId": f"step-{step}", "content": block_of(part)}


def _message(event: ev.InputReceived) -> list[Update]:
    message = f"input-{event.input}"
    return [
        {"sessionUpdate": "user_message_chunk", "messageId": message, "content": block_of(part)} for part in event.parts
    ]


def _plan(event: PlanChanged) -> Update:
    entries = [
        {"content": goal.text, "priority": "medium", "status": _GOALS[goal.state]}
        for goal in event.goals
        if goal.state in _GOALS
    ]
    return {"sessionUpdate": "plan", "entries": entries}
