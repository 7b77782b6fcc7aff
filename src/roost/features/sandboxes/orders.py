"""Carry out the orders for a session's sandbox while it is awake."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol, runtime_checkable

from roost.agent.session import Session
from roost.errors import RoostError
from roost.features.sandboxes.events import SandboxInput, SandboxOrderCompleted, SandboxOrdered
from roost.features.sandboxes.state import SandboxOrders
from roost.features.snapshots.workspace_saving import restore_files
from roost.log.protocols import InboxItem
from roost.sandbox.base import Quota

MOST = 8
"""Most commands of people that run at once in a session."""
_OUTPUT = 30 * 1024
LOST = "it was cut off: the daemon ended, or lost the session; it is not known whether it took effect"


@runtime_checkable
class Controlled(Protocol):
    """The part of a session's sandbox that orders need."""

    async def start(self) -> None: ...

    async def stop(self, reason: str) -> None: ...


class Orders:
    """taken: orders in the log that have not begun. running: commands, by number of their input."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.taken: list[tuple[int, SandboxInput]] = []
        self.running: dict[int, asyncio.Task[None]] = {}

    def take(self, item: InboxItem) -> None:
        """Note an order of the inbox. `begin` carries it out."""
        order = item.input
        assert isinstance(order, SandboxInput)
        noted = SandboxOrdered(
            at=time.time(), input=item.id, action=order.action, by=order.account, command=order.command
        )
        self._session.log.note(noted, consume=item.id)
        self.taken.append((item.id, order))

    def lose(self) -> None:
        """Note the end of orders that a former process has begun."""
        mine = {*self.running, *(number for number, _ in self.taken)}
        for number, action in [*self._session.state.part(SandboxOrders).open.items()]:
            if number not in mine:
                self._note(SandboxOrderCompleted(at=time.time(), input=number, action=action, problem=LOST))

    async def begin(self) -> None:
        """Carry out what was taken. Commands run on. Raises `StoreFailed`, `Interrupted`."""
        while self.taken:
            await restore_files(self._session)
            await self._session.log.flush()
            number, order = self.taken.pop(0)
            done = SandboxOrderCompleted(at=time.time(), input=number, action=order.action)
            try:
                if order.action != "exec":
                    await self._control(order)
                else:
                    self._check(order)
                    self.running[number] = asyncio.create_task(self._run(number, order), name="a person's command")
                    continue
            except RoostError as error:
                done = SandboxOrderCompleted(at=time.time(), input=number, action=order.action, problem=error.message)
            self._note(done)

    async def close(self) -> None:
        """End all commands, and note that."""
        running = [*self.running.values()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _check(self, order: SandboxInput) -> None:
        if order.walled and self._session.means.sandbox.level < 1:
            raise RoostError("an account runs commands only where the session's sandbox isolates")
        if len(self.running) >= MOST:
            raise RoostError(f"{MOST} commands are running: wait until one has ended")

    async def _control(self, order: SandboxInput) -> None:
        sandbox = self._session.means.sandbox
        if not isinstance(sandbox, Controlled):
            raise RoostError("this sandbox takes no orders")
        if order.action == "stop":
            await sandbox.stop("a person stopped it")
        else:
            await sandbox.start()

    async def _run(self, number: int, order: SandboxInput) -> None:
        means = self._session.means
        done = SandboxOrderCompleted(at=time.time(), input=number, action="exec", problem="it was cut off")
        try:
            if means.files is not None:
                await means.files.working()
            result = await means.sandbox.exec(
                order.command,
                cwd=str(means.workspace.root),
                quota=Quota(wall_seconds=order.seconds, output_bytes=_OUTPUT),
            )
            done = SandboxOrderCompleted(
                at=time.time(),
                input=number,
                action="exec",
                exit_code=result.exit_code,
                stdout=result.stdout,
                stderr=result.stderr,
                seconds=result.seconds,
                truncated=result.truncated,
                killed_by=result.killed_by,
            )
        except (RoostError, OSError, ValueError) as error:
            done = SandboxOrderCompleted(at=time.time(), input=number, action="exec", problem=str(error))
        finally:
            del self.running[number]
            if means.files is not None:
                means.files.dirty = True
            self._note(done)
            self._session.log.flush_soon()
            self._session.woken.set()

    def _note(self, event: SandboxOrderCompleted) -> None:
        self._session.log.note(event)


def orders(session: Session) -> Orders:
    """Return the orders of a session."""
    return session.own(Orders)
