"""Copies of workspaces for checks, at the seams of the node."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import TypeAlias

from roost.agent.definition import AgentSpec
from roost.agent.resources import Resources
from roost.features.outcomes.copies import copy_folder
from roost.features.outcomes.ports import CheckRoom, Copy
from roost.ids import new_id
from roost.kernel.node_feature import Host, NodeFeature
from roost.kernel.resources import ResourceFactory
from roost.kernel.sandboxes import SessionSandbox
from roost.locks import Locks
from roost.models.request import Model
from roost.workspace.atomic_swap import remove_tree
from roost.workspace.files import Workspace

Beside: TypeAlias = Callable[[Path], tuple[Workspace, SessionSandbox]]


class OutcomeDuties(NodeFeature):
    """Give sessions a room to check their work in, and remove the copies that a crash has left."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        home = host.resources.home_folder
        self._folder, self._locks = home / "checks", Locks(home / "checks.locks")

    def equip(self, session: str, spec: AgentSpec, resources: Resources) -> None:
        beside = partial(self.host.resources.beside, session, spec, resources.account)
        resources.give(_Room(self.host.resources, beside, self._folder, session, self._locks), CheckRoom)

    async def tidy(self) -> None:
        await asyncio.to_thread(self._remove_left)

    async def close(self) -> None:
        self._locks.close()

    def _remove_left(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            for name in {*os.listdir(self._folder), *self._locks.names()}:
                with self._locks.taking(name) as free:
                    if free:
                        remove_tree(self._folder / name)


class _Room(CheckRoom):
    def __init__(self, resources: ResourceFactory, beside: Beside, folder: Path, session: str, locks: Locks) -> None:
        self._resources, self._beside, self._folder = resources, beside, folder
        self._session, self._locks = session, locks

    @contextlib.asynccontextmanager
    async def copy(self, folder: Path) -> AsyncGenerator[Copy]:
        # A name of its own: another process may still remove what a crash left of the session's last check.
        name = f"{self._session}.{new_id('chk')}"
        try:
            await self._copied(folder, name)
            files, sandbox = self._beside(self._folder / name)
            try:
                await sandbox.prepare(warm=False)
                yield Copy(files.root, sandbox)
            finally:
                await sandbox.close()
        finally:
            await asyncio.shield(asyncio.to_thread(self._end, name))

    async def _copied(self, folder: Path, name: str) -> None:
        """Copy. If the check is cut off meanwhile, stop the thread first, so that it adds nothing to what is removed
        next."""
        stop = Event()
        work = asyncio.ensure_future(asyncio.to_thread(self._copy, folder, name, stop))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # it was stopped: not an error
            raise

    def _copy(self, folder: Path, name: str, stop: Event) -> None:
        self._locks.hold(name)
        copy_folder(folder, self._folder / name, leave=self._resources.home_folder, stop=stop)

    def _end(self, name: str) -> None:
        remove_tree(self._folder / name)
        self._locks.drop(name)

    def grader(self, name: str) -> Model:
        return self._resources.named(name)


NODE = OutcomeDuties
