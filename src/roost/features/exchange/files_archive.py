"""Export a session's files as a tar: the newest snapshot where nodes share them, else the folder."""

from __future__ import annotations

import asyncio
import tarfile
import tempfile
from pathlib import Path
from threading import Event

from roost.errors import Conflict, NotFound
from roost.features.snapshots.state import SnapshotState
from roost.kernel.node import Node
from roost.kernel.state_loader import load_state
from roost.workspace.snapshot_sync import SnapshotSync
from roost.workspace.snapshots import Place, Stopped


async def take_files(node: Node, session: str, target: Path) -> int:
    """Write the present files to `target`, links as links, and return their number. They are not masked. Raises
    `NotFound`, also without files, and `Conflict` when they are at another node or keep changing."""
    info, state = await node.tenants.sessions.get(session), await load_state(node.tenants, session)
    carrier = node.resources.carrier
    if state.workspace is not None:
        folder = Path(state.workspace)
    elif carrier is not None:
        if not (saved := state.part(SnapshotState).saved):
            raise NotFound(f"session {session!r} has no files", code="no_files")
        return await asyncio.to_thread(_of_snapshot, carrier, saved, target)
    else:
        folder = node.resources.private(session)
    if not await asyncio.to_thread(folder.is_dir):
        if info.home not in (None, node.place.home):
            raise Conflict(f"the files of session {session!r} are at the home {info.home!r}", code="files_elsewhere")
        raise NotFound(f"session {session!r} has no files", code="no_files")
    return await asyncio.to_thread(_pack, folder, target)


def _of_snapshot(carrier: SnapshotSync, snapshot: str, target: Path) -> int:
    with tempfile.TemporaryDirectory(prefix="roost-files-") as room:
        place = Place(Path(room) / "files", Path(room) / "memory")
        try:
            carrier.snapshots.restore(place, snapshot, Event())
        except Stopped:
            raise Conflict("the node is stopping", code="shutting_down") from None
        return _pack(place.folder, target)


def _pack(folder: Path, target: Path) -> int:
    count = 0

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        """Strip the owner, and skip pipes and devices."""
        nonlocal count
        if not (entry.isreg() or entry.isdir() or entry.issym()):
            return None
        count += not entry.isdir()
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    try:
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(folder.iterdir()):
                tar.add(path, arcname=path.name, filter=plain)
    except OSError as error:
        raise Conflict(
            f"the files change while they are read: pause the session, then export again ({error})", code="files_change"
        ) from error
    return count
