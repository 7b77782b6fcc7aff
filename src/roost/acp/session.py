"""A session that an editor has open: its updates, its prompts, its questions."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from roost.acp import history
from roost.acp.abilities import Abilities
from roost.acp.editing import Editing
from roost.acp.json_rpc import INTERNAL, INVALID_REQUEST, Peer, RpcError
from roost.acp.patience import PATIENCE, until_reached
from roost.acp.questions import Questions
from roost.acp.updates import Update, Updates, note
from roost.api.shapes import AcceptedInput
from roost.client.async_client import Client
from roost.client.frames import Logged, item_of
from roost.client.requests import Unreachable
from roost.errors import RoostError, UnknownEvent
from roost.features.upgrades.events import SessionMoved
from roost.log import events as ev
from roost.log.content import Text, Usage, UserPart
from roost.log.frames import Delta, Frame
from roost.log.session_views import SessionView
from roost.terminal_text import one_line

_TITLE = 80
_log = logging.getLogger(__name__)


class _Prompt:
    """A prompt in progress. number: its input's, once the daemon has accepted it."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.received = self.cancelled = False
        self.done: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()

    def settle(self, answer: dict[str, Any] | RpcError) -> None:
        if self.done.done():
            return
        if isinstance(answer, RpcError):
            self.done.set_exception(answer)
        else:
            self.done.set_result(answer)


class OpenSession:
    """moved: called when the session has another definition."""

    def __init__(
        self,
        client: Client,
        peer: Peer,
        view: SessionView,
        window: Callable[[str], int | None],
        moved: Callable[[SessionMoved], Any],
        abilities: Abilities,
    ) -> None:
        self.id, self.info = view.info.id, view.info
        self.mode, self.model = view.permissions, view.model
        self.turns, self.state = view.turns, view.info.state
        self.order = asyncio.Lock()
        """Held while something is sent to the session, so that it arrives in the order in which the editor sent it."""
        self.prompts: list[_Prompt] = []
        self._client, self._peer, self._moved = client, peer, moved
        self._own: set[str | None] = set()
        self._away = False
        self._withdrawn: set[str | None] = set()
        self._window = window
        self._updates = Updates(self.info.workspace, self._is_own, window, view.usage)
        self._questions = Questions(
            client, peer, self.id, self.info.workspace, lambda call: self._updates.id_of(call), abilities
        )
        self.editing = Editing(client, peer, self.info, abilities, self._show)
        self._seq = self.info.head
        self._titled = self.info.title is not None or view.turns > 0
        self._taken: set[int] = set()
        self._ended: dict[int, dict[str, Any] | RpcError] = {}
        self._stop = "end"
        self._following: asyncio.Task[None] | None = None

    async def _show(self, call: str, content: dict[str, Any]) -> None:
        id = self._updates.id_of(call)
        await self.update({"sessionUpdate": "tool_call_update", "toolCallId": id, "content": [content]})

    def _is_own(self, source: str | None) -> bool:
        return source in self._own

    async def update(self, update: Update) -> None:
        await self._peer.notify("session/update", {"sessionId": self.id, "update": update})

    async def replay(self) -> None:
        """Send what the log says up to where `follow` goes on, as updates."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        told = Updates(self.info.workspace, lambda source: False, self._window)
        for span in await history.spans(self._client, self.id, self._seq):
            async for _, event in history.read(self._client, self.id, span):
                if not isinstance(event, ev.SessionRolledBack):
                    for update in told.event(event):
                        await self.update(update)
        self._updates = told.live(self._is_own)

    def follow(self) -> None:
        """Send updates from here on, until the connection ends or the session is closed."""
        if self._following is None or self._following.done():
            self._following = self._peer.spawn(self._follow)
            self._peer.spawn(self._questions.look)

    def close(self) -> None:
        if self._following is not None:
            self._following.cancel()
        self._questions.close()
        for prompt in self.prompts:
            prompt.settle({"stopReason": "cancelled"})

    async def prompt(self, content: Callable[[], Awaitable[list[UserPart]]], key: str) -> dict[str, Any]:
        """Send the message that `content` returns, and return the result of its turn. A repeated key gets the turn of
        the first. The key is the message's source, too, so that the editor is not shown its own prompts."""
        if self.state in ("paused", "stopped", "error"):
            raise RpcError(INVALID_REQUEST, f"the session is {self.state}; /resume goes on")
        prompt = _Prompt()
        self.prompts.append(prompt)
        try:
            self.follow()
            await self.editing.attach()
            if self._away:
                await self._tell_away()
            async with self.order:
                if prompt.cancelled:
                    return {"stopReason": "cancelled"}
                accepted = await self._send(await content(), key, prompt)
            await self._accepted(prompt, accepted)
            return await prompt.done
        except Unreachable:
            if not prompt.cancelled:
                raise
            self._withdrawn.add(key)  # the daemon may have taken it nevertheless
            return {"stopReason": "cancelled"}
        except asyncio.CancelledError:
            self._peer.spawn(self._cancel)  # the editor withdrew its request
            raise
        finally:
            self.prompts.remove(prompt)
            if not self.prompts:
                self._ended.clear()

    async def cancel(self) -> None:
        """End the running turn, and those of the prompts that wait."""
        for prompt in self.prompts:
            prompt.cancelled = True
        self._questions.cancelled()
        await self._cancel()

    async def _cancel(self) -> None:
        try:
            await self._client.sessions.control(self.id, "cancel", wait=0)
        except RoostError as error:
            _log.warning("session %s could not be cancelled: %s", self.id, error)

    async def _send(self, parts: list[UserPart], key: str, prompt: _Prompt) -> AcceptedInput:
        self._own.add(key)
        send = self._client.inputs.send
        return await until_reached(
            lambda: send(self.id, parts=parts, source=key, key=key), left=lambda: prompt.cancelled
        )

    async def _accepted(self, prompt: _Prompt, accepted: AcceptedInput) -> None:
        prompt.number = accepted.input
        if isinstance(accepted.waits_for, list) and accepted.waits_for:
            missing = ", ".join(accepted.waits_for)
            await self.update(note(f"(the message waits: no running node knows {missing} of this agent)"))
        if (ended := self._ended.get(accepted.input)) is not None:
            prompt.settle(ended)
        elif accepted.input in self._taken:
            prompt.received = True
            if prompt.cancelled:
                await self._cancel()
        elif accepted.duplicate:
            for _ in range(2):  # once more: the turn may have ended, unseen here, before `received` was set
                taken = await history.find_input(self._client, self.id, accepted.input, accepted.head)
                prompt.received = taken.state == "open"
                if taken.end is not None:
                    prompt.settle(result_of(taken.end, taken.stop))

    async def _follow(self) -> None:
        reason = "the session was deleted"
        try:
            frames = self._client.frames(self.id, after=self._seq, patience=PATIENCE, on_gap=self._gap, known=True)
            async for frame in frames:
                await self._take(frame)
        except RoostError as error:
            reason = error.message
        for prompt in self.prompts:
            prompt.settle(RpcError(INTERNAL, reason))

    def _gap(self, lost: bool) -> None:
        self._away = lost
        if lost:
            _log.warning("the daemon is away; waiting for it")
            if self.prompts:
                self._peer.spawn(self._tell_away)
        else:
            self._peer.spawn(self._questions.look)

    async def _tell_away(self) -> None:
        await self.update(note("(the daemon is away; waiting for it)", kind="agent_thought_chunk"))

    async def _take(self, frame: Frame) -> None:
        try:
            item = item_of(frame)
        except UnknownEvent:
            return
        if isinstance(item, Delta):
            for update in self._updates.delta(item):
                await self.update(update)
        elif isinstance(item, Logged):
            self._seq = item.seq
            for update in self._updates.event(item.event):
                await self.update(update)
            self.editing.hear(item.event)
            await self._note(item.event)

    async def _note(self, event: ev.Event) -> None:
        match event:
            case ev.InputReceived():
                await self._received(event)
            case ev.ModelCompleted():
                self._stop = event.stop
            case ev.TurnCompleted():
                self.turns = max(self.turns, event.turn)
                await self._turn_ended(event)
            case ev.StateChanged():
                self.state = event.state
                if event.state in ("paused", "stopped", "error"):
                    await self._halted(event)
            case SessionMoved():
                await self._moved(event)
            case ev.ApprovalResolved():
                self._peer.spawn(self._questions.look)
            case _ if event.question is not None:
                self._peer.spawn(self._questions.look)
            case _:
                pass

    async def _received(self, event: ev.InputReceived) -> None:
        self._taken.add(event.input)
        if event.source in self._withdrawn:
            self._peer.spawn(self._cancel)
        for prompt in self.prompts:
            if prompt.number == event.input:
                prompt.received = True
            if prompt.cancelled and prompt.number in (None, event.input):
                self._peer.spawn(self._cancel)
        if not self._titled and (title := title_of(event)):
            self._titled = True
            await self.update({"sessionUpdate": "session_info_update", "title": title})

    async def _turn_ended(self, event: ev.TurnCompleted) -> None:
        if event.outcome == "limit":
            await self.update(note(f"\n\n(stopped: {event.reason})"))
        result = result_of(event, self._stop)
        for prompt in self.prompts:
            if prompt.received or prompt.number in self._taken:
                prompt.settle(result)
        self._ended |= dict.fromkeys(self._taken, result) if self.prompts else {}
        self._taken.clear()
        self._stop = "end"
        if self._questions.open:
            self._peer.spawn(self._questions.look)

    async def _halted(self, event: ev.StateChanged) -> None:
        why = f": {event.reason}" if event.reason else ""
        if event.state == "error":
            answer: dict[str, Any] | RpcError = RpcError(INTERNAL, f"the session failed{why}; /resume goes on")
        else:
            await self.update(note(f"\n\n(the session is {event.state}{why}; /resume goes on)"))
            answer = {"stopReason": "end_turn" if event.state == "paused" else "cancelled"}
        for prompt in self.prompts:
            if prompt.received or prompt.number is not None:
                prompt.settle(answer)


def result_of(end: ev.TurnCompleted, stop: str) -> dict[str, Any] | RpcError:
    """Return the result of a prompt whose turn has ended so. stop: why its last answer ended."""
    usage = _usage(end.usage)
    match end.outcome:
        case "failed":
            return RpcError(INTERNAL, end.reason or "the turn failed", {"code": "turn_failed"})
        case "cancelled":
            return {"stopReason": "cancelled", "usage": usage}
        case "limit":
            return {"stopReason": "max_turn_requests", "usage": usage}
        case "answered":
            reason = {"length": "max_tokens", "refusal": "refusal"}.get(stop, "end_turn")
            return {"stopReason": reason, "usage": usage}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "inputTokens": usage.input,
        "outputTokens": usage.output,
        "totalTokens": usage.input + usage.output,
        "cachedReadTokens": usage.cached,
        "cachedWriteTokens": usage.written,
        "thoughtTokens": usage.thinking,
    }


def title_of(event: ev.InputReceived) -> str:
    """Return the beginning of a message's text, as a session's title."""
    said = next((part.text for part in event.parts if isinstance(part, Text)), "")
    return one_line(said, _TITLE)
