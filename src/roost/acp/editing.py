"""Run the agent's calls that wait for this editor: on files as the editor has them, and in its terminal.

A call comes as an event of the log (`editor.asked`). The editor asks for it, and begins when the log says that the call
is its own (`editor.took`): so a call is begun by one editor at most, and the log says that it may have been."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

import msgspec

from roost.acp import editor_files, editor_terminal
from roost.acp.abilities import Abilities
from roost.acp.editor_files import Outcome
from roost.acp.json_rpc import Peer, RpcError
from roost.acp.patience import until_reached
from roost.client.async_client import Client
from roost.errors import RoostError
from roost.features.editor.events import EditorAsked, EditorAttached, EditorDetached, EditorPassed, EditorTook
from roost.ids import new_id
from roost.log import events as ev
from roost.log.content import Text
from roost.log.session_info import SessionInfo

_log = logging.getLogger(__name__)
_LEAVE = 3.0


class Editing:
    """The calls of one session. A private workspace is no folder of the editor: there only its terminal is offered."""

    def __init__(self, client: Client, peer: Peer, info: SessionInfo, abilities: Abilities, show: Any) -> None:
        self._client, self._peer, self._info, self._abilities, self._show = client, peer, info, abilities, show
        self._id = new_id("editor")
        self._attached = False
        self._asked: dict[str, EditorAsked] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._order = asyncio.Lock()

    @property
    def _offer(self) -> dict[str, bool]:
        own, can = self._info.workspace is not None, self._abilities
        files = own and can.reads and can.writes  # one without the other would see two contents of a file
        return {"reads": files, "writes": files, "terminals": own and can.terminals}

    async def attach(self) -> None:
        """Offer to the session what the editor can do, if it does not know yet. Without a daemon nothing is offered."""
        offer = self._offer
        if self._attached or not any(offer.values()):
            return
        self._attached = True
        try:
            await self._client.editor.attach(self._info.id, self._id, **offer)
        except RoostError as error:
            self._attached = False
            _log.warning("session %s works without the editor: %s", self._info.id, error)

    async def detach(self) -> None:
        """Withdraw the offer: the editor closes."""
        for task in self._running.values():
            task.cancel()
        if self._attached:
            self._attached = False
            with contextlib.suppress(RoostError, TimeoutError):
                async with asyncio.timeout(_LEAVE):
                    await self._client.editor.detach(self._info.id, self._id)

    def hear(self, event: ev.Event) -> None:
        """Take an event of the session's log."""
        match event:
            case EditorAsked() if event.editor == self._id:
                self._asked[event.call] = event
                self._peer.spawn(lambda: self._take(event.call))
            case EditorTook() if event.editor == self._id and event.call in self._asked:
                asked = self._asked.pop(event.call)
                self._running[event.call] = self._peer.spawn(lambda: self._run(asked, event.due - event.at))
            case ev.ToolCompleted() | EditorPassed():
                self._asked.pop(event.call, None)
                if (task := self._running.pop(event.call, None)) is not None:
                    task.cancel()
            case EditorAttached():
                self._attached = event.editor == self._id
            case EditorDetached() if event.editor == self._id:
                self._attached = False
            case _:
                pass

    async def _take(self, call: str) -> None:
        take = self._client.editor.take
        with contextlib.suppress(RoostError):
            await until_reached(lambda: take(self._info.id, self._id, call), left=lambda: call not in self._asked)

    async def _run(self, asked: EditorAsked, seconds: float) -> None:
        """Run a call and tell the session its outcome, whatever happens."""
        async with self._order:
            try:
                if asked.name == editor_terminal.NAME:
                    folder = self._info.workspace or "/"
                    outcome = await editor_terminal.run(self._peer, self._info.id, folder, asked, seconds, self._show)
                else:
                    outcome = await editor_files.run(self._peer, self._info.id, asked)
            except (RpcError, msgspec.ValidationError) as error:
                outcome = Outcome((Text(f"the editor refused, or its answer cannot be read: {error}"),), error=True)
        give, id = self._client.editor.result, self._info.id
        given: dict[str, Any] = {"parts": [*outcome.parts], "error": outcome.error, "passed": outcome.passed}
        given |= {"seen": outcome.seen, "exit": outcome.exit}
        try:
            await until_reached(lambda: give(id, self._id, asked.call, **given))
        except RoostError as error:
            _log.warning("the outcome of %s was not taken: %s", asked.call, error)
