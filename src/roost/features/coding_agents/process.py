"""Start a coding agent in the session's sandbox, and follow its output to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shlex
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol, cast

from roost.errors import SandboxError
from roost.features.coding_agents.program import Heard, Place, Program
from roost.sandbox.backend import Terminal
from roost.sandbox.base import ExecResult

log = logging.getLogger("roost.programs")

MISSING = 127
FILES = "files"
"""Folder of the files of messages, beside the folders of the programs."""
_LINE = 256 * 1024
"""Bytes of a line of output; the rest of a longer one is dropped, and it is not understood."""
_WORDS = 12
_SHOWN = 600
_HEAD = """\
cd "$WORKSPACE" || exit 1
[ -x "$PROGRAM" ] || PROGRAM=$(command -v "$NAME") || exit 127
"""
_THREAD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SAVE = """\
umask 077
path=$1
while :; do
  [ ! -L "$path" ] || { echo "$path is a link: remove it" >&2; exit 1; }
  [ "$path" != "$3" ] && [ -n "$path" ] || break
  path=${path%/*}
done
mkdir -p "$1" && rm -f "$1/$2" && cat > "$1/$2"
"""
"""What a repository brings, or a command left, must not lead a file elsewhere."""
_KEPT = 'cd "$1" || exit 1; for path in $2; do [ ! -s "$path" ] || exit 0; done; exit 1'


class ProgramFailed(Exception):
    """A coding agent cannot do its work. code: as in `ErrorData`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Sandboxed(Protocol):
    """The part of a session's sandbox that runs programs."""

    async def exec(
        self, argv: list[str], *, cwd: str, env: Mapping[str, str] | None = None, stdin: bytes | None = None
    ) -> ExecResult: ...

    async def spawn(
        self, argv: list[str], *, cwd: str, env: Mapping[str, str] | None = None, lossless: bool = False
    ) -> Terminal: ...


async def keeps(sandbox: Sandboxed, program: Program, folder: str, thread: str, workspace: str) -> bool:
    """Return whether the files of a conversation are there. folder: the program's. Raises `ProgramFailed`."""
    if not program.kept:
        return True
    argv = ["sh", "-c", _KEPT, "kept", folder, program.kept.format(thread=thread)]
    try:
        return (await sandbox.exec(argv, cwd=workspace)).exit_code == 0
    except SandboxError as error:
        raise ProgramFailed("program_failed", f"{program.title} cannot be started: {error}") from error


class Process:
    """One run of a program. `named` is called when it names its conversation, `changed` when it has done its work or
    ended."""

    def __init__(
        self, program: Program, place: Place, executable: str, named: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        self._program, self._place, self._executable = program, place, executable
        self._named, self._changed = named, changed
        self._words: deque[str] = deque(maxlen=_WORDS)
        self._terminal: Terminal | None = None
        self._reading: asyncio.Task[None] | None = None
        self._thread = ""
        self.failure = ""
        self.done = False
        self.code: int | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._reading is None or self._reading.done()

    async def start(self, sandbox: Sandboxed, thread: str, given: Mapping[str, bytes]) -> None:
        """Write its files and start it. given: the files of messages, by name. Raises `ProgramFailed`."""
        place, start = self._place, self._program.start(self._place)
        home, files = f"{place.folder}/home", f"{os.path.dirname(place.folder)}/{FILES}"
        try:
            for path, text in {**start.files, "home/.keep": "", "../.gitignore": "*\n"}.items():
                await self._save(sandbox, f"{place.folder}/{path}", text.encode("utf-8", "replace"))
            for name, content in given.items():
                await self._save(sandbox, f"{files}/{name}", content)
            prompt = place.text if start.prompt is None else start.prompt
            await self._save(sandbox, place.prompt, prompt.encode("utf-8", "replace"))
            env = {
                "PROGRAM": self._executable,
                "NAME": self._program.command,
                "WORKSPACE": place.workspace,
                "STATE": place.folder,
                "PROMPT": place.prompt,
                "FILES": files,
                "PICTURES": " ".join(os.path.basename(picture.path) for picture in place.pictures),
                "THREAD": thread,
                "INSTRUCTIONS": place.instructions,
                "HOME": home,
                "no_proxy": "127.0.0.1,localhost",
                "NO_PROXY": "127.0.0.1,localhost",
                **self._path(),
                **start.environment,
            }
            argv = ["sh", "-c", _HEAD + start.script]
            self._terminal = await sandbox.spawn(argv, cwd=place.workspace, env=env)
        except SandboxError as error:
            raise ProgramFailed("program_failed", f"{self._program.title} cannot be started: {error}") from error
        self._reading = asyncio.create_task(self._read(self._terminal))

    async def ended(self, seconds: float) -> None:
        """Wait for its end, at most so long."""
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=seconds)

    async def close(self) -> None:
        """Kill it with everything that it started, if it runs."""
        terminal, self._terminal = self._terminal, None
        if terminal is not None:
            with contextlib.suppress(SandboxError):
                await terminal.close()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def problem(self) -> ProgramFailed | None:
        """Return why it ended without having done its work; None if it has."""
        title = self._program.title
        if self.code == MISSING:
            return ProgramFailed(
                "program_missing",
                f"{title} is not installed where this session runs: no executable {self._program.command!r} is on the"
                f" PATH of the daemon. Install it with: {self._program.install}",
            )
        if self.failure:
            return ProgramFailed("program_failed", f"{title}: {self.failure}")
        if self.code:
            said = " ".join(" ".join(self._words).split())[-_SHOWN:]
            ended = f"exit code {self.code}" if self.code > 0 else f"signal {-self.code}"
            return ProgramFailed("program_failed", f"{title} ended with {ended}" + (f": {said}" if said else ""))
        return None

    def _path(self) -> dict[str, str]:
        folder = os.path.dirname(self._executable)
        node = node_folder(self._program.command) if self._program.node else ""
        return {"PATH": ":".join(one for one in (folder, node, "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin") if one)}

    async def _save(self, sandbox: Sandboxed, path: str, content: bytes) -> None:
        folder, name = os.path.split(os.path.normpath(path))
        above = os.path.dirname(os.path.dirname(self._place.folder))
        argv = ["sh", "-c", _SAVE, "save", folder, name, above]
        done = await sandbox.exec(argv, cwd=self._place.workspace, stdin=content)
        if done.exit_code != 0:
            said = done.stderr.strip()[-_SHOWN:] or done.killed_by or f"exit code {done.exit_code}"
            raise ProgramFailed(
                "program_failed", f"{self._program.title} cannot be started, {shlex.quote(name)}: {said}"
            )

    async def _read(self, terminal: Terminal) -> None:
        held, skips = bytearray(), False
        try:
            async for piece in terminal.read():
                *lines, rest = piece.split(b"\n")
                for line in lines:
                    held += line
                    if not skips and len(held) <= _LINE:
                        self.take(bytes(held))
                    held, skips = bytearray(), False
                if not skips:
                    held += rest
                    skips = len(held) > _LINE
                await asyncio.sleep(0)
            self.take(bytes(held))
            self.code = await terminal.wait()
        except SandboxError as error:
            self.failure = self.failure or f"its sandbox has ended: {error}"
        except Exception as error:  # a defect, which must not look like work that was done
            log.exception("the output of %s", self._program.title)
            self.failure = self.failure or f"its output could not be read: {error!r}"
        finally:
            asyncio.get_running_loop().call_soon(self._changed)

    def take(self, line: bytes) -> None:
        """Understand a line of its output."""
        said = line.strip()
        if said[:1] != b"{":
            if said:
                self._words.append(said.decode("utf-8", "replace")[:_SHOWN])
            return
        try:
            found = json.loads(said)
            heard = self._program.heard(cast("Mapping[str, Any]", found)) if isinstance(found, dict) else Heard()
        except (ValueError, RecursionError, AttributeError, TypeError, LookupError):
            return
        self.failure = heard.failure or self.failure
        if not self._thread and _THREAD.fullmatch(heard.thread):  # once: commands may write to its output, too
            self._thread = heard.thread
            self._named(heard.thread)
        if heard.done:
            self.done = True
            self._changed()


def node_folder(command: str) -> str:
    """Return the folder of the Node that runs a program: the one beside it, which it was installed with, else this
    machine's. Empty if there is none. Blocks."""
    import shutil

    link = shutil.which(command)
    while link:
        folder = os.path.dirname(link)
        if os.access(beside := os.path.join(folder, "node"), os.X_OK):
            return os.path.dirname(os.path.realpath(beside))
        link = os.path.join(folder, os.readlink(link)) if os.path.islink(link) else None
    found = shutil.which("node")
    return os.path.dirname(os.path.realpath(found)) if found else ""
