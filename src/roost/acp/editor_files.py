"""File tools on files as the editor has them, with changes that are not saved."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from roost.acp.json_rpc import Peer, RpcError
from roost.errors import Invalid
from roost.features.editor.events import EditorAsked, EditorFile
from roost.log.content import ResultPart, Text
from roost.tools.edit_files import Edit, FileChange, changed_file
from roost.tools.errors import ToolError
from roost.tools.read import numbered
from roost.tools.text_limits import RESULT_CAP, capped
from roost.workspace.safe_paths import FileData, digest_of


class Outcome(NamedTuple):
    """As in `EditorResultInput`."""

    parts: tuple[ResultPart, ...] = ()
    error: bool = False
    passed: str | None = None
    seen: dict[str, str] = {}
    exit: int | None = None


class _Read(msgspec.Struct):
    content: str


class _Arguments(msgspec.Struct):
    path: str = ""
    offset: int = 1
    limit: int = 1000
    content: str = ""
    old: str = ""
    new: str = ""
    replace_all: bool = False
    changes: list[FileChange] = []


async def run(peer: Peer, session: str, asked: EditorAsked) -> Outcome:
    """Run a call of a file tool. A file that the editor does not read is passed back: nothing was done then. Raises
    `RpcError`."""
    try:
        given = msgspec.json.decode(asked.arguments, type=_Arguments)
        if asked.name == "read_file":
            return await _read(_Editor(peer, session), asked.files[0], given)
        return await _change(_Editor(peer, session), asked, _changes(asked.name, given))
    except msgspec.MsgspecError as error:
        return Outcome(passed=f"its arguments are not right: {error}")
    except _Unread as error:
        return Outcome(passed=str(error))
    except (ToolError, Invalid) as error:
        return Outcome((Text(capped(str(error))),), error=True)


class _Unread(Exception):
    """The editor does not read a file that exists."""


class _Editor:
    def __init__(self, peer: Peer, session: str) -> None:
        self._peer, self._session = peer, session

    async def read(self, file: EditorFile) -> FileData | None:
        """Return a file as the editor has it; None if there is none. Raises `_Unread`, `ToolError`."""
        await _demand_place(file)
        try:
            given = await self._peer.request("fs/read_text_file", {"sessionId": self._session, "path": file.real})
            data = msgspec.convert(given, _Read).content.encode()
        except (RpcError, msgspec.ValidationError, UnicodeEncodeError) as error:
            if await asyncio.to_thread(Path(file.real).exists):
                raise _Unread(f"the editor does not read {file.path!r}: {error}") from None
            return None
        return FileData(data, digest_of(data), 0)

    async def write(self, file: EditorFile, data: bytes) -> bool:
        """Give the editor the new content. Returns whether it is saved, too. Raises `RpcError`, `ToolError`."""
        await _demand_place(file)
        request = {"sessionId": self._session, "path": file.real, "content": data.decode()}
        await self._peer.request("fs/write_text_file", request)
        return await asyncio.to_thread(_is_saved, file.real, data)


async def _demand_place(file: EditorFile) -> None:
    """Raise `ToolError` if the path has come to lead elsewhere since the gate saw it: the editor follows links, which a
    command may make meanwhile."""
    if await asyncio.to_thread(os.path.realpath, file.real) != file.real:
        raise ToolError(f"{file.path!r} leads to another place than when the call was allowed; nothing was done to it")


def _is_saved(path: str, data: bytes) -> bool:
    try:
        return Path(path).read_bytes() == data
    except OSError:
        return False


async def _read(editor: _Editor, file: EditorFile, given: _Arguments) -> Outcome:
    found = await editor.read(file)
    if found is None:
        raise _Unread(f"the editor has no file {file.path!r}")
    text = numbered(found.data, file.path, max(given.offset, 1), max(given.limit, 1))
    return Outcome((Text(capped(text, RESULT_CAP)),), seen={file.name: found.digest})


def _changes(name: str, given: _Arguments) -> list[FileChange]:
    if name == "write_file":
        return [FileChange(path=given.path, content=given.content)]
    if name == "edit_file":
        if not given.old or given.old == given.new:
            raise ToolError("`old` is empty, or the same as `new`; give the text to replace, and another for it")
        edit = Edit(old=given.old, new=given.new, replace_all=given.replace_all)
        return [FileChange(path=given.path, edits=[edit])]
    return given.changes


async def _change(editor: _Editor, asked: EditorAsked, changes: list[FileChange]) -> Outcome:
    """Find all new contents first, so that a change that does not fit changes nothing."""
    planned = [(file, *await _planned(editor, file, one)) for file, one in zip(asked.files, changes, strict=True)]
    seen: dict[str, str] = {}
    said: list[str] = []
    for file, data, text in planned:
        try:
            saved = await editor.write(file, data)
        except (RpcError, ToolError) as error:
            refused = isinstance(error, RpcError)
            why = f"the editor refused to write {file.path!r}: {error.message}" if refused else str(error)
            return Outcome((Text("\n".join([*said, why])),), error=True, seen=seen)
        seen[file.name] = digest_of(data)
        said.append(text if saved else f"{text}; it is in the editor, which has not saved it")
    return Outcome((Text("\n".join(said)),), seen=seen)


async def _planned(editor: _Editor, file: EditorFile, wanted: FileChange) -> tuple[bytes, str]:
    """Return the new content of a file and what the model is told. Raises `ToolError`, `_Unread`."""
    current = await editor.read(file)
    if current is not None and file.known is None:
        raise ToolError(f"{file.path!r} exists; read it with read_file before you change it")
    if current is not None and file.known != current.digest:
        raise ToolError(f"{file.path!r} has changed since you read it; read it again with read_file")
    data, said = changed_file(wanted, current)
    if data is None:
        raise _Unread("an editor removes no files")
    return data, said
