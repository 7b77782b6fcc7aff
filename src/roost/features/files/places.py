"""Find the folder that a request means: that of a session, or a shared one. What is another account's answers as if it
were not there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from roost.agent.definition import decode_spec
from roost.authority import Authority, current
from roost.errors import Conflict, Forbidden, Invalid, NotFound
from roost.features.files.records import SPACE, SpaceRecord
from roost.kernel.placement import home_of
from roost.kernel.service_host import ServiceHost
from roost.log.documents import Document
from roost.policy.rules import held_back
from roost.policy.system_rules import system_rules
from roost.workspace.files import Workspace

PREFIX = "space:"


class Place(NamedTuple):
    """A folder. source: the session, or `space:NAME`. session: None for a shared folder."""

    workspace: Workspace
    source: str
    session: str | None
    writable: bool

    def real(self, path: str) -> Path:
        """Return the real path of a file. Raises `PathOutside`, and `Forbidden` for what the policy holds back."""
        real = self.workspace.resolve(path)
        for tool in ("read_file", "search_files"):
            test = self.workspace.unseen(tool, self.workspace.place)
            if test is not None and test(str(real)) is not None:
                raise Forbidden(f"the policy holds {path!r} back: it may hold keys or passwords")
        return real


class Places:
    def __init__(self, host: ServiceHost) -> None:
        self._host = host

    async def find(self, where: str) -> Place:
        """Return the folder. Raises `NotFound`, `Conflict` (`files_elsewhere`)."""
        if where.startswith(PREFIX):
            return await self._space(where.removeprefix(PREFIX))
        return await self._session(where)

    async def _session(self, session: str) -> Place:
        info, state = await self._host.sessions.state(current().session_id(session))
        node = self._host.node
        resources = node.resources
        home = home_of(info.needs) or node.place.home
        moves = resources.carrier is not None and info.workspace is None
        elsewhere = info.owner not in (None, node.id) if moves else home != node.place.home
        if elsewhere or (moves and info.owner is None and info.home not in (None, node.place.home)):
            raise Conflict(
                f"the files of session {info.id!r} are at another node: ask there, or ask the session's agent",
                code="files_elsewhere",
            )
        workspace = resources.workspace(info.id, info.workspace)
        gate = resources.gate(decode_spec(state.spec), info.workspace)
        workspace.unseen = lambda tool, searched: gate.unseen(tool, workspace.place, searched)
        return Place(workspace, info.id, info.id, writable=True)

    async def _space(self, name: str) -> Place:
        record = await self.space(name, current())
        node = self._host.node
        folder = Path(record.folder)
        if record.home != node.place.home:
            raise Conflict(f"the folder {name!r} is at another home: ask a node there", code="files_elsewhere")
        if await asyncio.to_thread(_is_other, folder):
            raise Conflict(f"the folder {record.folder!r} of {name!r} is not there", code="folder_missing")
        workspace = Workspace(folder, private=False, hidden=node.resources.home_folder)
        rules = (tuple(node.resources.policy.rules), tuple(system_rules()))
        workspace.unseen = lambda tool, searched: held_back(rules, tool, workspace.place, str(searched))
        writable = record.writable or not current().confined
        return Place(workspace, PREFIX + name, None, writable)

    async def space(self, name: str, who: Authority) -> SpaceRecord:
        """Return a shared folder that the caller may see. Raises `NotFound`."""
        found = await self._host.store.documents.get(SPACE, name[:64])
        if found is None or not seen_by(who, found):
            raise NotFound(f"there is no shared folder {name[:64]!r}; `roost files spaces` lists them", code="no_space")
        return msgspec.json.decode(found.body, type=SpaceRecord)


def _is_other(folder: Path) -> bool:
    """Whether a shared folder is gone, or a link took its place. Blocks."""
    return not folder.is_dir() or os.path.realpath(folder) != str(folder)


def seen_by(who: Authority, document: Document) -> bool:
    return not who.confined or document.owner == who.account


def check_folder(folder: str, home: Path) -> str:
    """Return the real path of a folder that may be shared. Blocks. Raises `Invalid`."""
    if not os.path.isabs(folder) or not os.path.isdir(folder):
        raise Invalid(f"{folder!r} is no folder of this machine: give an absolute path")
    real, own = os.path.realpath(folder), os.path.realpath(home)
    if real == "/" or (real + "/").startswith(own + "/") or (own + "/").startswith(real + "/"):
        raise Invalid(f"{folder!r} holds Roost's own files, or is inside them: share another folder")
    return real
