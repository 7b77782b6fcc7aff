"""The memory stores that a session has mounted, as its tools use them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from roost.agent.memory_mounts import MountedStore
from roost.agent.session import Session
from roost.errors import Conflict, Invalid, NotFound, TooLarge
from roost.features.memory_stores.memories import Change, Memories, Memory, MemoryStore, check_path
from roost.log import events as ev
from roost.log.records import Records
from roost.tools.errors import ToolError

_TRIES = 3


class SessionStores:
    """mounts: as the session's definition names them. account: whose the session is; None is the home."""

    def __init__(
        self,
        session: str,
        mounts: Sequence[MountedStore],
        account: str | None,
        memories: Callable[[], Memories],
        stores: Callable[[], Records[MemoryStore]],
    ) -> None:
        self._session, self._mounts, self._account = session, {one.name: one for one in mounts}, account
        self._memories, self._stores = memories, stores

    async def entries(self, name: str) -> list[Memory]:
        """Return a store's memories without their content. Raises `ToolError`."""
        mount = await self._mount(name, write=False)
        return await self._memories().entries(mount.store)

    async def read(self, name: str, path: str) -> Memory:
        """Return a memory. Raises `ToolError`."""
        mount = await self._mount(name, write=False)
        return await self._find(mount.store, path)

    async def write(self, name: str, path: str, content: str, *, tainted: bool) -> None:
        """Make or replace a memory. tainted: as in `Memory`. Raises `ToolError`."""
        mount = await self._mount(name, write=True)
        for _ in range(_TRIES):
            try:
                known = await self._known(mount.store, path)
                if known is not None:
                    change = Change(content=content, session=self._session, tainted=tainted)
                    await self._memories().change(mount.store, known.id, change)
                else:
                    owner = (await self._stores().get(mount.store)).owner
                    made = self._memories().make
                    await made(mount.store, path, content, owner, session=self._session, tainted=tainted)
                return
            except Conflict:  # another session made or deleted it at the same time
                continue
            except NotFound:
                continue
            except (Invalid, TooLarge) as error:
                raise ToolError(error.message) from None
        raise ToolError(f"{path!r} is changed by others at the same time; try again")

    async def delete(self, name: str, path: str) -> bool:
        """Delete a memory. Return whether there was one. Raises `ToolError`."""
        mount = await self._mount(name, write=True)
        known = await self._known(mount.store, path)
        if known is None:
            return False
        try:
            await self._memories().delete(mount.store, known.id, None, session=self._session)
        except NotFound:
            return False
        return True

    async def _mount(self, name: str, *, write: bool) -> MountedStore:
        mount = self._mounts.get(name)
        if mount is None:
            raise ToolError(f"there is no memory store {name!r}; there are: {', '.join(self._mounts) or 'none'}")
        try:
            store = await self._stores().get(mount.store, owner=self._account)
        except NotFound:
            raise ToolError(f"the memory store {name!r} was deleted") from None
        if write and mount.access == "read_only":
            raise ToolError(f"the memory store {name!r} is mounted read-only")
        if write and store.archived is not None:
            raise ToolError(f"the memory store {name!r} is archived: it takes no changes")
        return mount

    async def _find(self, store: str, path: str) -> Memory:
        found = await self._known(store, path)
        if found is None:
            raise ToolError(f"there is no memory at {path!r}; list_memories shows all")
        return found

    async def _known(self, store: str, path: str) -> Memory | None:
        try:
            return await self._memories().at(store, check_path(path))
        except Invalid as error:
            raise ToolError(error.message) from None


class CallStores:
    """The port of one call. What a session wrote that had seen untrusted content makes the next reader's session
    stricter, too."""

    def __init__(self, session: Session, stores: SessionStores) -> None:
        self._session, self._stores = session, stores
        self._tainted = False

    async def entries(self, name: str) -> list[Memory]:
        return [self._seen(one) for one in await self._stores.entries(name)]

    async def read(self, name: str, path: str) -> str:
        return self._seen(await self._stores.read(name, path)).content

    async def write(self, name: str, path: str, content: str) -> None:
        await self._stores.write(name, path, content, tainted=self._session.state.tainted is not None)

    async def delete(self, name: str, path: str) -> bool:
        return await self._stores.delete(name, path)

    def settle(self) -> None:
        """Note in the commit of the call's outcome that what it shows is untrusted."""
        if self._tainted and self._session.state.tainted is None:
            self._session.log.note(ev.SessionTainted(at=time.time(), by="memory store"))

    def _seen(self, memory: Memory) -> Memory:
        self._tainted = self._tainted or memory.tainted
        return memory
