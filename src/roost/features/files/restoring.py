"""Put one file of a workspace back, and write what a person sent: by an order, between turns, or by a tool."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time

import msgspec

from roost.agent.interrupts import Interrupted
from roost.agent.session import Session
from roost.errors import Conflict, Forbidden, NotFound, RoostError, StoreFailed
from roost.features.files.events import FileRestored, FileWritten, RestoreFileInput, WriteFileInput
from roost.features.files.ports import SessionFiles
from roost.features.snapshots import workspace_saving
from roost.features.uploads.ports import UploadedFiles
from roost.log.protocols import InboxItem
from roost.policy.gate import GateCall
from roost.policy.touched_paths import files
from roost.workspace.files import Workspace
from roost.workspace.object_store import ObjectsFailed
from roost.workspace.safe_paths import WRITE_CAP, digest_of, explained, open_folder, read_file, write_file


def waits(session: Session) -> list[InboxItem]:
    return [item for item in session.inbox if isinstance(item.input, RestoreFileInput | WriteFileInput)]


async def settle(session: Session) -> None:
    """Do what people ordered. An order stays in the inbox until it is done and its event committed with it: after a
    crash it is done again, which changes nothing more."""
    detached, session.interrupts.detached = session.interrupts.detached, True
    try:
        for item in waits(session):
            await _do(session, item)
    except Interrupted:
        return
    finally:
        session.interrupts.detached = detached


async def _do(session: Session, item: InboxItem) -> None:
    await workspace_saving.restore_files(session)
    folder = session.means.files
    if folder is not None:
        await folder.working()
    order = item.input
    event = await session.interrupts.interruptible(lambda: _done(session, item.id, order), steer=False)
    if folder is not None and not folder.home:
        await workspace_saving.save(session, folder)
    session.log.note(event, consume=item.id)


async def _done(session: Session, input: int, order: object) -> FileRestored | FileWritten:
    """Carry out an order. What fails is in the event. Raises `ObjectsFailed`, `StoreFailed`: tried again later."""
    try:
        if isinstance(order, RestoreFileInput):
            size = await put_back(session, order.path, order.to)
            return FileRestored(
                at=time.time(), path=order.path, to=order.to, size=size or 0, removed=size is None, input=input
            )
        assert isinstance(order, WriteFileInput)
        return FileWritten(at=time.time(), path=order.path, size=await _write(session, order), input=input)
    except (ObjectsFailed, StoreFailed):
        raise
    except (RoostError, OSError) as error:
        why = str(error)[:500]
    if isinstance(order, RestoreFileInput):
        return FileRestored(at=time.time(), path=order.path, to=order.to, input=input, error=why)
    assert isinstance(order, WriteFileInput)
    return FileWritten(at=time.time(), path=order.path, input=input, error=why)


async def _write(session: Session, order: WriteFileInput) -> int:
    uploads = session.means.find(UploadedFiles)
    if uploads is None:
        raise NotFound("this node reads no uploaded files")
    _ask_gate(session, "write_file", order.path)
    data = await uploads.content(order.upload, most=WRITE_CAP)
    await asyncio.to_thread(written, session.means.workspace, order.path, data, order.digest)
    return len(data)


async def put_back(session: Session, path: str, to: int) -> int | None:
    """Put a file back to what it was. Returns its size, None when it did not exist and is removed. Raises
    `RoostError`, `OSError`."""
    port = session.means.find(SessionFiles)
    if port is None:
        raise NotFound("no versions of files are kept here")
    _ask_gate(session, "restore_file", path)
    name = session.means.workspace.relative(session.means.workspace.resolve(path))
    data = await port.version(session.id, session.state, name, to)
    if data is None:
        await asyncio.to_thread(_remove, session.means.workspace, path)
        return None
    await asyncio.to_thread(written, session.means.workspace, path, data, None)
    return len(data)


def _ask_gate(session: Session, tool: str, path: str) -> None:
    """Check a person's order against the rules. What they ask about, the person has answered by the order. Raises
    `Forbidden`."""
    workspace, gate = session.means.workspace, session.means.gate
    verdict = gate.decide(
        GateCall(
            session=session.id,
            call="",
            tool=tool,
            arguments=msgspec.json.encode({"path": path}).decode(),
            safety="safe_write",
            inside=True,
            private_workspace=workspace.private,
            root=workspace.root,
            touches=files(workspace.root, writes=[path]),
        )
    )
    if verdict.decision == "deny":
        raise Forbidden(f"the policy denies it ({verdict.why})")


def written(workspace: Workspace, path: str, data: bytes, digest: str | None) -> None:
    """Write a file. digest: of what it replaces, as in `WriteFileInput`. The same content again is no change."""
    real = workspace.resolve(path)
    try:
        current = read_file(workspace, real).digest
    except NotFound:
        current = None
    if current == digest_of(data):
        return
    if digest is not None and (current or "") != digest:
        raise Conflict(f"{path!r} has changed since it was read: read it again", code="file_changed")
    write_file(workspace, real, data, expected=current, create_folders=True)


def _remove(workspace: Workspace, path: str) -> None:
    real = workspace.resolve(path)
    with contextlib.suppress(NotFound), explained(path), open_folder(workspace, real.parent) as folder:
        os.unlink(real.name, dir_fd=folder)
        os.fsync(folder)
