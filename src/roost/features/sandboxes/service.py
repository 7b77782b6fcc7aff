"""The sandboxes of sessions, from a running node."""

from __future__ import annotations

import asyncio
from typing import Literal

from roost.agent.session import Session
from roost.authority import current
from roost.errors import Conflict, Invalid
from roost.features.sandboxes.api import SandboxApi, SandboxOrder, SandboxView
from roost.features.sandboxes.events import SandboxInput, SandboxOrderCompleted
from roost.kernel.sandboxes import SessionSandbox
from roost.kernel.service_host import ServiceHost

_WAIT = 120.0
_COMPLETED = b'{"type":"sandbox.order_completed"'


class Sandbox(SandboxApi):
    """Orders are inputs of the session. `wait`: the seconds, 120 by default, after which an answer says that the order
    is on disk and not carried out yet."""

    def __init__(self, host: ServiceHost) -> None:
        self._node, self._sessions = host.node, host.sessions

    async def status(self, session: str) -> SandboxView:
        """As the interface says. Raises `NotFound`."""
        info = await self._sessions.get(session)
        live = self._live(info.id)
        if live is None and info.owner not in (None, self._node.id):
            return SandboxView(state="elsewhere", level=0)
        sandbox = None if live is None else live.means.sandbox
        if not isinstance(sandbox, SessionSandbox):
            asleep = await asyncio.to_thread(self._node.resources.has_suspended_sandbox, info.id)
            return SandboxView(state="suspended" if asleep else "none", level=0)
        status = await sandbox.status()
        return SandboxView(
            state="running" if status.running else "none",
            level=sandbox.level,
            backend=status.backend,
            suspends=status.suspends,
            background=status.background,
            memory_bytes=status.usage.memory_bytes,
            pids=status.usage.pids,
            cpu_seconds=status.usage.cpu_seconds,
            hits=dict(status.usage.hits),
        )

    async def exec(
        self,
        session: str,
        command: list[str],
        *,
        seconds: float = 60.0,
        key: str | None = None,
        wait: float | None = None,
    ) -> SandboxOrder:
        """As the interface says. Raises `NotFound`, `Invalid`."""
        if any("\0" in word for word in command):
            raise Invalid("command: a word has a NUL character")
        order = SandboxInput("exec", tuple(command), seconds, current().confined)
        return await self._order(session, order, key, wait)

    async def control(
        self,
        session: str,
        action: Literal["start", "stop", "suspend", "resume"],
        *,
        key: str | None = None,
        wait: float | None = None,
    ) -> SandboxOrder:
        """As the interface says. Raises `NotFound`, and `Conflict` (`cannot_suspend`)."""
        if action == "suspend":
            return await self._suspend(session)
        return await self._order(session, SandboxInput(action), key, wait)

    async def _suspend(self, session: str) -> SandboxOrder:
        """Put the session to sleep, which suspends a sandbox that can be."""
        info = await self._sessions.get(session)
        live = self._live(info.id)
        sandbox = None if live is None else live.means.sandbox
        if live is None or not isinstance(sandbox, SessionSandbox):
            if info.owner not in (None, self._node.id):
                raise Conflict(f"node {info.owner!r} runs the session: ask that one", code="cannot_suspend")
            return SandboxOrder(input=0, status="done")  # it sleeps already
        if live.state.turn is not None:
            raise Conflict("a turn is open: pause or cancel it first", code="cannot_suspend")
        if not sandbox.can_suspend:
            raise Conflict(
                "this sandbox cannot be suspended: it needs a backend that keeps memory, and `isolation.suspend`",
                code="cannot_suspend",
            )
        await self._node.evict(info.id)
        return SandboxOrder(input=0, status="done")

    async def _order(self, session: str, order: SandboxInput, key: str | None, wait: float | None) -> SandboxOrder:
        accepted = await self._sessions.put(session, order, key=key)
        found = await self._sessions.effect(session, accepted, _COMPLETED, wait=_WAIT if wait is None else wait)
        if found is None or not isinstance(done := found.event, SandboxOrderCompleted):
            return SandboxOrder(input=accepted.id, status="accepted")
        return SandboxOrder(
            input=accepted.id,
            status="done",
            problem=done.problem,
            exit_code=done.exit_code,
            stdout=done.stdout,
            stderr=done.stderr,
            seconds=done.seconds,
            truncated=done.truncated,
            killed_by=done.killed_by,
        )

    def _live(self, session: str) -> Session | None:
        return self._node.slots.live.get(session) if self._node.slots.state(session) == "running" else None


SERVICE = Sandbox
