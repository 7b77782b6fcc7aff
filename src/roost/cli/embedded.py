"""The application in this process, so that commands work without a daemon."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from roost.agent.definition import Agent
from roost.cli.logs import mask, quiet_logs
from roost.cli.node import Node
from roost.client.app_transport import AppTransport, LoopTransport
from roost.client.async_client import Client
from roost.client.requests import request_of
from roost.ids import new_id
from roost.log.session_info import SessionInfo
from roost.operation import Operation

if TYPE_CHECKING:
    from roost.runtime import Runtime
    from roost.server.app_state import Api

T = TypeVar("T")
Adopt: TypeAlias = Callable[[Operation, tuple[Any, ...], Mapping[str, Any]], dict[str, Any]]
_HERE, _ELSEWHERE = 10.0, 0.3
"""Seconds to wait until a session's owner has taken an order: this process, another process."""


class EmbeddedNode(Node):
    """The application of a `Runtime` on an event loop in a thread of its own. It only processes the sessions given to
    `work_on`, and those that an operation adopts."""

    daemon = False

    def __init__(self, home: Path, agents: Sequence[Agent], *, store: str | None = None) -> None:
        from roost.sandbox.environment import hide_secrets

        quiet_logs()
        hide_secrets()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="roost-node", daemon=True)
        self._thread.start()
        self._mine: set[str] = set()
        try:
            self._runtime, self._app, self._api = self._do(self._start(home, agents, store))
        except BaseException:
            self._end_loop()
            raise
        super().__init__(lambda: LoopTransport(AppTransport(self._app), self._loop))

    async def _start(self, home: Path, agents: Sequence[Agent], store: str | None) -> tuple[Runtime, Any, Api]:
        from roost.kernel.config import KernelConfig
        from roost.runtime import Runtime
        from roost.server.app import build_app

        runtime = Runtime(home, agents=agents, store=store, config=KernelConfig(only=self._mine))
        await runtime.start()
        mask(runtime.vault.scrub)
        app, api = build_app(runtime, token=None)
        return runtime, app, api

    def create_as(
        self, agent: Agent, *, workspace: str | None = None, title: str | None = None, id: str | None = None
    ) -> SessionInfo:
        self._runtime.agents.add(agent)
        return self.sessions.create(agent.name, workspace=workspace, title=title, id=id)

    def work_on(self, session: str) -> None:
        """Process this session and its descendants."""
        self._mine.update(info.id for info in self.delegation.tree(session).sessions)
        self._loop.call_soon_threadsafe(self._runtime.node.scan)

    def _take_up(self, session: str) -> bool:
        """Process the session if that starts no turn. Returns whether it does."""
        info = self.info(session)
        if idle := not info.pending and info.phase == "idle":
            self.work_on(session)
        return idle

    def _call(self, operation: Operation, args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
        return super()._call(operation, args, {**given, **self.adopt(operation, args, given)})

    def client(self) -> Client:
        return _AdoptingClient(AppTransport(self._app), self.adopt)

    def drive(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._do(work())

    def adopt(self, operation: Operation, args: tuple[Any, ...], given: Mapping[str, Any]) -> dict[str, Any]:
        """Process the session of an operation as its row says. Returns further arguments.

        A start is left to the node that owns the session. An end is done here when no other node does it, unless this
        process does not know the checks of the session's agent.
        """
        if operation.adopts == "never":
            return {}
        values = request_of(operation, args, given).given
        session = values["session"]
        if operation.adopts == "idle":
            here = self._take_up(session)
            return {"wait": _HERE if here else _ELSEWHERE} if operation.placed("wait") else {}
        if operation.adopts == "control" and session not in self._mine:
            left = values["action"] in ("start", "resume") or self.sessions.inspect(session).unknown
            if left or values.get("wait") == 0:
                return {"wait": values.get("wait", 0.5)}
        self.work_on(session)
        if operation.location is not None:  # it also makes a session
            made = values.get("id") or new_id("ses")
            self._mine.add(made)
            return {"id": made}
        return {}

    def close(self, *, grace: float = 5.0) -> None:
        try:
            self._loop.call_soon_threadsafe(self._api.stop)
            self._do(self._runtime.stop(grace=grace))
        finally:
            self._end_loop()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _AdoptingClient(Client):
    """Process the session of an operation in this process, as its row says, before each call."""

    def __init__(self, transport: AppTransport, adopt: Adopt) -> None:
        super().__init__(transport)
        self._adopt = adopt

    async def _call(self, operation: Operation, args: tuple[Any, ...], given: Mapping[str, Any]) -> Any:
        more = {} if operation.adopts == "never" else await asyncio.to_thread(self._adopt, operation, args, given)
        return await super()._call(operation, args, {**given, **more})
